import { describe, expect, test } from "vitest";
import { normalizeEmail, normalizePhone } from "../../../core/kernel/address.ts";
import { lineEnd } from "../../../core/kernel/line.ts";

/** Every control character, and what Unicode ends lines with. */
const ends = [
  ...Array.from({ length: 0xa0 }, (_, n) => String.fromCharCode(n)).filter((letter) => /\p{Cc}/u.test(letter)),
  "\u2028",
  "\u2029",
];

describe("what ends a line for anybody", () => {
  test("is known", () => {
    expect(ends).toHaveLength(67);
    for (const end of ends) expect(lineEnd.test(`a${end}b`), JSON.stringify(end)).toBe(true);
    expect(lineEnd.test("Zoë Müller-Łącka 👩‍👩‍👧‍👦 =?utf-8?Q?=0D=0A?= %0d%0a")).toBe(false);
  });

  test("is in no address", () => {
    for (const end of ends) {
      for (const address of [
        `ada${end}b@example.com`,
        `ada@exa${end}mple.com`,
        `ada@example.com${end}Bcc: eve@example.com`,
      ])
        expect(normalizeEmail(address), JSON.stringify(address)).toBeNull();
      expect(normalizePhone(`+12125550123${end}To: +12125559999`) ?? "+12125550123").toBe("+12125550123");
    }
  });
});
