/** Files that operators hand over or ask for. Invariant: a file is written whole or not at all, and never over another without being asked. */
import { createWriteStream } from "node:fs";
import { access, readFile, rename, rm, stat } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { usageError } from "./errors.ts";

const maxJsonBytes = 16 * 1024 ** 2;

/** @throws CliError exit 2 for a directory, which only a read without a path would notice */
export async function sizeOf(file: string): Promise<number> {
  const found = await stat(file);
  if (found.isDirectory()) throw usageError("file.unusable", `${file} is a directory; expected a file.`);
  return found.size;
}

/** @throws CliError exit 2 naming the file and where in it JSON ends */
export async function readJson(file: string): Promise<unknown> {
  const text = await readText(file);
  try {
    return JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw usageError("file.not_json", `${file} is not JSON: ${why}`);
  }
}

/** @param file `-` for stdin */
export async function readText(file: string): Promise<string> {
  if (file !== "-") await sizeOf(file);
  const bytes = file === "-" ? await stdin() : await readFile(file);
  if (bytes.length > maxJsonBytes) throw usageError("file.too_large", `${file} has more than ${maxJsonBytes} bytes.`);
  return new TextDecoder("utf-8").decode(bytes);
}

async function stdin(): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Uint8Array);
  return Buffer.concat(chunks);
}

/** The lines of a file that are not empty. A first line without a digit or an @ is a heading. */
export async function readList(file: string): Promise<string[]> {
  const lines = (await readText(file)).split(/\r?\n/).map((line) => line.replace(/^"|"$/g, "").trim());
  return lines.filter((line, index) => line !== "" && !(index === 0 && !/[\d@]/.test(line)));
}

export async function refuseToOverwrite(file: string, force: boolean): Promise<void> {
  if (force || file === "-") return;
  const exists = await access(file).then(
    () => true,
    () => false,
  );
  if (exists) throw usageError("file.exists", `${file} exists; give --force to replace it.`);
}

/** @param file `-` for stdout */
export async function writeChunks(file: string, chunks: AsyncIterable<string | Uint8Array>): Promise<void> {
  if (file === "-") {
    await pipeline(chunks, process.stdout, { end: false });
    return;
  }
  const partial = `${file}.partial`;
  try {
    await pipeline(chunks, createWriteStream(partial));
    await rename(partial, file);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}
