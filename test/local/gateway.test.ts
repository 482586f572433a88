import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import type { APIGatewayProxyEventV2 } from "aws-lambda";
import { afterAll, describe, expect, test } from "vitest";
import { http } from "../../functions/topology.ts";
import { frontPage } from "../../local/front.ts";
import { gateway, type Route, router, type Target } from "../../local/gateway.ts";

let last: APIGatewayProxyEventV2 | undefined;
const target = (name: string, timeoutSeconds = 5): Target => ({
  name,
  timeoutSeconds,
  call: async (event) => {
    last = event;
    if (event.rawPath === "/v1/throws") throw new Error("bug");
    if (event.rawPath === "/v1/slow") return new Promise(() => {});
    const bytes = Buffer.from(event.body ?? "", event.isBase64Encoded ? "base64" : "utf8");
    return {
      statusCode: 201,
      headers: { "content-type": "application/octet-stream", "x-route": event.routeKey },
      cookies: ["a=1", "b=2"],
      body: bytes.toString("base64"),
      isBase64Encoded: true,
    };
  },
});
const routes: Route[] = [
  { key: "POST /webhooks/{provider}/{channelConfigId}", target: target("webhooks") },
  { key: "ANY /v1/{proxy+}", target: target("api", 0.05) },
];
const at = { url: "http://here", simulatorUrl: "http://mailbox/?a=1&b=2" };
const front = async (accept: string | undefined) => frontPage(at, accept);
const server = gateway({ routes: () => routes, onError: () => {}, front }).listen(0, "127.0.0.1");
await once(server, "listening");
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
afterAll(() => server.close());

test("`/` is the front page where no route takes it, as the caller reads it; everything else unknown stays unknown", async () => {
  const page = await fetch(url, { headers: { accept: "text/html,*/*" } });
  expect(page.headers.get("content-type")).toContain("text/html");
  const html = await page.text();
  for (const address of ["/openapi.json", "/health"]) expect(html).toContain(`href="http://here${address}"`);
  expect(html).toContain('href="http://mailbox/?a=1&#38;b=2"');
  const json = await fetch(url);
  expect(await json.json()).toMatchObject({ name: "outrider", simulator: "http://mailbox/?a=1&b=2" });
  expect((await fetch(`${url}/favicon.ico`)).status).toBe(404);
  expect((await fetch(url, { method: "POST" })).status).toBe(404);
});

describe("a request body", () => {
  test.each<[string, string | undefined, Uint8Array]>([
    ["JSON", "application/json", Buffer.from('{"a":"grüße 👋"}')],
    ["a form", "application/x-www-form-urlencoded", Buffer.from("a=1&b=%20+")],
    [
      "multipart with binary parts",
      "multipart/form-data; boundary=x",
      Buffer.concat([Buffer.from("--x\r\n\r\n"), randomBytes(300)]),
    ],
    ["gzip", "application/gzip", Buffer.from([0x1f, 0x8b, 8, 0, 255])],
    ["a byte order mark", "text/plain", Buffer.from("\uFEFFhello")],
    ["no content type", undefined, randomBytes(64)],
    ["a megabyte", "application/octet-stream", randomBytes(1024 * 1024)],
    ["nothing", "application/json", Buffer.alloc(0)],
  ])("of %s arrives byte for byte", async (_what, type, body) => {
    const answer = await fetch(`${url}/webhooks/sendgrid/chc_1`, {
      method: "POST",
      body: new Blob([new Uint8Array(body)]),
      headers: { "content-type": type ?? "" },
    });
    expect(answer.status).toBe(201);
    expect(Buffer.compare(Buffer.from(await answer.arrayBuffer()), body)).toBe(0);
  });

  test("over 6 MB is refused, and the client gets to read that", async () => {
    const answer = await fetch(`${url}/webhooks/sendgrid/chc_1`, {
      method: "POST",
      body: new Uint8Array(8 * 1024 * 1024),
    });
    expect(answer.status).toBe(413);
  });
});

describe("an event", () => {
  test("carries path, parameters, query, cookies and headers as payload 2.0 has them", async () => {
    const answer = await fetch(`${url}/webhooks/twilio/chc%201?a=1&a=2&b=%26`, {
      method: "POST",
      headers: { cookie: "one=1; two=2", "X-Twilio-Signature": "sig=" },
    });
    expect(last).toMatchObject({
      version: "2.0",
      routeKey: "POST /webhooks/{provider}/{channelConfigId}",
      rawPath: "/webhooks/twilio/chc%201",
      rawQueryString: "a=1&a=2&b=%26",
      queryStringParameters: { a: "1,2", b: "&" },
      pathParameters: { provider: "twilio", channelConfigId: "chc 1" },
      cookies: ["one=1", "two=2"],
      headers: { "x-twilio-signature": "sig=" },
      isBase64Encoded: false,
    });
    expect(answer.headers.getSetCookie()).toEqual(["a=1", "b=2"]);
  });

  test.each([
    ["GET", "/webhooks/sendgrid/chc_1", 404],
    ["POST", "/webhooks/sendgrid", 404],
    ["POST", "/webhooks/sendgrid/", 404],
    ["GET", "/v1", 404],
    ["GET", "/v1/", 404],
    ["DELETE", "/v1/leads/lead_1", 201],
    ["GET", "/v1/throws", 500],
    ["GET", "/v1/slow", 503],
    ["GET", "/../etc/passwd", 404],
  ])("%s %s is answered with %i", async (method, path, status) => {
    const answer = await fetch(`${url}${path}`, { method });
    await answer.arrayBuffer();
    expect(answer.status).toBe(status);
  });
});

test("every route of the topology finds its own function", () => {
  const all = Object.entries(http).flatMap(([name, spec]) => spec.routes.map((key) => ({ key, target: target(name) })));
  const find = router(all);
  for (const { key, target } of all) {
    const [method = "", pattern = ""] = key.split(" ");
    const path = pattern.replace(/\{\w+\+\}/g, "a/b").replace(/\{\w+\}/g, "a");
    expect(find(method === "ANY" ? "PATCH" : method, path)?.route.target.name, key).toBe(target.name);
  }
});

test("the most specific route wins, whatever the order they are given in", () => {
  const keys = ["ANY /v1/{proxy+}", "GET /v1/{id}", "GET /v1/leads", "ANY /{proxy+}"];
  for (const order of [keys, keys.toReversed()]) {
    const find = router(order.map((key) => ({ key, target: target(key) })));
    expect(find("GET", "/v1/leads")?.route.key).toBe("GET /v1/leads");
    expect(find("GET", "/v1/other")?.route.key).toBe("GET /v1/{id}");
    expect(find("POST", "/v1/other")?.route.key).toBe("ANY /v1/{proxy+}");
    expect(find("GET", "/v1/a/b")?.parameters).toEqual({ proxy: "a/b" });
    expect(find("GET", "/x")?.route.key).toBe("ANY /{proxy+}");
  }
});
