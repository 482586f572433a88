import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DomainError } from "../../../core/kernel/error.ts";
import { cachedKeys, canonicalContext, open, seal } from "../../../core/kernel/seal.ts";
import { memoryKeys } from "../../../core/providers/memory/index.ts";

const place = { tenantId: "tenant_a", row: "chc_1", column: "channel_configs.credentials" };

describe("a sealed value", () => {
  test("opens to what was sealed, for any text", async () => {
    const keys = memoryKeys();
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "binary", maxLength: 500 }), async (text) => {
        expect(await open(keys, await seal(keys, text, place), place)).toBe(text);
      }),
    );
  });

  test("is different every time and does not show the text", async () => {
    const keys = memoryKeys();
    const [one, two] = await Promise.all([seal(keys, "hunter2", place), seal(keys, "hunter2", place)]);
    expect(one).not.toBe(two);
    expect(one).toMatch(/^v1(\.[\w-]+){4}$/);
  });

  test("says the same whatever is wrong with it", async () => {
    const keys = memoryKeys();
    const sealed = await seal(keys, "secret", place);
    const parts = sealed.split(".");
    const flip = (at: number) =>
      parts.map((part, n) => (n === at ? `${part.startsWith("A") ? "B" : "A"}${part.slice(1)}` : part)).join(".");
    const damaged = [
      "",
      "v1",
      "v2",
      "v1....",
      sealed.replace("v1", "v2"),
      `${sealed}.x`,
      parts.slice(0, 4).join("."),
      flip(1),
      flip(2),
      flip(3),
      flip(4),
      sealed.slice(0, -4),
    ];
    for (const text of damaged) {
      await expect(open(keys, text, place), text).rejects.toMatchObject({
        kind: "invalid",
        code: "seal.broken",
        message: "A stored secret cannot be opened. Set it again.",
      });
    }
  });

  test.each(["tenantId", "row", "column"] as const)("does not open when copied to another %s", async (field) => {
    const keys = cachedKeys(memoryKeys(), { now: () => new Date(0) });
    const sealed = await seal(keys, "secret", place);
    await open(keys, sealed, place);
    await expect(open(keys, sealed, { ...place, [field]: "other" })).rejects.toMatchObject({ code: "seal.broken" });
  });

  test("of a key service that is away is unavailable, so that the caller waits instead of asking for the secret again", async () => {
    const keys = memoryKeys();
    const sealed = await seal(keys, "secret", place);
    const away = {
      ...keys,
      unwrapDataKey: () => Promise.reject(new DomainError("unavailable", "keys.unavailable", "away")),
    };
    await expect(open(away, sealed, place)).rejects.toMatchObject({ code: "keys.unavailable" });
  });
});

describe("remembered data keys", () => {
  const counted = () => {
    const keys = memoryKeys();
    let asked = 0;
    let now = 0;
    const service = {
      ...keys,
      unwrapDataKey(...given: Parameters<typeof keys.unwrapDataKey>) {
        asked += 1;
        return keys.unwrapDataKey(...given);
      },
    };
    return {
      keys: cachedKeys(service, { now: () => new Date(now), maxKeys: 2 }),
      asked: () => asked,
      advance: (seconds: number) => {
        now += seconds * 1_000;
      },
    };
  };

  test("spare the key service for five minutes and not a second longer", async () => {
    const { keys, asked, advance } = counted();
    const sealed = await seal(keys, "secret", place);
    for (let n = 0; n < 5; n++) expect(await open(keys, sealed, place)).toBe("secret");
    expect(asked()).toBe(1);
    advance(299);
    await open(keys, sealed, place);
    expect(asked()).toBe(1);
    advance(1);
    expect(await open(keys, sealed, place)).toBe("secret");
    expect(asked()).toBe(2);
  });

  test("are no more than allowed: the oldest goes first", async () => {
    const { keys, asked } = counted();
    const rows = ["chc_1", "chc_2", "chc_3"];
    const sealed = await Promise.all(rows.map((row) => seal(keys, row, { ...place, row })));
    for (const [n, row] of rows.entries()) expect(await open(keys, sealed[n] ?? "", { ...place, row })).toBe(row);
    await open(keys, sealed[2] ?? "", { ...place, row: "chc_3" });
    expect(asked()).toBe(3);
    await open(keys, sealed[0] ?? "", { ...place, row: "chc_1" });
    expect(asked()).toBe(4);
  });
});

test("the canonical context of two different sets of pairs is never the same", () => {
  const pairs = fc.dictionary(fc.string({ maxLength: 5 }), fc.string({ maxLength: 5 }), { noNullPrototype: true });
  fc.assert(
    fc.property(pairs, pairs, (one, two) => {
      const same = JSON.stringify(Object.entries(one).sort()) === JSON.stringify(Object.entries(two).sort());
      expect(canonicalContext(one).equals(canonicalContext(two))).toBe(same);
    }),
  );
});
