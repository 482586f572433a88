/**
 * `enrollments` and `tasks`: who walks a plan, and what a plan asks people to do. Invariant: a step that left an enrollment as it was is
 * refused, never reported as done.
 */
import { type Command, Option } from "commander";
import { enrollmentStatuses } from "../../core/kernel/vocabulary.ts";
import type { Row } from "../client.ts";
import { CliError, exitCodes } from "../errors.ts";
import { campaignId, count, verbOf } from "../verb.ts";

const columns = [
  "id",
  "status",
  "node=nodeId",
  "reason=exitReason",
  "channel",
  "contact=contactId",
  "campaign=campaignId",
  "started=startedAt",
];
const details = [...columns, "completed=completedAt", "lead=leadId", "plan=planHash", "superseded by=supersededBy"];
const moves = [
  "at",
  "from=fromStatus",
  "to=toStatus",
  "from node=fromNodeId",
  "to node=toNodeId",
  "reason",
  "by=triggeredBy",
];

interface EnrollmentFilter {
  readonly campaign?: string;
  readonly contact?: string;
  readonly status?: string;
  readonly limit?: number;
}

const pathOf = (id: string, action = ""): string =>
  `/v1/enrollments/${encodeURIComponent(id)}${action === "" ? "" : `/${action}`}`;

export function enrollments(program: Command): void {
  const group = program.command("enrollments").description("who walks a plan, and where they stand");
  group
    .command("list")
    .description("oldest first")
    .option("--campaign <campaign>", "in one campaign")
    .option("--contact <id>", "of one contact")
    .addOption(new Option("--status <status>", "in one status").choices([...enrollmentStatuses]))
    .option("--limit <n>", "at most so many", count)
    .action(async ({ campaign, contact, status, limit }: EnrollmentFilter, command: Command) => {
      const { out, client: connect } = verbOf(command);
      const client = await connect();
      const of = campaign === undefined ? {} : { campaignId: await campaignId(client, campaign) };
      const rows = client.pages("/v1/enrollments", { ...of, contactId: contact, status }, limit);
      await out.rows(rows, columns, "Nobody is enrolled.");
    });
  group
    .command("show <enrollment>")
    .description("one enrollment and every step it took; explain says why it stands where it stands")
    .action(async (id: string, _options, command: Command) => {
      const { out, client: connect } = verbOf(command);
      const client = await connect();
      const row = await client.get(pathOf(id));
      const { transitions } = await client.get(pathOf(id, "transitions"));
      await out.value({ ...row, transitions }, async () => {
        await out.record(row, details);
        await out.line("");
        await out.rows(transitions as Row[], moves, "It has not moved yet.");
      });
    });
  const steps = {
    pause: ["hold one enrollment, which must be active", "paused"],
    resume: ["let a paused one go on", "active"],
    stop: ["end one for good; what is queued for it is cancelled", "stopped"],
  } as const;
  for (const [name, [description, wanted]] of Object.entries(steps)) {
    const step = group.command(`${name} <enrollment>`).description(description);
    if (name !== "resume") step.option("--reason <text>", "for the record");
    step.action(async (id: string, { reason }: { reason?: string }, command: Command) => {
      const { out, client: connect } = verbOf(command);
      const client = await connect();
      const before = await client.get(pathOf(id));
      const row = await client.post(pathOf(id, name), reason === undefined ? {} : { reason });
      // Who goes on may come to the end at once.
      if (row["status"] !== wanted && row["status"] === before["status"]) throw unmoved(row, name);
      await out.value(row, () => out.line(`${row["id"]} is ${row["status"]}.`));
    });
  }
}

const unmoved = (row: Row, name: string): CliError =>
  new CliError(
    exitCodes.refused,
    "enrollment.unchanged",
    `${row["id"]} is ${row["status"]}, and ${name} does not change that.`,
    { hint: `npx outrider enrollments show ${row["id"]} shows how it came there` },
  );

const taskColumns = [
  "id",
  "kind",
  "title",
  "status",
  "due=dueAt",
  "for=assigneeId",
  "contact=contactId",
  "lead=leadId",
  "done=doneAt",
];

interface TaskFilter {
  readonly status: string;
  readonly assignee?: string;
  readonly lead?: string;
  readonly limit?: number;
}

export function tasks(program: Command): void {
  const group = program.command("tasks").description("work for people: calls, messages by hand, replies to read");
  group
    .command("list")
    .description("in the order they were made")
    .addOption(
      new Option("--status <status>", "in one status").choices(["open", "done", "cancelled", "any"]).default("open"),
    )
    .option("--assignee <id>", "of one person")
    .option("--lead <id>", "about one lead")
    .option("--limit <n>", "at most so many", count)
    .action(async ({ status, assignee, lead, limit }: TaskFilter, command: Command) => {
      const { out, client } = verbOf(command);
      const filter = { status: status === "any" ? undefined : status, assigneeId: assignee, leadId: lead };
      await out.rows((await client()).pages("/v1/tasks", filter, limit), taskColumns, "There is nothing to do.");
    });
  group
    .command("done <task>")
    .description("a task has been done; that is final")
    .option("--cancelled", "it was not done, and need not be")
    .action(async (id: string, { cancelled }: { cancelled?: boolean }, command: Command) => {
      const { out, client } = verbOf(command);
      const status = cancelled === true ? "cancelled" : "done";
      const row = await (await client()).patch(`/v1/tasks/${encodeURIComponent(id)}`, { status });
      await out.value(row, () => out.record(row, taskColumns));
    });
}
