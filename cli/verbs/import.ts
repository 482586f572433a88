/**
 * `import` and `imports`: a list goes in as a stream, and what was refused comes back with its reason.
 * Invariant: once the file has arrived the server goes on by itself; Ctrl-C only stops watching.
 */
import { createReadStream } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Command, Option } from "commander";
import type { FileFormat } from "../../core/intake/formats.ts";
import type { Client, Query, Row } from "../client.ts";
import { CliError, exitCodes } from "../errors.ts";
import { refuseToOverwrite, sizeOf, writeChunks } from "../files.ts";
import type { Output } from "../output.ts";
import { at } from "../text.ts";
import { type Part, partsOf } from "../upload.ts";
import { count, list, type Verb, verbOf } from "../verb.ts";

const contentTypes: Readonly<Record<FileFormat, string>> = {
  csv: "text/csv",
  json: "application/json",
  ndjson: "application/x-ndjson",
};
const pollMs = 300;
const shownRejections = 20;

const columns = [
  "id",
  "status",
  "file=fileName",
  "source",
  "read=rows.read",
  "accepted=rows.accepted",
  "duplicate=rows.duplicate",
  "rejected=rows.rejected",
  "promoted=rows.promoted",
  "warned=rows.warned",
  "created=createdAt",
];
const details = [...columns, "error=lastError", "completed=completedAt"];
const rejectedColumns = ["row", "status", "reason", "email"];

interface ImportOptions {
  readonly source?: string;
  readonly format?: FileFormat;
  readonly promote: boolean;
  readonly country?: string;
  readonly tag?: readonly string[];
  readonly map?: readonly string[];
  readonly wait?: boolean;
  readonly rejected?: string;
  readonly force?: boolean;
}

export function imports(program: Command): void {
  program
    .command("import <file>")
    .description("import a list of people: CSV, JSON or NDJSON; - reads stdin")
    .option("--source <name>", "where the rows come from (default: the file's name)")
    .addOption(
      new Option("--format <format>", "default: found out from the first bytes").choices(Object.keys(contentTypes)),
    )
    .option("--no-promote", "keep the rows as raw loads until they are promoted explicitly")
    .option("--country <code>", "how phone numbers without + are read, like US")
    .option("--tag <tag>", "added to every person; may be repeated", list)
    .option("--map <column=field>", "what a column of the list holds, like Mail=email; may be repeated", list)
    .option("--wait", "until every row has been judged, with progress")
    .option("--rejected <out.csv>", "write the rows that were not taken here, with reasons (waits)")
    .option("--force", "replace the file of --rejected")
    .action(async (file: string, options: ImportOptions, command: Command) => {
      await importFile(verbOf(command), file, options);
    });

  const group = program.command("imports").description("imports so far, and what became of their rows");
  group
    .command("list")
    .description("newest first")
    .option("--status <status>", "pending, running, completed, failed or cancelled")
    .option("--limit <n>", "at most so many", count)
    .action(async ({ status, limit }: { status?: string; limit?: number }, command: Command) => {
      const { out, client } = verbOf(command);
      await out.rows((await client()).pages("/v1/imports", { status }, limit), columns, "No imports yet.");
    });
  group
    .command("show <import>")
    .description("one import with its counters")
    .action(async (id: string, _options, command: Command) => {
      const { out, client } = verbOf(command);
      const row = await (await client()).get(`/v1/imports/${encodeURIComponent(id)}`);
      await out.value(row, () => out.record(row, details));
    });
  group
    .command("watch <import>")
    .description("follow an import to its end, also one begun elsewhere")
    .option("--rejected <out.csv>", "write the rows that were not taken here, with reasons")
    .option("--force", "replace that file")
    .action(async (id: string, options: Pick<ImportOptions, "rejected" | "force">, command: Command) => {
      const { out, client } = verbOf(command);
      await finish(out, await client(), [id], options, interruptible());
    });
  group
    .command("rejected <import>")
    .description("the rows that were not taken, with reasons")
    .option("--out <out.csv>", "as a CSV to mend and import again; - is stdout")
    .option("--force", "replace that file")
    .action(async (id: string, options: { out?: string; force?: boolean }, command: Command) => {
      const { out, client } = verbOf(command);
      if (options.out === undefined)
        await out.rows(refusedRows(await client(), id), rejectedColumns, "Every row was taken.");
      else await writeRejected(out, await client(), id, options.out, options.force === true);
    });
  group
    .command("cancel <import>")
    .description("end an import after the rows it is writing; what it imported stays")
    .action(async (id: string, _options, command: Command) => {
      const { out, client } = verbOf(command);
      const row = await (await client()).post(`/v1/imports/${encodeURIComponent(id)}/cancel`);
      await out.value(row, () => out.record(row, details));
    });
}

async function importFile({ out, client: connect }: Verb, file: string, options: ImportOptions): Promise<void> {
  if (options.rejected !== undefined) await refuseToOverwrite(options.rejected, options.force === true);
  const size = file === "-" ? 0 : await sizeOf(file);
  const client = await connect();
  const interrupt = interruptible();
  let made: readonly Row[];
  try {
    made = await upload(out, client, file, size, options, interrupt.signal);
    if (options.wait === true || options.rejected !== undefined) {
      const ids = made.map((row) => String(row["id"]));
      return await finish(out, client, ids, options, interrupt);
    }
  } finally {
    interrupt.end();
  }
  for (const row of made) await out.value(row, () => out.record(row, details));
  for (const row of made) out.note(`The import goes on by itself; npx outrider imports watch ${row["id"]} follows it.`);
}

interface Interrupt {
  readonly signal: AbortSignal;
  /** From now on Ctrl-C ends the process. */
  end(): void;
}

/** Listens for Ctrl-C without a break: one that comes while nobody listens for a moment would be lost or end the process without a word. */
function interruptible(): Interrupt {
  const stopped = new AbortController();
  const onInterrupt = () => stopped.abort();
  process.once("SIGINT", onInterrupt);
  return { signal: stopped.signal, end: () => process.off("SIGINT", onInterrupt) };
}

/**
 * Ctrl-C ends the reading; what is on its way to the server arrives, so that it is always known what was imported.
 * @returns the import, or one for each part of a list that is larger than the API takes
 */
async function upload(
  out: Output,
  client: Client,
  file: string,
  size: number,
  options: ImportOptions,
  interrupted: AbortSignal,
): Promise<readonly Row[]> {
  const bar = out.progress("Sending");
  const input = file === "-" ? process.stdin : createReadStream(file);
  const stop = () => input.destroy(new Error("interrupted"));
  interrupted.addEventListener("abort", stop);
  const made: Row[] = [];
  async function* measured(): AsyncGenerator<Uint8Array> {
    let sent = 0;
    for await (const chunk of input) {
      const bytes = chunk as Buffer;
      sent += bytes.length;
      bar.update(sent, Math.max(size, sent), `${Math.round(sent / 1_000)} kB`);
      yield bytes;
    }
  }
  try {
    for await (const part of partsOf(measured(), options.format)) {
      const type = contentTypes[part.format ?? formatOf(file)];
      made.push(await client.upload("/v1/imports", queryOf(file, part, options), type, part.bytes));
    }
  } catch (error) {
    if (!interrupted.aborted) throw error;
    const ids = made.map((row) => row["id"]).join(", ");
    const before = made.length === 0 ? "nothing was imported" : `what had arrived is imported: ${ids}`;
    throw new CliError(exitCodes.interrupted, "import.interrupted", `The file was not read to its end; ${before}.`, {
      hint: "run the same command again: rows that are in already are recognised",
    });
  } finally {
    interrupted.removeEventListener("abort", stop);
    bar.stop();
    input.destroy();
  }
  if (interrupted.aborted) throw unwatched(made.map((row) => String(row["id"])));
  return made;
}

function unwatched(ids: readonly string[]): CliError {
  const [first] = ids;
  return new CliError(
    exitCodes.interrupted,
    "import.unwatched",
    `Import ${ids.join(", ")} goes on without being watched.`,
    {
      hint: `npx outrider imports watch ${first} follows it, imports cancel ${first} ends it`,
    },
  );
}

/** By its name; the server looks at the bytes. */
function formatOf(file: string): FileFormat {
  const extension = path.extname(file).slice(1).toLowerCase();
  return extension === "json" || extension === "ndjson" ? extension : "csv";
}

function queryOf(file: string, part: Part, options: ImportOptions): Query {
  const mapping = Object.fromEntries(
    (options.map ?? []).map((pair) => {
      const [column = "", field = ""] = pair.split(/=(?=[^=]*$)/);
      return [column, field];
    }),
  );
  const name = file === "-" ? "stdin" : path.basename(file);
  return {
    fileName: part.number === null ? name : `${name} (part ${part.number})`,
    source: options.source ?? name,
    format: part.format,
    promote: options.promote ? undefined : false,
    defaultCountry: options.country,
    tags: options.tag?.join(","),
    mapping: options.map === undefined ? undefined : JSON.stringify(mapping),
  };
}

/** Watches to the end. @throws CliError exit 1 when the import failed, exit 130 after Ctrl-C */
async function watch(out: Output, client: Client, id: string, interrupt: Interrupt): Promise<Row> {
  const bar = out.progress("Importing");
  try {
    for (;;) {
      const row = await client.get(`/v1/imports/${encodeURIComponent(id)}`);
      const number = (name: string) => Number(at(row, name) ?? 0);
      const note = `${number("rows.read")} rows: ${number("rows.accepted")} accepted, ${number("rows.duplicate")} duplicate, ${number("rows.rejected")} rejected`;
      bar.update(number("bytesRead"), Math.max(1, number("sizeBytes")), note);
      if (row["status"] !== "pending" && row["status"] !== "running") return row;
      await sleep(pollMs, undefined, { signal: interrupt.signal });
    }
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    throw unwatched([id]);
  } finally {
    interrupt.end();
    bar.stop();
  }
}

async function finish(
  out: Output,
  client: Client,
  ids: readonly string[],
  options: Pick<ImportOptions, "rejected" | "force">,
  first: Interrupt,
): Promise<void> {
  const { rejected, force } = options;
  for (const [index, id] of ids.entries()) {
    // A list in parts has a file of refused rows for each: their columns may differ.
    const file = rejected === undefined || index === 0 ? rejected : rejected.replace(/(\.\w+)?$/, `-${index + 1}$1`);
    await finishOne(out, client, id, file, force === true, index === 0 ? first : interruptible());
  }
}

async function finishOne(
  out: Output,
  client: Client,
  id: string,
  file: string | undefined,
  force: boolean,
  interrupt: Interrupt,
): Promise<void> {
  if (file !== undefined) await refuseToOverwrite(file, force);
  const row = await watch(out, client, id, interrupt);
  await out.value(row, () => out.record(row, details));
  const refused = Number(at(row, "rows.rejected") ?? 0) + Number(at(row, "rows.duplicate") ?? 0);
  if (file !== undefined) await writeRejected(out, client, id, file, true);
  else if (refused > 0 && !out.json) await showRejected(out, client, id, refused);
  if (row["status"] === "completed") return;
  const why = String(row["lastError"] ?? "without a reason").replace(/\.$/, "");
  throw new CliError(exitCodes.refused, `import.${row["status"]}`, `Import ${id} is ${row["status"]}: ${why}.`, {
    hint: why.includes("options.mapping") ? "on the command line: --map Contact=email" : null,
  });
}

async function* refusedRows(client: Client, id: string, most?: number): AsyncGenerator<Row> {
  let left = most ?? Number.POSITIVE_INFINITY;
  for (const status of ["failed", "duplicate"]) {
    for await (const row of client.pages("/v1/intake/loads", { importId: id, status }, left)) {
      left--;
      yield row;
    }
    if (left <= 0) return;
  }
}

async function showRejected(out: Output, client: Client, id: string, refused: number): Promise<void> {
  await out.line("");
  await out.line(out.bold("Rows that were not taken"));
  await out.rows(refusedRows(client, id, shownRejections), rejectedColumns, "");
  if (refused > shownRejections) {
    out.note(`${refused - shownRejections} more: npx outrider imports rejected ${id} --out rejected.csv`);
  }
}

/** The server neutralises cells that a spreadsheet would run. */
async function writeRejected(out: Output, client: Client, id: string, file: string, force: boolean): Promise<void> {
  await refuseToOverwrite(file, force);
  await writeChunks(file, client.bytes(`/v1/imports/${encodeURIComponent(id)}/rejected`));
  if (file !== "-") out.note(`Rows that were not taken: ${file}`);
}
