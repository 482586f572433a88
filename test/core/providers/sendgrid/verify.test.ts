import { createSign, generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { WebhookRequest } from "../../../../core/ports/sender.ts";
import { sendgrid } from "../../../../core/providers/sendgrid/index.ts";
import { runs } from "../../../support/runs.ts";

const fixtures = new URL("../../../fixtures/sendgrid/", import.meta.url);
const fixture = (name: string): Buffer => readFileSync(new URL(name, fixtures));

interface Vector {
  readonly name: string;
  readonly publicKey: string;
  readonly signature: string;
  readonly timestamp: string;
  readonly body?: string;
  readonly bodyFile?: string;
  readonly valid: boolean;
}
const { vectors } = JSON.parse(fixture("vectors.json").toString()) as { vectors: Vector[] };

const signatureHeader = "x-twilio-email-event-webhook-signature";
const timestampHeader = "x-twilio-email-event-webhook-timestamp";
const base = { apiKey: "SG.key" };

const keyPair = () => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { privateKey, spki: publicKey.export({ format: "der", type: "spki" }).toString("base64") };
};
const ours = keyPair();
const now = new Date("2026-11-20T12:00:00Z");
const nowSeconds = now.getTime() / 1000;

function signed(body: Uint8Array, timestamp = String(nowSeconds), key = ours.privateKey): WebhookRequest {
  const signature = createSign("sha256").update(timestamp).update(body).sign(key, "base64");
  return {
    url: "https://outreach.example.com/webhooks/sendgrid/chc_1",
    headers: { "content-type": "application/json", [signatureHeader]: signature, [timestampHeader]: timestamp },
    body,
  };
}
const credentials = { ...base, eventWebhookPublicKeys: [ours.spki] };
const body = Buffer.from('[{"email":"ada@example.com","event":"open"}]\r\n');

describe("verify", () => {
  it.each(vectors)("agrees with the vector: $name", (vector) => {
    const request = {
      url: "https://outreach.example.com/webhooks/sendgrid/chc_1",
      headers: { [signatureHeader]: vector.signature, [timestampHeader]: vector.timestamp },
      body: vector.bodyFile ? fixture(vector.bodyFile) : Buffer.from(vector.body ?? ""),
    };
    const at = new Date(Number(vector.timestamp) * 1000);
    const keys = { ...base, eventWebhookPublicKeys: [vector.publicKey] };
    expect(sendgrid.verify(keys, request, at).valid).toBe(vector.valid);
  });

  it("checks bytes, not text: a body that is not UTF-8 verifies", () => {
    const bytes = Uint8Array.of(0x5b, 0xff, 0xfe, 0x00, 0xc3, 0x28, 0x5d, 0x0d, 0x0a);
    expect(sendgrid.verify(credentials, signed(bytes), now)).toEqual({ valid: true });
  });

  it("accepts either key during a rotation and no other", () => {
    const next = keyPair();
    const both = { ...base, eventWebhookPublicKeys: [next.spki, ours.spki] };
    expect(sendgrid.verify(both, signed(body), now).valid).toBe(true);
    expect(sendgrid.verify(both, signed(body, String(nowSeconds), next.privateKey), now).valid).toBe(true);
    expect(sendgrid.verify({ ...base, eventWebhookPublicKeys: [next.spki] }, signed(body), now).valid).toBe(false);
    expect(sendgrid.verify({ ...base, eventWebhookPublicKeys: [] }, signed(body), now).valid).toBe(false);
  });

  it("accepts retries of a day and refuses what is older or from the future", () => {
    const at = (seconds: number) => new Date((nowSeconds + seconds) * 1000);
    const request = signed(body);
    expect(sendgrid.verify(credentials, request, at(26 * 3600)).valid).toBe(true);
    expect(sendgrid.verify(credentials, request, at(26 * 3600 + 1)).valid).toBe(false);
    expect(sendgrid.verify(credentials, request, at(-600)).valid).toBe(true);
    expect(sendgrid.verify(credentials, request, at(-601)).valid).toBe(false);
  });

  it("uses the inbound policy's own keys for received e-mail", () => {
    const inbound = keyPair();
    const both = { ...credentials, inboundPublicKeys: [inbound.spki] };
    const request = signed(body, String(nowSeconds), inbound.privateKey);
    const multipart = {
      ...request,
      headers: { ...request.headers, "content-type": "multipart/form-data; boundary=x" },
    };
    expect(sendgrid.verify(both, multipart, now).valid).toBe(true);
    expect(sendgrid.verify(both, request, now).valid).toBe(false);
  });

  it.each<[string, Record<string, string>]>([
    ["no headers", {}],
    ["no timestamp", { [signatureHeader]: signed(body).headers[signatureHeader] ?? "" }],
    ["no signature", { [timestampHeader]: String(nowSeconds) }],
    ["an empty signature", { [signatureHeader]: "", [timestampHeader]: String(nowSeconds) }],
    ["no base64", { [signatureHeader]: "%%%", [timestampHeader]: String(nowSeconds) }],
    ["no DER", { [signatureHeader]: Buffer.alloc(70, 0x30).toString("base64"), [timestampHeader]: String(nowSeconds) }],
    ["a timestamp that is no number", { ...signed(body).headers, [timestampHeader]: "yesterday" }],
    ["a padded timestamp", { ...signed(body).headers, [timestampHeader]: ` ${nowSeconds}` }],
  ])("says invalid, and does not throw, for %s", (_name, headers) => {
    expect(sendgrid.verify(credentials, { url: "", headers, body }, now).valid).toBe(false);
  });

  it.each([
    ["no key", "AAAA"],
    ["an RSA key", generateKeyPairSync("rsa", { modulusLength: 2048 }).publicKey],
    ["another curve", generateKeyPairSync("ec", { namedCurve: "secp256k1" }).publicKey],
  ])("ignores a configured key that is %s", (_name, key) => {
    const spki = typeof key === "string" ? key : key.export({ format: "der", type: "spki" }).toString("base64");
    expect(sendgrid.verify({ ...base, eventWebhookPublicKeys: [spki] }, signed(body), now).valid).toBe(false);
    expect(sendgrid.verify({ ...base, eventWebhookPublicKeys: [spki, ours.spki] }, signed(body), now).valid).toBe(true);
    expect(sendgrid.verify({}, signed(body), now).valid).toBe(false);
  });

  it("refuses every flipped bit of body, signature and timestamp", () => {
    const request = signed(body);
    const signature = request.headers[signatureHeader] ?? "";
    const timestamp = request.headers[timestampHeader] ?? "";
    expect(sendgrid.verify(credentials, request, now).valid).toBe(true);
    const flip = (bytes: Uint8Array, bit: number): Buffer => {
      const changed = Buffer.from(bytes);
      const at = (bit >> 3) % changed.length;
      changed[at] = (changed[at] ?? 0) ^ (1 << (bit & 7));
      return changed;
    };
    fc.assert(
      fc.property(fc.constantFrom("body", "signature", "timestamp"), fc.nat(0xffff), (part, bit) => {
        const latin1 = (text: string): string => flip(Buffer.from(text, "latin1"), bit).toString("latin1");
        const tampered = {
          ...request,
          body: part === "body" ? flip(body, bit) : body,
          headers: {
            ...request.headers,
            [signatureHeader]: part === "signature" ? latin1(signature) : signature,
            [timestampHeader]: part === "timestamp" ? latin1(timestamp) : timestamp,
          },
        };
        return !sendgrid.verify(credentials, tampered, now).valid;
      }),
      { numRuns: runs(5_000, 20_000) },
    );
  });
});
