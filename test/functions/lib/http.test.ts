import type { APIGatewayProxyEventV2 } from "aws-lambda";
import { Hono } from "hono";
import { HTTPException } from "hono/http-exception";
import { describe, expect, test } from "vitest";
import * as z from "zod";
import { parseInput } from "../../../core/kernel/command.ts";
import { DomainError, errorKinds } from "../../../core/kernel/error.ts";
import { lambda, type Problem, rawBody, statusOf, withProblems } from "../../../functions/lib/http.ts";
import { fakeHost, fakeInvocation } from "./fake.ts";

function app() {
  const { host, lines } = fakeHost();
  const hono = withProblems(host, new Hono());
  hono.get("/kind/:kind", (c) => {
    const kind = errorKinds.find((known) => known === c.req.param("kind"));
    throw kind
      ? new DomainError(kind, "thing.refused", "No.", { retryAfterSeconds: 1.2 })
      : new Error("postgres://u:secret@db");
  });
  hono.post("/input", async (c) => {
    parseInput(z.object({ contacts: z.array(z.object({ email: z.email() })) }), await c.req.json());
    return c.text("ok");
  });
  hono.post("/raw", async (c) => c.text(Buffer.from(await rawBody(c, 10)).toString("hex")));
  hono.get("/away", () => {
    throw Object.assign(new Error("terminating connection due to administrator command"), { code: "57P01" });
  });
  hono.get("/http", () => {
    throw new HTTPException(415, { message: "JSON only." });
  });
  return { hono, lines };
}

describe("problem details", () => {
  test.each(errorKinds)("say what %s means in HTTP", async (kind) => {
    const answer = await app().hono.request(`/kind/${kind}`);
    expect(answer.status).toBe(statusOf[kind]);
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
    expect(answer.headers.get("retry-after")).toBe("2");
    expect(await answer.json()).toMatchObject({
      type: "urn:outrider:problem:thing.refused",
      status: statusOf[kind],
      detail: "No.",
      code: "thing.refused",
      instance: `/kind/${kind}`,
    });
  });

  test("name every refused field with its path and value", async () => {
    const body = JSON.stringify({ contacts: [{ email: "ada@example.com" }, { email: "nope" }, {}] });
    const answer = await app().hono.request("/input", { method: "POST", body });
    expect(answer.status).toBe(422);
    const problem = (await answer.json()) as Problem;
    expect(problem.code).toBe("input.invalid");
    expect(problem.errors).toMatchObject([{ path: "contacts[1].email", value: "nope" }, { path: "contacts[2].email" }]);
  });

  test("keep what an unknown error says out of the answer and in the log, under one request id", async () => {
    const { hono, lines } = app();
    const answer = await hono.request("/kind/none", {}, { requestContext: { requestId: "req-7" } });
    const text = await answer.text();
    expect(answer.status).toBe(500);
    expect(text).not.toContain("secret");
    expect(JSON.parse(text)).toMatchObject({ code: "internal", requestId: "req-7" });
    expect(answer.headers.get("x-request-id")).toBe("req-7");
    expect(lines.find(({ event }) => event === "request.failed")).toMatchObject({ requestId: "req-7", status: 500 });
    expect(JSON.stringify(lines)).not.toContain("u:secret");
  });

  test("say that the database is away, when to ask again, and that it is not known what was done", async () => {
    const { hono, lines } = app();
    const answer = await hono.request("/away");
    expect(answer.status).toBe(503);
    expect(answer.headers.get("retry-after")).toBe("5");
    expect(await answer.json()).toMatchObject({
      code: "database.away",
      detail: expect.stringContaining("Idempotency-Key"),
    });
    expect(lines.find(({ event }) => event === "request.failed")).toMatchObject({ status: 503 });
  });

  test("answer an unknown path and a refusal of the framework in the same shape", async () => {
    const { hono } = app();
    expect(await (await hono.request("/none")).json()).toMatchObject({ status: 404, code: "http.no_route" });
    expect(await (await hono.request("/http")).json()).toMatchObject({
      status: 415,
      code: "http.415",
      detail: "JSON only.",
    });
  });

  test("refuse a body over the limit", async () => {
    const answer = await app().hono.request("/raw", { method: "POST", body: "x".repeat(11) });
    expect(answer.status).toBe(413);
    expect(await answer.json()).toMatchObject({ code: "http.body_too_large" });
  });
});

describe("an event of API Gateway", () => {
  const event = (body: string, isBase64Encoded: boolean): APIGatewayProxyEventV2 => ({
    version: "2.0",
    routeKey: "POST /raw",
    rawPath: "/raw",
    rawQueryString: "",
    headers: { "content-type": "application/octet-stream" },
    requestContext: {
      accountId: "0",
      apiId: "local",
      domainName: "outrider.test",
      domainPrefix: "outrider",
      http: { method: "POST", path: "/raw", protocol: "HTTP/1.1", sourceIp: "127.0.0.1", userAgent: "" },
      requestId: "req-9",
      routeKey: "POST /raw",
      stage: "$default",
      time: "",
      timeEpoch: 0,
    },
    body,
    isBase64Encoded,
  });

  test("reaches the handler byte for byte, and carries the gateway's request id", async () => {
    const call = lambda(app().hono);
    const bytes = Buffer.from([0, 255, 13, 10, 0xc3, 0x28]);
    const answer = await call(event(bytes.toString("base64"), true), fakeInvocation());
    expect(answer).toMatchObject({ statusCode: 200, body: bytes.toString("hex") });
    expect(answer.headers?.["x-request-id"]).toBe("req-9");
    expect((await call(event("grüße", false), fakeInvocation())).body).toBe(Buffer.from("grüße").toString("hex"));
  });

  test("is answered although it has a body that its method cannot have", async () => {
    const call = lambda(app().hono);
    const { requestContext, ...rest } = event("x", false);
    for (const method of ["GET", "HEAD"]) {
      const http = { ...requestContext.http, method, path: "/http" };
      const odd = { ...rest, rawPath: "/http", requestContext: { ...requestContext, http } };
      expect((await call(odd, fakeInvocation())).headers?.["content-type"]).toBe("application/problem+json");
    }
  });

  test("is answered whatever stands in headers that nobody reads", async () => {
    const call = lambda(app().hono);
    const headers = { "user-agent": "日本 €", "x-a": "a\r\nb", "x-b": "\0", "": "x", "a b": "y" };
    const odd = { ...event("x", false), headers, cookies: ["€=€"] };
    expect((await call(odd, fakeInvocation())).statusCode).toBe(200);
  });
});
