import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createLog, type Level, redact } from "../../../functions/lib/log.ts";

function lines(level?: Level) {
  const written: string[] = [];
  const log = createLog({ write: (line) => written.push(line), now: () => new Date(0), ...(level ? { level } : {}) });
  return { log, written };
}

describe("a log line", () => {
  test("is one JSON object on one line, with the fields of its cause", () => {
    const { log, written } = lines();
    log.with({ tenantId: "tenant_a", correlationId: "corr_1" }).info("thing.done", { count: 2, reason: "a\nb" });
    expect(written).toHaveLength(1);
    expect(written[0]).not.toContain("\n");
    expect(JSON.parse(written[0] ?? "")).toEqual({
      time: "1970-01-01T00:00:00.000Z",
      level: "info",
      event: "thing.done",
      tenantId: "tenant_a",
      correlationId: "corr_1",
      count: 2,
      reason: "a\nb",
    });
  });

  test("shows fields by name only: what nobody named is redacted, at every depth", () => {
    const { log, written } = lines();
    log.info("row", { tenantId: "t", apiKey: "k1", password: "k2", cause: { first_name: "Ada", code: "23505" } });
    const text = written[0] ?? "";
    for (const secret of ["k1", "k2", "Ada"]) expect(text).not.toContain(`"${secret}"`);
    expect(text).toContain("23505");
  });

  test("of an error keeps what it is, its cause and its place, without what it quotes", () => {
    const { log, written } = lines();
    const cause = Object.assign(new Error("duplicate key (email)=(ada@example.com)"), { code: "23505" });
    log.error("failed", { error: new Error("no +1 (202) 555-0123 here", { cause }) });
    const text = written[0] ?? "";
    expect(text).toContain("23505");
    expect(text).toContain("[email]");
    expect(text).toContain("[phone]");
    expect(text).not.toMatch(/ada@|555/);
  });

  test("below the level is not written", () => {
    const { log, written } = lines("warn");
    log.info("quiet");
    log.debug("quiet");
    log.warn("loud");
    expect(written).toHaveLength(1);
  });

  test("survives what JSON does not", () => {
    const { log, written } = lines();
    const circle: { cause?: unknown } = {};
    circle.cause = circle;
    log.info("odd", { cause: circle, count: 1n, reason: () => {}, error: new Date(Number.NaN) });
    expect(JSON.parse(written[0] ?? "")).toMatchObject({ count: "1", error: null });
  });
});

describe("redaction", () => {
  test.each([
    ["ada.lovelace+x@mail.example.co.uk", "[email]"],
    ["<ada@example.com>", "<[email]>"],
    ["call +12025550123 now", "call [phone] now"],
    ["020 7946 0018", "[phone]"],
    ["postgres://app:pw@db.neon.tech/x", "postgres://[secret]@db.neon.tech/x"],
    ["Authorization: Bearer abc.def", "Authorization: Bearer [secret]"],
    ["SG.abcdefghijkl.mnopqrstuvwxyz", "[secret]"],
    ["lead_01J9ZQ3W0G8Q5V3K2M1N0P9R8S", "lead_01J9ZQ3W0G8Q5V3K2M1N0P9R8S"],
    ["took 1234 ms for 5000 rows", "took 1234 ms for 5000 rows"],
    ["2026-11-21T09:00:00.000Z", "2026-11-21T09:00:00.000Z"],
  ])("of %s", (text, expected) => {
    expect(redact(text)).toBe(expected);
  });

  test("leaves no e-mail address, wherever it stands", () => {
    fc.assert(
      fc.property(fc.emailAddress(), fc.string(), fc.string(), (email, before, after) => {
        expect(redact(`${before} ${email} ${after}`)).not.toContain(email);
      }),
    );
  });
});

test("a metric is a line in embedded metric format", () => {
  const { log, written } = lines("error");
  log.metric("BellsParked", 3, "Count", { queue: "send" });
  expect(JSON.parse(written[0] ?? "")).toEqual({
    _aws: {
      Timestamp: 0,
      CloudWatchMetrics: [
        { Namespace: "Outrider", Dimensions: [["queue"]], Metrics: [{ Name: "BellsParked", Unit: "Count" }] },
      ],
    },
    queue: "send",
    BellsParked: 3,
  });
});
