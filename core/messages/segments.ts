/**
 * How many segments a text message is billed as. Pure; 3GPP TS 23.038 alphabet and the usual concatenation header: 160/153 characters in
 * GSM-7, 70/67 UTF-16 units in UCS-2. Invariant: one character outside the alphabet makes the whole message UCS-2.
 */
const basic =
  "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/** Each of these takes an escape before it. */
const extended = "^{}\\[~]|€\f";
const septets = new Map<string, number>([
  ...[...basic].map((char): [string, number] => [char, 1]),
  ...[...extended].map((char): [string, number] => [char, 2]),
]);

export interface Segments {
  readonly encoding: "gsm7" | "ucs2";
  readonly count: number;
}

/** Segments of one text; an empty one still is one. A character is never split over two segments. */
export function segmentsOf(text: string): Segments {
  const sizes = [...text].map((char) => septets.get(char) ?? 0);
  if (sizes.every((size) => size > 0)) return { encoding: "gsm7", count: fill(sizes, 160, 153) };
  return {
    encoding: "ucs2",
    count: fill(
      [...text].map((char) => char.length),
      70,
      67,
    ),
  };
}

function fill(sizes: readonly number[], single: number, each: number): number {
  if (sizes.reduce((sum, size) => sum + size, 0) <= single) return 1;
  let count = 1;
  let used = 0;
  for (const size of sizes) {
    if (used + size > each) {
      count++;
      used = 0;
    }
    used += size;
  }
  return count;
}
