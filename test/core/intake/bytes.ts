/** Files for intake tests, made on the fly. */

import type { ImportDeps, Limits } from "../../../core/intake/index.ts";
import { memoryBlobs, memoryQueue } from "../../../core/providers/memory/index.ts";

/** Yields its parts one by one, like an upload does. */
export async function* stream(...parts: (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield typeof part === "string" ? Buffer.from(part) : part;
}

/** A CSV of people `from`..`to` in chunks of 64 KiB or so; never whole in memory. */
export async function* people(from: number, to: number, { domain = "acme" } = {}): AsyncGenerator<Uint8Array> {
  let text =
    "Email,First Name,Last Name,Title,Phone,Company,Website,Industry,City,State,Zip,Country,SMS Consent,Favourite Colour\n";
  for (let n = from; n <= to; n += 1) {
    const company = n % 500;
    const phone = `+1 (${200 + (n % 700)}) 555-${String(n % 10_000).padStart(4, "0")}`;
    text += `Person.${n}@${domain}${company}.example,Ada${n},Lovelace,CEO,${phone},"${domain} ${company}, Inc.",https://www.${domain}${company}.example/,Software,Saint Paul,MN,55101,United States,${n % 3 === 0 ? "yes" : "no"},blue\n`;
    if (text.length > 65_536) {
      yield Buffer.from(text);
      text = "";
    }
  }
  if (text !== "") yield Buffer.from(text);
}

export const deps = (): ImportDeps & { readonly queue: ReturnType<typeof memoryQueue> } => ({
  blobs: memoryBlobs(),
  queue: memoryQueue(),
});

export const unlimited: Limits = { remainingMs: () => 600_000 };
