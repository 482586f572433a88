/**
 * Chance that repeats: every draw is a pure function of a seed and a name, so no draw depends on how many came before it.
 * Two draws with different names are independent; the same name always gives the same number.
 */

/** murmur3's 32-bit finalizer: spreads every input bit over the whole word. */
function spread(word: number): number {
  let h = word;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** FNV-1a over UTF-16 code units, from a chosen basis. */
function fold(text: string, basis: number): number {
  let h = basis;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h;
}

/** A number in [0, 1) named by its parts: 53 bits, from two differently seeded hashes. */
export function uniform(...name: readonly (string | number)[]): number {
  const text = name.join("\u0000");
  const high = spread(fold(text, 0x811c9dc5)) >>> 5;
  const low = spread(fold(text, 0x3c6ef372) + text.length) >>> 6;
  return (high * 2 ** 26 + low) / 2 ** 53;
}

/** @param draw in [0, 1). */
export function pick<T>(choices: readonly [T, ...T[]], draw: number): T {
  return choices[Math.floor(draw * choices.length)] ?? choices[0];
}

/** Between `from` and `to` with a long tail, in whole units: most people answer soon, some after days. Both bounds > 0. */
export const longTail = (from: number, to: number, draw: number): number => Math.round(from * (to / from) ** draw);

/** The first choice whose cumulative share covers the draw; null when the shares (sum ≤ 1) leave it over. */
export function share<T>(shares: readonly (readonly [T, number])[], draw: number): T | null {
  let covered = 0;
  for (const [choice, part] of shares) {
    covered += part;
    if (draw < covered) return choice;
  }
  return null;
}
