/** `explain` and `trace`: why a message was or was not sent, and everything that led to it and followed from it. */
import type { Command } from "commander";
import type { Row } from "../client.ts";
import { usageError } from "../errors.ts";
import type { Output } from "../output.ts";
import { campaignId, contactId, verbOf } from "../verb.ts";
import { tree } from "./campaigns.ts";

interface ExplainOptions {
  readonly message?: string;
  readonly campaign?: string;
  readonly contact?: string;
  readonly node?: string;
}

export function explain(program: Command): void {
  program
    .command("explain")
    .description("why a message was sent or not, rule by rule; or whether one would be sent now")
    .option("--message <id>", "of one message")
    .option("--campaign <campaign>", "of what a campaign would send …")
    .option("--contact <id>", "… to this contact: its id or e-mail address")
    .option("--node <node>", "… at this node (default: where the contact is)")
    .action(async (options: ExplainOptions, command: Command) => {
      const { out, client: connect } = verbOf(command);
      const { message, campaign, contact, node } = options;
      const isPair = campaign !== undefined && contact !== undefined;
      if (
        (message !== undefined) === isPair ||
        (message !== undefined && (campaign ?? contact ?? node) !== undefined)
      ) {
        throw usageError("explain.what", "Give --message, or --campaign and --contact.");
      }
      const client = await connect();
      const answer =
        message === undefined
          ? await client.get("/v1/explain", {
              campaignId: await campaignId(client, campaign ?? ""),
              contactId: await contactId(client, contact ?? ""),
              nodeId: node,
            })
          : await client.get(`/v1/messages/${encodeURIComponent(message)}/explain`);
      await out.value(answer, () => show(out, answer));
    });
}

/** The sentences first, then what to do; the facts behind them after. */
async function show(out: Output, answer: Row): Promise<void> {
  const { sentences, remedy: own, ...facts } = answer;
  for (const sentence of Array.isArray(sentences) ? sentences : []) await out.line(out.bold(out.cell(sentence)));
  const remedy = own ?? (answer["message"] as Row | null | undefined)?.["remedy"];
  if (typeof remedy === "string") await out.line(`What to do: ${out.cell(remedy)}`);
  await out.line("");
  await tree(out, facts);
}

export function trace(program: Command): void {
  program
    .command("trace <message>")
    .description("one message from the imported row to the reply")
    .action(async (id: string, _options, command: Command) => {
      const { out, client } = verbOf(command);
      const answer = await (await client()).get(`/v1/messages/${encodeURIComponent(id)}/trace`);
      const steps = (answer["steps"] ?? []) as Row[];
      await out.value(answer, async () => {
        await out.rows(steps, ["at", "stage", "what", "id"], "Nothing is known about it.");
      });
    });
}
