/** `simulate`: a campaign before it happens. What it prints is what the live run would do if people reacted as assumed. */
import { type Command, InvalidArgumentError } from "commander";
import type { Client, Row } from "../client.ts";
import { readJson, refuseToOverwrite, writeChunks } from "../files.ts";
import type { Output } from "../output.ts";
import { at, cell } from "../text.ts";
import { instant, verbOf } from "../verb.ts";
import { campaignPath } from "./campaigns.ts";
import { type AudienceOptions, audienceOf, audienceOptions } from "./enroll.ts";

const rateNames = ["open", "click", "reply", "unsubscribe", "complaint", "hardBounce"];

type Rates = Readonly<Record<string, number | string>>;

/** `open=0.4,click=0.1,seed=monday` */
function rates(text: string, before: Rates = {}): Rates {
  const given = text.split(",").map((pair): [string, number | string] => {
    const [name = "", value = ""] = pair.split("=").map((part) => part.trim());
    if (name === "seed") return [name, value];
    const share = value.endsWith("%") ? Number(value.slice(0, -1)) / 100 : Number(value);
    if (rateNames.includes(name) && value !== "" && share >= 0 && share <= 1) return [name, share];
    throw new InvalidArgumentError(
      `Expected pairs like open=0.4,click=10% of ${rateNames.join(", ")} (0 to 1), and seed=….`,
    );
  });
  return { ...before, ...Object.fromEntries(given) };
}

interface SimulateOptions extends AudienceOptions {
  readonly rates?: Rates;
  readonly at?: string;
  readonly plan?: string;
  readonly out?: string;
  readonly force?: boolean;
}

export function simulate(program: Command): void {
  const command = program
    .command("simulate <campaign>")
    .description("what would be sent to whom, when, and what would be held; nothing is sent")
    .option(
      "--rates <rates>",
      `how people react, like open=0.4,click=0.1 (${rateNames.join(", ")}, seed); default: not at all`,
      rates,
    )
    .option("--at <instant>", "when it would start (default: now)", instant)
    .option("--plan <plan.json>", "a plan to try instead of the campaign's own")
    .option("--out <sends.csv>", "every send, as a CSV; - is stdout")
    .option("--force", "replace that file");
  audienceOptions(command).action(async (given: string, options: SimulateOptions, command: Command) => {
    const { out, client: connect } = verbOf(command);
    if (options.out !== undefined) await refuseToOverwrite(options.out, options.force === true);
    const client = await connect();
    const audience = await audienceOf(client, options, false);
    const simulation = await client.post(await campaignPath(client, given, "simulate"), {
      ...(audience === undefined ? {} : { audience }),
      ...(options.rates === undefined ? {} : { engagement: options.rates }),
      ...(options.at === undefined ? {} : { startAt: options.at }),
      ...(options.plan === undefined ? {} : { plan: await readJson(options.plan) }),
    });
    if (options.out !== "-") await out.value(simulation, () => show(out, simulation));
    if (options.out === undefined) hint(out, simulation);
    else await writeSends(out, client, String(simulation["id"]), options.out);
  });
}

async function show(out: Output, simulation: Row): Promise<void> {
  const { summary } = simulation;
  const facts = { ...simulation, ...(summary as Row) };
  await out.record(facts, [
    "id",
    "starts=startsAt",
    "contacts",
    "messages",
    "sent",
    "first send=firstSendAt",
    "last send=lastSendAt",
  ]);
  const cost = at(summary, "cost.total");
  await out.line(`cost estimate: ${cell(cost, false)} ${cell(at(summary, "cost.currency"), false)}`);
  await counts(out, "Left out", at(summary, "leftOut"));
  await nodes(out, at(summary, "nodes"));
  await held(out, at(summary, "held"));
  await counts(out, `Sent per day (${cell(at(summary, "timeZone"), false)})`, at(summary, "perDay"));
  await counts(out, "How enrollments end", at(summary, "enrollments"));
}

/** What a newcomer asks next. */
function hint(out: Output, { contacts, summary }: Row): void {
  if (contacts === 0) out.note("Nobody to simulate: enroll somebody, or say who with --all, --segment or --contact.");
  else if (at(summary, "sent") !== at(summary, "messages"))
    out.note("--out sends.csv says for every message why it would be held or not sent.");
}

const entriesOf = (value: unknown): [string, unknown][] =>
  typeof value === "object" && value !== null ? Object.entries(value) : [];

async function counts(out: Output, heading: string, value: unknown): Promise<void> {
  const entries = entriesOf(value);
  if (entries.length === 0) return;
  await out.line(`\n${out.bold(heading)}`);
  await out.record(
    Object.fromEntries(entries.map(([name, n]) => [name.replaceAll(".", " "), n])),
    entries.map(([name]) => `${name}=${name.replaceAll(".", " ")}`),
  );
}

async function nodes(out: Output, value: unknown): Promise<void> {
  await out.line(`\n${out.bold("By node")}`);
  const rows = entriesOf(value).map(([node, funnel]) => ({
    node,
    queued: at(funnel, "queued"),
    sent: at(funnel, "sent"),
    ended: short(at(funnel, "ended")),
    held: short(at(funnel, "held")),
    variants: short(at(funnel, "variants")),
  }));
  await out.rows(rows, ["node", "queued", "sent", "ended", "held", "variants"], "No message at all.");
}

async function held(out: Output, value: unknown): Promise<void> {
  const rows = entriesOf(value).map(([reason, one]) => ({
    reason,
    messages: at(one, "messages"),
    hours: (Number(at(one, "seconds")) / 3_600).toFixed(1),
  }));
  if (rows.length === 0) return;
  await out.line(`\n${out.bold("Held back")}`);
  await out.rows(rows, ["reason", "messages", "hours"], "");
}

const short = (value: unknown): string =>
  entriesOf(value)
    .map(([name, n]) => `${name} ${n}`)
    .join(", ");

const sendColumns = ["ordinal", "at", "verdict", "channel", "address", "contactId", "nodeId", "variantId", "detail"];

async function* csvOf(rows: AsyncIterable<Row>): AsyncGenerator<string> {
  const { csvLine } = await import("../../core/intake/rejected.ts");
  yield `\uFEFF${csvLine(sendColumns)}`;
  for await (const row of rows) {
    yield csvLine(
      sendColumns.map((name) =>
        typeof row[name] === "object" && row[name] !== null ? JSON.stringify(row[name]) : String(row[name] ?? ""),
      ),
    );
  }
}

async function writeSends(out: Output, client: Client, id: string, file: string): Promise<void> {
  await writeChunks(file, csvOf(client.pages(`/v1/simulations/${encodeURIComponent(id)}/sends`)));
  if (file !== "-") out.note(`Every send: ${file}`);
}
