/**
 * Bytes of unknown origin into text, chunk by chunk. Invariant: the same bytes give the same text whatever pieces they arrive in, because
 * decisions are taken on blocks of a fixed size; a resumed import therefore sees the rows it saw before.
 */
import { isAscii, isUtf8 } from "node:buffer";
import iconv from "iconv-lite";
import { blockBytes } from "./formats.ts";

export type Encoding = "utf-8" | "utf-16le" | "utf-16be";

/** Re-cuts a stream into blocks of exactly `blockBytes` (the last may be shorter). */
export async function* blocksOf(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let pending: Buffer[] = [];
  let held = 0;
  for await (const chunk of bytes) {
    pending.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    held += chunk.byteLength;
    if (held < blockBytes) continue;
    const all = pending.length === 1 ? (pending[0] ?? Buffer.alloc(0)) : Buffer.concat(pending);
    let from = 0;
    for (; held - from >= blockBytes; from += blockBytes) yield all.subarray(from, from + blockBytes);
    pending = from === held ? [] : [Buffer.from(all.subarray(from))];
    held -= from;
  }
  if (held > 0) yield Buffer.concat(pending);
}

/** By byte order mark; without one, text whose every other byte is zero is UTF-16; anything else starts as UTF-8. */
export function encodingOf(head: Uint8Array): { readonly encoding: Encoding; readonly markBytes: number } {
  const [a, b, c] = head;
  if (a === 0xef && b === 0xbb && c === 0xbf) return { encoding: "utf-8", markBytes: 3 };
  if (a === 0xff && b === 0xfe) return { encoding: "utf-16le", markBytes: 2 };
  if (a === 0xfe && b === 0xff) return { encoding: "utf-16be", markBytes: 2 };
  const sample = head.subarray(0, 1024);
  const zeros = [0, 0];
  for (const [index, byte] of sample.entries()) if (byte === 0) zeros[index & 1] = (zeros[index & 1] ?? 0) + 1;
  const [even = 0, odd = 0] = zeros;
  const many = sample.length / 5;
  if (odd > many && even < odd / 10) return { encoding: "utf-16le", markBytes: 0 };
  if (even > many && odd < even / 10) return { encoding: "utf-16be", markBytes: 0 };
  return { encoding: "utf-8", markBytes: 0 };
}

/** Bytes at the end that begin a UTF-8 character and do not finish it. */
function unfinished(block: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, block.length); back += 1) {
    const byte = block[block.length - back] ?? 0;
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) return back < (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) ? back : 0;
  }
  return 0;
}

export const encodingWarnings = {
  fallback: "the file is not valid UTF-8; read as Windows-1252",
  damaged: "the file holds bytes that are not valid UTF-8; they were replaced",
} as const;

/** One file's bytes into text. Feed it blocks of `blocksOf`. */
export class TextReader {
  /** Characters beyond ASCII were seen, and they were UTF-8. */
  #isUtf8 = false;
  #rest: Buffer = Buffer.alloc(0);
  #started = false;
  #decoder: ReturnType<typeof iconv.getDecoder> | undefined;
  readonly #warn: (warning: string) => void;

  constructor(warn: (warning: string) => void) {
    this.#warn = warn;
  }

  /** @param last no more blocks follow */
  read(given: Buffer, last: boolean): string {
    let block = given;
    if (!this.#started) {
      this.#started = true;
      const { encoding, markBytes } = encodingOf(block);
      block = block.subarray(markBytes);
      if (encoding !== "utf-8") this.#decoder = iconv.getDecoder(encoding);
    }
    if (this.#decoder) return this.#decode(block, last);
    if (this.#rest.length > 0) block = Buffer.concat([this.#rest, block]);
    const cut = last ? 0 : unfinished(block);
    this.#rest = Buffer.from(block.subarray(block.length - cut));
    const whole = block.subarray(0, block.length - cut);
    if (isAscii(whole)) return whole.toString("latin1");
    if (isUtf8(whole)) {
      this.#isUtf8 = true;
    } else if (!this.#isUtf8) {
      // Nothing so far was more than ASCII, so nothing speaks for UTF-8.
      this.#warn(encodingWarnings.fallback);
      this.#decoder = iconv.getDecoder("win1252");
      this.#rest = Buffer.alloc(0);
      return this.#decode(block, last);
    } else {
      this.#warn(encodingWarnings.damaged);
    }
    return whole.toString("utf8");
  }

  #decode(block: Buffer, last: boolean): string {
    const text = this.#decoder?.write(block) ?? "";
    return last ? text + (this.#decoder?.end() ?? "") : text;
  }
}
