/** Events as API Gateway may shape them. Invariant: whoever may reach the gateway gets an answer below 500. */
import type { APIGatewayProxyEventV2 } from "aws-lambda";
import { fakeInvocation } from "../functions/lib/fake.ts";
import { collector, type Ran } from "./collector.ts";
import type { Rig } from "./rig.ts";

/** Events as API Gateway may shape them: text that is not Latin, a missing body, a body that is not the base64 it claims to be. */
export async function runEvents(rig: Rig, done: (count: number) => void): Promise<Ran> {
  const { complain, saw, result } = collector("Lambda events", done);
  const event = (path: string, more: Partial<APIGatewayProxyEventV2>, method = "POST"): APIGatewayProxyEventV2 =>
    ({
      version: "2.0",
      routeKey: "$default",
      rawPath: path,
      rawQueryString: "",
      headers: {},
      isBase64Encoded: false,
      requestContext: {
        accountId: "0",
        apiId: "a",
        domainName: "in.example.test",
        domainPrefix: "in",
        requestId: "r",
        routeKey: "$default",
        stage: "$default",
        time: "",
        timeEpoch: 0,
        http: { method, path, protocol: "HTTP/1.1", sourceIp: "10.0.0.1", userAgent: "x" },
      },
      ...more,
    }) as APIGatewayProxyEventV2;
  const shapes: Record<string, Partial<APIGatewayProxyEventV2>> = {
    "no body": {},
    "an empty body": { body: "" },
    "a body that is not base64": { body: "\u00ff!!!", isBase64Encoded: true },
    "a text body with lone surrogates": { body: "\ud800" },
    "a header beyond Latin": { headers: { "user-agent": "grüße €", "x-name": "日本" } },
    "a header with a line break": { headers: { "x-name": "a\r\nx-evil: b" } },
    "a header with NUL": { headers: { "x-name": "a\0b" } },
    "a header without a name": { headers: { "": "x" } },
    "a header with spaces in its name": { headers: { "a b": "x" } },
    "a header __proto__": { headers: JSON.parse('{"__proto__":"x","constructor":"y"}') as Record<string, string> },
    "an undefined header": { headers: { "x-name": undefined } },
    "a query that is none": { rawQueryString: "%&=%zz&&==" },
    "a query with brackets": { rawQueryString: "a[]=1&a[b]=2&__proto__=3" },
    "a query beyond Latin": { rawQueryString: "a=€&b=\u202e" },
    cookies: { cookies: ["a=b", "__proto__=x", "€=€"] },
    "another host": {
      headers: { host: "evil.example", "x-forwarded-host": "evil.example", "x-forwarded-proto": "javascript" },
    },
    "10,000 headers": { headers: Object.fromEntries(Array.from({ length: 10_000 }, (_, n) => [`x-${n}`, "y"])) },
  };
  const paths = [
    "/webhooks/sendgrid/chc_1",
    "/webhooks/%00/%00",
    "/webhooks/sendgrid/%00",
    "/webhooks/sendgrid/%ed%a0%80",
    "/webhooks/sendgrid/%",
    "/webhooks/__proto__/constructor",
    "/webhooks/../v1/leads",
    `/webhooks/sendgrid/${"x".repeat(5_000)}`,
    "/webhooks/sendgrid/",
    "//webhooks//sendgrid//x",
    "/webhooks/sendgrid/a/b",
    "/webhooks/twilio/\u202e",
  ];
  for (const [name, shape] of Object.entries(shapes)) {
    for (const [fn, list] of [
      ["webhooks", paths],
      ["tracking", ["/u/x", "/o/x", "/c/%00", "/u/%", "/c/\u202e"]],
    ] as const) {
      for (const path of list) {
        for (const method of fn === "webhooks" ? ["POST"] : ["GET", "POST"]) {
          const label = `${fn} ${path.slice(0, 40)} ${method}: ${name}`;
          try {
            const answer = await rig.lambdas[fn](event(path, shape, method), fakeInvocation());
            const status = answer.statusCode ?? 0;
            saw(String(status));
            // Only who may call the function itself can send what is no base64.
            const impossible = name === "a body that is not base64" && status === 500;
            if ((status >= 500 && !impossible) || status < 200) complain(label, `answered ${status}`);
            if (name.startsWith("a header") && status === 400)
              complain(label, "refused for a header that nobody reads");
          } catch (error) {
            saw("threw");
            complain(label, `threw ${error instanceof Error ? error.message : String(error)}`);
          }
        }
      }
    }
  }
  return result();
}
