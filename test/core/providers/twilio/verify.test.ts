import { createHash, createHmac } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { WebhookRequest } from "../../../../core/ports/sender.ts";
import { twilio } from "../../../../core/providers/twilio/index.ts";
import { runs } from "../../../support/runs.ts";

const fixtures = new URL("../../../fixtures/twilio/", import.meta.url);
const now = new Date("2026-11-20T12:00:00Z");
const accountSid = "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

interface Vector {
  readonly name: string;
  readonly authToken: string;
  readonly url: string;
  readonly signature: string;
  readonly params?: Readonly<Record<string, string | string[]>>;
  readonly body?: string;
  readonly bodyFile?: string;
  readonly valid: boolean;
}
const { vectors } = JSON.parse(readFileSync(new URL("vectors.json", fixtures), "utf8")) as { vectors: Vector[] };
const present = ({ bodyFile }: Vector): boolean => bodyFile === undefined || existsSync(new URL(bodyFile, fixtures));

function bodyOf({ params, body, bodyFile }: Vector): Buffer {
  if (bodyFile !== undefined) return readFileSync(new URL(bodyFile, fixtures));
  if (body !== undefined) return Buffer.from(body);
  const pairs = Object.entries(params ?? {}).flatMap(([name, value]) =>
    [value].flat().map((one): [string, string] => [name, one]),
  );
  return Buffer.from(new URLSearchParams(pairs).toString());
}

/** The scheme written down once more, independent of the vendor's code. */
const sign = (token: string, text: string): string => createHmac("sha1", token).update(text).digest("base64");
const url = "https://outreach.example.com/webhooks/twilio/chc_1?m=omsg_1";
const credentials = { accountSid, authTokens: ["token-1"] };

function signed(
  parameters: readonly (readonly [string, string])[],
  token = "token-1",
  signedUrl = url,
): WebhookRequest {
  const names = [...new Set(parameters.map(([name]) => name))].toSorted();
  const text = names.flatMap((name) => {
    const values = new Set(parameters.filter(([other]) => other === name).map(([, value]) => value));
    return [...values].toSorted().map((value) => name + value);
  });
  return {
    url: signedUrl,
    headers: { "x-twilio-signature": sign(token, signedUrl + text.join("")) },
    body: Buffer.from(
      new URLSearchParams(parameters.map(([name, value]): [string, string] => [name, value])).toString(),
    ),
  };
}
const status: readonly (readonly [string, string])[] = [
  ["MessageSid", "SM1"],
  ["MessageStatus", "delivered"],
  ["AccountSid", accountSid],
];
const valid = (request: WebhookRequest, given: Record<string, unknown> = credentials): boolean =>
  twilio.verify(given, request, now).valid;

describe("verify", () => {
  it.each(vectors.filter(present))("agrees with the vector: $name", (vector) => {
    const request = { url: vector.url, headers: { "x-twilio-signature": vector.signature }, body: bodyOf(vector) };
    expect(valid(request, { accountSid, authTokens: [vector.authToken] })).toBe(vector.valid);
  });

  it("misses only the vectors whose body files are not in the collection", () => {
    expect(vectors.filter((vector) => !present(vector)).map(({ bodyFile }) => bodyFile)).toEqual([
      "inbound.sms.form",
      "inbound.stop.optout-type.form",
      "status.failed.21610.form",
      "status.sent.form",
    ]);
  });

  it("accepts every spelling of the configured URL that Twilio signs", () => {
    const withPort = url.replace("example.com", "example.com:443");
    for (const signedUrl of [url, withPort]) {
      for (const configured of [url, withPort]) {
        expect(valid({ ...signed(status, "token-1", signedUrl), url: configured })).toBe(true);
      }
    }
    const encoded = "https://out.example/w?q=it%27s";
    expect(valid({ ...signed(status, "token-1", encoded), url: "https://out.example/w?q=it's" })).toBe(true);
    expect(valid({ ...signed(status), url: `${url}#rc=2&rp=all` })).toBe(true);
    expect(valid({ ...signed(status), headers: { ...signed(status).headers, host: "evil.example" } })).toBe(true);
    expect(valid({ ...signed(status), url: url.replace("chc_1", "chc_2") })).toBe(false);
    expect(valid({ ...signed(status), url: url.replace("outreach", "evil") })).toBe(false);
  });

  it("covers repeated and blank parameters, unicode and any order", () => {
    const parameters = [
      ["b", "2"],
      ["b", "1"],
      ["b", "2"],
      ["B", ""],
      ["a", "Grüße 👍 & more"],
    ] as const;
    expect(valid(signed(parameters))).toBe(true);
    expect(valid(signed([["__proto__", "x"], ["constructor", "y"], ...status]))).toBe(true);
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.string(), fc.string())), (pairs) => valid(signed(pairs))),
      { numRuns: 500 },
    );
  });

  it("accepts either token during a rotation and no other", () => {
    const both = { accountSid, authTokens: ["token-2", "token-1"] };
    expect(valid(signed(status), both)).toBe(true);
    expect(valid(signed(status, "token-2"), both)).toBe(true);
    expect(valid(signed(status, "token-3"), both)).toBe(false);
  });

  it("refuses a correctly signed request of another account", () => {
    const other = status.with(2, ["AccountSid", "ACbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"]);
    expect(twilio.verify(credentials, signed(other), now)).toEqual({ valid: false, reason: "account" });
    expect(valid(signed([...status, ["AccountSid", "ACb"]]))).toBe(false);
    expect(valid(signed(status.slice(0, 2)))).toBe(true);
  });

  it("binds a JSON body by its hash in the signed URL", () => {
    const json = (text: string, hashed = text): WebhookRequest => {
      const jsonUrl = `https://out.example/w?bodySHA256=${createHash("sha256").update(hashed).digest("hex")}`;
      return { url: jsonUrl, headers: { "x-twilio-signature": sign("token-1", jsonUrl) }, body: Buffer.from(text) };
    };
    expect(valid(json('{"MessageSid":"SM1"}'))).toBe(true);
    expect(valid(json('{"MessageSid":"SM2"}', '{"MessageSid":"SM1"}'))).toBe(false);
    expect(valid(json('{"AccountSid":"ACother"}'))).toBe(false);
    const unhashed = { ...json("{}"), url: "https://out.example/w?bodySHA256=" };
    expect(valid({ ...unhashed, headers: { "x-twilio-signature": sign("token-1", unhashed.url) } })).toBe(false);
  });

  it.each<[string, Partial<WebhookRequest>]>([
    ["no signature", { headers: {} }],
    ["an empty signature", { headers: { "x-twilio-signature": "" } }],
    ["a short signature", { headers: { "x-twilio-signature": "AAAA" } }],
    ["a signature that is no ASCII", { headers: { "x-twilio-signature": "ü".repeat(28) } }],
    ["a broken URL", { url: "nowhere" }],
    ["an empty URL", { url: "" }],
  ])("says invalid, and does not throw, for %s", (_name, changes) => {
    expect(valid({ ...signed(status), ...changes })).toBe(false);
    expect(valid({ ...signed(status), ...changes }, {})).toBe(false);
  });

  it("refuses a body that Twilio would never send before it costs anything", () => {
    const huge = { ...signed(status), body: Buffer.from("a&".repeat(500_000)) };
    expect(twilio.verify(credentials, huge, now)).toEqual({ valid: false, reason: "too large" });
  });

  it("refuses every flipped bit of body, signature, path and query", () => {
    const request = signed([["Body", "Yes please, it's me"], ["From", "+12025550123"], ...status]);
    const signature = request.headers["x-twilio-signature"] ?? "";
    const pathAt = url.indexOf("/", "https://".length);
    expect(valid(request)).toBe(true);
    const flip = (bytes: Uint8Array, bit: number): Buffer => {
      const changed = Buffer.from(bytes);
      const at = (bit >> 3) % changed.length;
      changed[at] = (changed[at] ?? 0) ^ (1 << (bit & 7));
      return changed;
    };
    const decoded = (body: Uint8Array): string =>
      JSON.stringify([...new URLSearchParams(Buffer.from(body).toString())]);
    const original = decoded(request.body);
    fc.assert(
      fc.property(fc.constantFrom("body", "signature", "url"), fc.nat(0xffff), (part, bit) => {
        const latin1 = (text: string): string => flip(Buffer.from(text, "latin1"), bit).toString("latin1");
        const body = part === "body" ? flip(request.body, bit) : request.body;
        // `%2B` and `%2b` are one parameter: Twilio signs what the form says, not how it spells it.
        fc.pre(part !== "body" || decoded(body) !== original);
        const tampered = {
          url: part === "url" ? url.slice(0, pathAt) + latin1(url.slice(pathAt)) : url,
          headers: { "x-twilio-signature": part === "signature" ? latin1(signature) : signature },
          body,
        };
        return !valid(tampered);
      }),
      { numRuns: runs(5_000, 20_000) },
    );
  });
});
