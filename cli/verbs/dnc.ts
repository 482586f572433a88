/** `dnc`: the do-not-call list, which all tenants of an organization share. */
import type { Command } from "commander";
import type { Row } from "../client.ts";
import { count, verbOf } from "../verb.ts";
import { stoppedLines } from "./suppress.ts";

export function dnc(program: Command): void {
  const group = program.command("dnc").description("the organization's do-not-call list");
  group
    .command("add <phone...>")
    .description("put numbers on the list")
    .option("--reason <text>", "why")
    .action(async (phones: string[], { reason }: { reason?: string }, command: Command) => {
      const { out, client } = verbOf(command);
      const body = { phones, source: "cli", ...(reason === undefined ? {} : { reason }) };
      const answer = await (await client()).post("/v1/dnc", body);
      await out.value(answer, async () => {
        await out.line(`${(answer["added"] as unknown[]).length} of ${phones.length} added.`);
        await stoppedLines(out, { stopped: answer["stopped"] as Row[], inFlight: answer["inFlight"] as Row[] });
      });
    });
  group
    .command("check <phone...>")
    .description("are these numbers on the list?")
    .action(async (phones: string[], _options, command: Command) => {
      const { out, client } = verbOf(command);
      const { numbers } = await (await client()).post("/v1/dnc/check", { phones });
      await out.rows(numbers as Row[], ["given=phone", "number=phoneNumber", "listed"], "");
    });
  group
    .command("remove <phone>")
    .description("take a number off the list")
    .action(async (phone: string, _options, command: Command) => {
      const { out, client } = verbOf(command);
      const row = await (await client()).post("/v1/dnc/remove", { phone });
      await out.value(row, () => out.line(`${row["phoneNumber"]} is off the list.`));
    });
  group
    .command("list")
    .description("all numbers on the list")
    .option("--limit <n>", "at most so many", count)
    .action(async ({ limit }: { limit?: number }, command: Command) => {
      const { out, client } = verbOf(command);
      const columns = ["id", "number=phoneNumber", "reason", "source", "added=addedAt", "by=addedBy"];
      await out.rows((await client()).pages("/v1/dnc", {}, limit), columns, "The list is empty.");
    });
}
