/** The short version of the signature part of `npm run hostile`: every single bit, every spelling, and some thousand random changes. */
import { describe, expect, test } from "vitest";
import { parse } from "../../core/providers/twilio/events.ts";
import { generator } from "../long/report.ts";
import { runs } from "../support/runs.ts";
import { everyBit, otherSignature, spellings } from "./forgeries.ts";
import { randomChange } from "./random-forgeries.ts";
import { bases, isAccepted, newTally, tryOne } from "./signatures.ts";

describe.each(bases)("$name", (base) => {
  test("is accepted as it was signed", () => expect(isAccepted(base, base.request)).toBe(true));

  test("is refused with any one bit changed, in any other spelling, at any other time", () => {
    const tally = newTally();
    for (const attack of everyBit(base)) tryOne(base, attack, tally);
    for (const attack of spellings(base)) tryOne(base, attack, tally);
    expect(tally.forged).toEqual([]);
    expect(tally.tried).toBeGreaterThan(500);
  }, 60_000);

  test("is refused after random changes", () => {
    const tally = newTally();
    const random = generator(20_261_121);
    for (let n = 0; n < runs(3_000, 30_000); n++) tryOne(base, randomChange(base, random), tally);
    expect(tally.forged).toEqual([]);
  }, 60_000);
});

test("(r, n − s) proves the same bytes as (r, s): accepted, because SendGrid signs with either", () => {
  for (const base of bases.filter(({ provider }) => provider === "sendgrid")) {
    expect(isAccepted(base, otherSignature(base))).toBe(true);
    expect(
      isAccepted(base, { ...otherSignature(base), body: Buffer.concat([base.request.body, Buffer.from(" ")]) }),
    ).toBe(false);
  }
});

test("what Twilio's scheme does not tell apart is accepted, and cannot be made to say more", () => {
  const base = bases.find(({ name }) => name === "Twilio status");
  if (!base) throw new Error("no base");
  const fields = Buffer.from(base.request.body).toString().split("&");
  const changed = (body: string) => ({ ...base.request, body: Buffer.from(body) });
  const reordered = changed(fields.toReversed().join("&"));
  const doubled = changed([...fields, ...fields].join("&"));
  for (const request of [reordered, doubled]) {
    expect(isAccepted(base, request)).toBe(true);
    expect(parse(request, new Date(0))).toEqual(parse(base.request, new Date(0)));
  }
  // A name that swallows its value leaves a request that says nothing.
  const swallowed = changed(fields.map((field) => field.replace("=", "")).join("&"));
  expect(isAccepted(base, swallowed)).toBe(true);
  expect(parse(swallowed, new Date(0))).toMatchObject({ events: [], inbound: [], problems: [{ index: -1 }] });
});
