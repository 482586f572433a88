import { readdirSync, readFileSync } from "node:fs";
import PostalMime from "postal-mime";
import { describe, expect, test } from "vitest";
import { classifyInbound, newTextOf } from "../../../core/conversations/index.ts";

const fixtures = new URL("../../fixtures/", import.meta.url);
interface Labelled {
  readonly text: string;
  /** `opt_out_or_unclear`: must be heard; `reply`: must never be read as an opt-out. */
  readonly label: "opt_out" | "opt_in" | "help" | "opt_out_or_unclear" | "reply";
  readonly class: "keyword" | "phrase" | "typo" | "spanish" | "french" | "negative";
}
const corpus: readonly Labelled[] = JSON.parse(readFileSync(new URL("opt-out/corpus.json", fixtures), "utf8"));
const kindOf = (text: string, channel: "sms" | "email" = "sms") => classifyInbound({ channel, text }).kind;
const heard = new Set(["opt_out", "unclear_opt_out"]);

describe("the opt-out corpus", () => {
  test("has at least 300 texts, every class among them", () => {
    expect(corpus.length).toBeGreaterThanOrEqual(300);
    expect(new Set(corpus.map((item) => item.class)).size).toBe(6);
  });
  test.each(["sms", "email"] as const)("keywords in every shape are heard without exception (%s)", (channel) => {
    const misses = corpus.filter((item) => item.class === "keyword" && kindOf(item.text, channel) !== item.label);
    expect(misses.map((item) => `${item.text}: ${kindOf(item.text, channel)}`)).toEqual([]);
  });
  test("phrases, typos, Spanish, French and signs are heard: opt-out or held", () => {
    const misses = corpus.filter((item) => item.label === "opt_out_or_unclear" && !heard.has(kindOf(item.text)));
    expect(misses.map((item) => `${item.text}: ${kindOf(item.text)}`)).toEqual([]);
  });
  test("at least four fifths of the phrases are certain, so that people are not asked about the obvious", () => {
    const phrases = corpus.filter((item) => item.label === "opt_out_or_unclear");
    expect(phrases.filter((item) => kindOf(item.text) === "opt_out").length / phrases.length).toBeGreaterThan(0.8);
  });
  test("nobody who did not ask is opted out or held", () => {
    const wrong = corpus.filter((item) => item.label === "reply" && heard.has(kindOf(item.text)));
    expect(wrong.map((item) => `${item.text}: ${kindOf(item.text)}`)).toEqual([]);
  });
});

describe("what decides first", () => {
  test("the provider's verdict beats the words", () => {
    expect(classifyInbound({ channel: "sms", text: "genug", optOut: "STOP" })).toMatchObject({
      kind: "opt_out",
      matched: "provider:STOP",
      responseType: "dnc",
    });
    expect(classifyInbound({ channel: "sms", text: "stop", optOut: "START" }).kind).toBe("opt_in");
    expect(classifyInbound({ channel: "sms", text: "x", optOut: "HELP" }).kind).toBe("help");
  });
  test("YES resumes only somebody who is opted out; START always", () => {
    expect(classifyInbound({ channel: "sms", text: "YES" })).toMatchObject({ kind: "opt_in", onlyIfOptedOut: true });
    expect(classifyInbound({ channel: "sms", text: "START" })).toMatchObject({ kind: "opt_in", onlyIfOptedOut: false });
  });
  test("an unsubscribe that stands only in our quoted footer is a reply", () => {
    const text =
      "Sounds good, call me.\n\nOn Mon, Nov 9, 2026 at 9:00 AM Bob\n<bob@example.com> wrote:\n> Hi\n> Unsubscribe: https://o.example/u/1\nUnsubscribe here\n";
    expect(classifyInbound({ channel: "email", text })).toMatchObject({
      kind: "reply",
      newText: "Sounds good, call me.",
      responseType: "positive",
    });
  });
  test("the same word above the quotation is an opt-out", () => {
    expect(kindOf("unsubscribe\n\n-----Original Message-----\nFrom: Bob\nSent: Monday\nHi", "email")).toBe("opt_out");
    expect(
      kindOf("STOP\n\nFrom: Bob <bob@example.com>\nSent: Monday, November 9\nTo: Ann\nSubject: Hi\n\nbuy", "email"),
    ).toBe("opt_out");
    expect(kindOf("Please remove me.\n\nAm 13.12.2017 21:11 schrieb Bob <b@example.com>:\n\nHi", "email")).toBe(
      "opt_out",
    );
  });
  test("mail to the unsubscribe address says it in the subject; a Re: repeats ours", () => {
    expect(classifyInbound({ channel: "email", subject: "unsubscribe", text: "" }).kind).toBe("opt_out");
    expect(
      classifyInbound({ channel: "email", subject: "Unsubscribe", text: "This message was made by the mail program." })
        .kind,
    ).toBe("opt_out");
    expect(classifyInbound({ channel: "email", subject: "Re: stop", text: "Sounds good" }).kind).toBe("reply");
  });
});

describe("automatic replies", () => {
  test.each(readdirSync(new URL("email/autoreply/", fixtures)))("%s", async (name) => {
    const mail = await PostalMime.parse(readFileSync(new URL(`email/autoreply/${name}`, fixtures)));
    const headers = Object.fromEntries(mail.headers.map((header) => [header.key, header.value]));
    expect(classifyInbound({ channel: "email", subject: mail.subject, text: mail.text ?? "", headers }).kind).toBe(
      "auto_reply",
    );
  });
  test.each([
    [{ "Auto-Submitted": "auto-replied" }, "auto_reply"],
    [{ "Auto-Submitted": "no" }, "reply"],
    [{ "X-Auto-Response-Suppress": "All" }, "auto_reply"],
    [{ "X-Autoreply": "yes" }, "auto_reply"],
    [{ Precedence: "bulk" }, "auto_reply"],
    [{ Precedence: "first-class" }, "reply"],
    [{ "Return-Path": "<>" }, "auto_reply"],
    [{ "List-Id": "<x.example>" }, "auto_reply"],
    [{ "Content-Type": "multipart/report; report-type=delivery-status; boundary=x" }, "bounce_report"],
  ])("%j is %s", (headers, kind) => {
    expect(classifyInbound({ channel: "email", subject: "Re: hello", text: "Back on Monday.", headers }).kind).toBe(
      kind,
    );
  });
  test.each([
    "Automatic reply: hello",
    "Out of Office",
    "Autosvar: x",
    "Abwesend bis Montag",
    "Réponse automatique : x",
  ])("subject %s", (subject) => {
    expect(classifyInbound({ channel: "email", subject, text: "I am away." }).kind).toBe("auto_reply");
  });
  test("a machine that asks to be removed is looked at by a person", () => {
    expect(
      classifyInbound({
        channel: "email",
        text: "Please remove me from your list.",
        headers: { "Auto-Submitted": "auto-replied" },
      }).kind,
    ).toBe("unclear_opt_out");
  });
  test("a phone's driving answer is none", () => {
    expect(kindOf("I'm driving with Do Not Disturb on. I'll see your message when I get there.")).toBe("auto_reply");
  });
});

describe("new text", () => {
  test.each(["gmail.eml", "hotmail.eml", "iphone.eml", "yahoo.eml"])("%s says Hello", async (name) => {
    const mail = await PostalMime.parse(readFileSync(new URL(`email/replies/${name}`, fixtures)));
    expect(newTextOf("email", mail.text ?? "").replace(/\s*Sent from my iPhone$/, "")).toBe("Hello");
  });
  test.each([
    ["outlook-quoted.txt", /^Outlook with a reply$/],
    ["iphone-signature.txt", /^Here is another email$/],
    ["sent-from-my-not-signature.txt", /much easier then my mobile phone/],
    ["signature-delimiter.txt", /^this is an email with a correct -- signature\.$/],
    ["crisp-german.txt", /^Fusce bibendum.*Fusce sed odio.*nec nibh\.$/s],
    ["crisp-emoji.txt", /^🎉/],
  ])("%s", (name, expected) => {
    expect(newTextOf("email", readFileSync(new URL(`email/replies/${name}`, fixtures), "utf8"))).toMatch(expected);
  });
  test("a bottom-posted answer is found below the quotation", () => {
    expect(newTextOf("email", "On Mon, Bob wrote:\n> Hi\n> there\n\nStop writing to me")).toBe("Stop writing to me");
  });
  test("a hostile text is read in bounded time", () => {
    const started = performance.now();
    for (const unit of ["On ", "> ", "From: x\n", "stop ", "please stop by ", "unsubscribf ", "a", "-- \n", "🛑"]) {
      classifyInbound({ channel: "email", subject: unit.repeat(5_000), text: unit.repeat(100_000) });
      classifyInbound({ channel: "sms", text: unit.repeat(1_000) });
    }
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});

describe("response types", () => {
  test.each([
    ["Sure, call me tomorrow", "positive"],
    ["Not interested", "negative"],
    ["no thanks", "negative"],
    ["who is this?", "neutral"],
    ["stop", "dnc"],
    ["wrong number", "negative"],
  ])("%s is %s", (text, expected) => expect(classifyInbound({ channel: "sms", text }).responseType).toBe(expected));
});
