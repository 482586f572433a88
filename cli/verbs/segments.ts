/** `segments`: named filters over contacts. Invariant: what is counted is counted now, and counting changes nothing. */
import type { Command } from "commander";
import { readJson } from "../files.ts";
import { verbOf } from "../verb.ts";
import { segmentId } from "./enroll.ts";
import { lister } from "./setup.ts";

export function segments(program: Command): void {
  const group = program.command("segments").description("named filters over contacts; <segment> is an id or a name");
  const columns = ["id", "name", "leads=leadCount", "counted=countedAt", "created=createdAt"];
  const details = [...columns, "filter"];
  lister(
    group,
    "/v1/segments",
    "newest first, with the leads they were last counted to have",
    columns,
    "No segments yet.",
  );
  group
    .command("show <segment>")
    .description("one segment and its filter")
    .action(async (given: string, _options, command: Command) => {
      const { out, client: connect } = verbOf(command);
      const client = await connect();
      const row = await client.get(`/v1/segments/${encodeURIComponent(await segmentId(client, given))}`);
      await out.value(row, () => out.record(row, details));
    });
  group
    .command("create <filter.json>")
    .description("name a filter; - reads stdin")
    .requiredOption("--name <name>", "one that no other segment has")
    .action(async (file: string, { name }: { name: string }, command: Command) => {
      const { out, client } = verbOf(command);
      const row = await (await client()).post("/v1/segments", { name, filter: await readJson(file) });
      await out.value(row, () => out.record(row, details));
    });
  group
    .command("count <segment|filter.json>")
    .description("how many contacts and leads a segment, or a filter in a file, selects now; - reads stdin")
    .action(async (given: string, _options, command: Command) => {
      const { out, client: connect } = verbOf(command);
      const isFile = /\.json$|^-$/.test(given);
      const fromFile = isFile ? await readJson(given) : undefined;
      const client = await connect();
      const filter = isFile
        ? fromFile
        : (await client.get(`/v1/segments/${encodeURIComponent(await segmentId(client, given))}`))["filter"];
      const counted = await client.post("/v1/segments/preview", { filter });
      await out.value(counted, () => out.record(counted, ["contacts", "leads"]));
    });
}
