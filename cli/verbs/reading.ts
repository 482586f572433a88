/** `messages`, `conversations`, `leads`: looking things up. */
import type { Command } from "commander";
import type { Row } from "../client.ts";
import { campaignId, contactId, count, verbOf } from "../verb.ts";

const messageColumns = [
  "id",
  "status",
  "reason",
  "channel",
  "address",
  "subject",
  "node=nodeId",
  "due=dueAt",
  "sent=sentAt",
];

interface MessageFilter {
  readonly campaign?: string;
  readonly contact?: string;
  readonly status?: string;
  readonly channel?: string;
  readonly reason?: string;
  readonly address?: string;
  readonly limit?: number;
}

export function messages(program: Command): void {
  const group = program.command("messages").description("the outbox: everything that was, is or will be sent");
  group
    .command("list")
    .description("newest first")
    .option("--campaign <campaign>", "of one campaign")
    .option("--contact <id>", "to one contact: its id or e-mail address")
    .option("--status <status>", "queued, held, sent, delivered, bounced, …")
    .option("--reason <reason>", "held or ended for one reason, like quiet_hours")
    .option("--address <address>", "to one address")
    .option("--channel <channel>", "on one channel")
    .option("--limit <n>", "at most so many", count)
    .action(async ({ campaign, contact, limit, ...rest }: MessageFilter, command: Command) => {
      const { out, client: connect } = verbOf(command);
      const client = await connect();
      const of = campaign === undefined ? {} : { campaignId: await campaignId(client, campaign) };
      const to = contact === undefined ? {} : { contactId: await contactId(client, contact) };
      const rows = client.pages("/v1/messages", { ...rest, ...of, ...to }, limit);
      await out.rows(rows, messageColumns, "No messages.");
    });
  group
    .command("show <message>")
    .description("one message; explain and trace say more")
    .action(async (id: string, _options, command: Command) => {
      const { out, client } = verbOf(command);
      const row = await (await client()).get(`/v1/messages/${encodeURIComponent(id)}`);
      await out.value(row, () => out.record(row, Object.keys(row)));
    });
}

const conversationColumns = ["id", "channel", "with=address", "status", "last message=lastMessageAt", "lead=leadId"];

export function conversations(program: Command): void {
  const group = program.command("conversations").description("what people answered, in threads");
  group
    .command("list")
    .description("newest first")
    .option("--channel <channel>", "on one channel")
    .option("--status <status>", "open or closed")
    .option("--lead <id>", "with one lead")
    .option("--limit <n>", "at most so many", count)
    .action(async (options: { channel?: string; status?: string; lead?: string; limit?: number }, command: Command) => {
      const { out, client } = verbOf(command);
      const { limit, lead, ...rest } = options;
      const rows = (await client()).pages("/v1/conversations", { ...rest, leadId: lead }, limit);
      await out.rows(rows, conversationColumns, "Nobody has answered yet.");
    });
  group
    .command("show <conversation>")
    .description("one thread, oldest message first")
    .action(async (id: string, _options, command: Command) => {
      const { out, client } = verbOf(command);
      const row = await (await client()).get(`/v1/conversations/${encodeURIComponent(id)}`);
      await out.value(row, async () => {
        await out.record(row, conversationColumns);
        for (const message of (row["messages"] as Row[] | undefined) ?? []) {
          const arrow = message["direction"] === "inbound" ? "←" : "→";
          await out.line(`\n${out.bold(`${arrow} ${out.cell(message["sentAt"])}`)}  ${out.cell(message["subject"])}`);
          for (const line of String(message["body"] ?? "(its text is not kept)").split(/\r?\n/))
            await out.line(`  ${out.cell(line)}`);
        }
      });
    });
}

const leadColumns = ["id", "email", "status", "score", "owner=ownerId", "source=sourceType", "created=createdAt"];

export function leads(program: Command): void {
  const group = program.command("leads").description("whom a tenant pursues");
  group
    .command("search [text]")
    .alias("list")
    .description("leads by e-mail address, name or company")
    .option("--status <status>", "new, contacted, qualified, …")
    .option("--limit <n>", "at most so many", count)
    .action(
      async (text: string | undefined, { status, limit }: { status?: string; limit?: number }, command: Command) => {
        const { out, client } = verbOf(command);
        await out.rows((await client()).pages("/v1/leads", { q: text, status }, limit), leadColumns, "No lead found.");
      },
    );
  group
    .command("show <lead>")
    .description("one lead")
    .action(async (id: string, _options, command: Command) => {
      const { out, client } = verbOf(command);
      const row = await (await client()).get(`/v1/leads/${encodeURIComponent(id)}`);
      await out.value(row, () => out.record(row, Object.keys(row)));
    });
}
