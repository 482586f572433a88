/**
 * `campaigns`: authoring, looking at and steering campaigns. Plans are checked and drawn here, with the compiler of the server, so that
 * both work on a train.
 */
import type { Command } from "commander";
import type { Compiled } from "../../core/campaigns/compile.ts";
import type { Client, Row } from "../client.ts";
import { CliError, exitCodes, usageError } from "../errors.ts";
import { readJson } from "../files.ts";
import type { Output } from "../output.ts";
import { campaignId, count, list, pairs, verbOf } from "../verb.ts";

const columns = [
  "id",
  "name",
  "type",
  "status",
  "sent=sentCount",
  "responses=responseCount",
  "created=createdAt",
  "started=startedAt",
];
const details = [...columns, "ended=endedAt", "plan=planHash", "plan version=planVersionId", "settings"];

export const campaignPath = async (client: Client, given: string, action = ""): Promise<string> =>
  `/v1/campaigns/${encodeURIComponent(await campaignId(client, given))}${action === "" ? "" : `/${action}`}`;

export function campaigns(program: Command): void {
  const group = program
    .command("campaigns")
    .description("author, look at and steer campaigns; <campaign> is an id or a name");
  group
    .command("list")
    .description("all campaigns")
    .option("--status <status>", "draft, active, paused, completed or stopped")
    .option("--limit <n>", "at most so many", count)
    .action(async ({ status, limit }: { status?: string; limit?: number }, command: Command) => {
      const { out, client } = verbOf(command);
      await out.rows((await client()).pages("/v1/campaigns", { status }, limit), columns, "No campaigns yet.");
    });
  group
    .command("show <campaign>")
    .description("one campaign")
    .action(async (given: string, _options, command: Command) => {
      const { out, client: connect } = verbOf(command);
      const client = await connect();
      const row = await client.get(await campaignPath(client, given));
      await out.value(row, () => out.record(row, details));
    });
  group
    .command("create <plan.json>")
    .description("a new campaign, as a draft")
    .option("--name <name>", "default: the plan's own name")
    .option("--type <type>", "cold_outreach, nurture or follow_up")
    .option("--sender <id>", "the sender identity its messages come from")
    .action(async (file: string, options: { name?: string; type?: string; sender?: string }, command: Command) => {
      const { out, client } = verbOf(command);
      const plan = await readPlan(file);
      const name = options.name ?? planName(plan);
      if (name === undefined)
        throw usageError("campaign.no_name", "The plan has no name.", { hint: "give one with --name" });
      const settings = options.sender === undefined ? {} : { settings: { senderIdentityId: options.sender } };
      const type = options.type === undefined ? {} : { type: options.type };
      const row = await (await client()).post("/v1/campaigns", { name, plan, ...type, ...settings });
      await out.value(row, () => out.record(row, details));
      await warn(out, plan);
      out.note(
        `Next: npx outrider simulate ${row["id"]} --all, then enroll ${row["id"]} --all, then campaigns activate ${row["id"]}`,
      );
    });
  group
    .command("check <plan.json>")
    .description("what is wrong with a plan, by node and field; needs no server")
    .action(async (file: string, _options, command: Command) => {
      const { out } = verbOf(command);
      await check(out, file);
    });
  group
    .command("diagram <campaign|plan.json>")
    .description("the plan as a Mermaid flowchart; of a file, without a server")
    .action(async (given: string, _options, command: Command) => {
      const { out, client: connect } = verbOf(command);
      const mermaid = /\.json$|^-$/.test(given)
        ? await drawn(await readJson(given))
        : await fetched(await connect(), given);
      await out.value({ mermaid }, () => out.line(mermaid.trimEnd()));
    });
  group
    .command("report <campaign>")
    .description("what has happened so far: enrollments, messages by node, rates")
    .action(async (given: string, _options, command: Command) => {
      const { out, client: connect } = verbOf(command);
      const client = await connect();
      const report = await client.get(await campaignPath(client, given, "report"));
      await out.value(report, () => tree(out, withoutRates(report)));
    });
  group
    .command("update <campaign> <plan.json>")
    .description("a new version of the plan, for contacts who enroll from now on")
    .option("--reason <text>", "for the record")
    .action(async (given: string, file: string, { reason }: { reason?: string }, command: Command) => {
      const { out, client: connect } = verbOf(command);
      const plan = await readPlan(file);
      const client = await connect();
      const row = await client.post(await campaignPath(client, given, "versions"), {
        plan,
        ...(reason === undefined ? {} : { reason }),
      });
      await out.value(row, () => out.record(row, details));
      await warn(out, plan);
    });
  group
    .command("migrate <campaign>")
    .description(
      "move those on their way to the current plan, where they stand; who stands on a node it does not have is paused there",
    )
    .option("--map <old=new>", "the new plan's node for one it calls otherwise; may be repeated", list)
    .action(async (given: string, { map = [] }: { map?: readonly string[] }, command: Command) => {
      const { out, client: connect } = verbOf(command);
      const nodeMap = pairs(map, "--map");
      const client = await connect();
      const total = await migrateAll(client, await campaignPath(client, given, "migrate"), nodeMap);
      await out.value(total, () => out.line(`${total.migrated} moved to the current plan.`));
      if (total.needMapping.length > 0) throw unmapped(total.needMapping);
    });
  const steps = {
    activate: "start everybody who is enrolled, and whoever enrolls later",
    pause: "let nothing start until it is resumed",
    resume: "go on where it was paused",
    stop: "for good: everybody on the way is stopped, everything unsent is cancelled",
  };
  for (const [name, description] of Object.entries(steps)) {
    group
      .command(`${name} <campaign>`)
      .description(description)
      .option("--reason <text>", "for the record")
      .action(async (given: string, { reason }: { reason?: string }, command: Command) => {
        const { out, client: connect } = verbOf(command);
        const client = await connect();
        const row = await client.post(await campaignPath(client, given, name), reason === undefined ? {} : { reason });
        await out.value(row, () => out.line(`${row["name"]} (${row["id"]}) is ${row["status"]}.`));
      });
  }
}

interface Migrated {
  migrated: number;
  readonly needMapping: { readonly enrollmentId: string; readonly problem: string }[];
}

/** Call after call, until everybody has been looked at. */
async function migrateAll(client: Client, path: string, nodeMap: Readonly<Record<string, string>>): Promise<Migrated> {
  const total: Migrated = { migrated: 0, needMapping: [] };
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const body = cursor === undefined ? { nodeMap } : { nodeMap, cursor };
    const answer = (await client.post(path, body)) as unknown as Migrated & { readonly nextCursor: string | null };
    total.migrated += answer.migrated;
    total.needMapping.push(...answer.needMapping);
    cursor = answer.nextCursor;
  }
  return total;
}

const unmapped = (needMapping: Migrated["needMapping"]): CliError =>
  new CliError(
    exitCodes.refused,
    "enrollment.needs_mapping",
    `${needMapping.length} are paused where they stand; the others have moved.`,
    {
      fields: needMapping.map(({ enrollmentId, problem }) => ({ path: enrollmentId, message: problem })),
      hint: "migrate again with --map old=new: they go on then",
    },
  );

/** The compiler is heavy, and most verbs do without it. */
async function compile(source: unknown): Promise<Compiled> {
  const { compilePlan } = await import("../../core/campaigns/compile.ts");
  return compilePlan(source);
}

type PlanSource = Readonly<Record<string, unknown>> | readonly unknown[];

async function readPlan(file: string): Promise<PlanSource> {
  const plan = await readJson(file);
  if (typeof plan === "object" && plan !== null) return plan as PlanSource;
  throw usageError("plan.not_a_plan", `${file} holds no plan; expected an object or a list of steps.`);
}

const planName = (plan: PlanSource): string | undefined =>
  "name" in plan && typeof plan["name"] === "string" ? plan["name"] : undefined;

async function check(out: Output, file: string): Promise<void> {
  const source = await readJson(file);
  const compiled = await compile(source);
  if (compiled.ok) {
    const { hash, plan, warnings } = compiled;
    const isZoned = typeof source === "object" && source !== null && "timeZone" in source;
    await out.value({ ok: true, hash, plan, problems: [], warnings }, async () => {
      const where = isZoned ? "" : " in UTC (it names no timeZone and gets its tenant's)";
      await out.line(`${out.good("ok")}  ${plan.nodes.length} nodes, hash ${hash}${where}`);
      for (const { message } of warnings) await out.line(`${out.bold("warning")}  ${message}`);
    });
    return;
  }
  await out.value({ ok: false, problems: compiled.problems }, () => {});
  if (out.json) process.exitCode = exitCodes.refused;
  else throw planRefused(file, compiled.problems);
}

/** About a plan that was accepted: what its author may not have meant. */
async function warn(out: Output, plan: PlanSource): Promise<void> {
  const compiled = await compile(plan);
  for (const { message } of compiled.ok ? compiled.warnings : []) out.note(`warning: ${message}`);
}

type Problems = Extract<Compiled, { ok: false }>["problems"];

const planRefused = (file: string, problems: Problems): CliError =>
  new CliError(
    exitCodes.refused,
    "plan.invalid",
    `${file} has ${problems.length} problem${problems.length === 1 ? "" : "s"}.`,
    {
      fields: problems.map(({ path, message }) => ({ path: path === "" ? "plan" : path, message })),
    },
  );

async function drawn(source: unknown): Promise<string> {
  const compiled = await compile(source);
  if (!compiled.ok) throw planRefused("The plan", compiled.problems);
  const { describePlan } = await import("../../core/campaigns/describe.ts");
  return describePlan(compiled.plan);
}

const fetched = async (client: Client, given: string): Promise<string> =>
  client.text(await campaignPath(client, given, "diagram"));

/** Rates of every node and variant would make lines that no terminal holds; --json has them. */
const withoutRates = (report: Row): Row => ({
  ...report,
  ...Object.fromEntries(
    ["nodes", "variants"].map((name) => [name, ((report[name] ?? []) as Row[]).map(({ rates: _, ...row }) => row)]),
  ),
});

/** Nested numbers, indented: reports differ by campaign, and all of it is worth seeing. */
export async function tree(out: Output, value: unknown, depth = 0): Promise<void> {
  if (typeof value !== "object" || value === null) return;
  const entries = Object.entries(value);
  const width = Math.max(0, ...entries.map(([name]) => name.length));
  for (const [name, inner] of entries) {
    const pad = "  ".repeat(depth);
    if (Array.isArray(inner) && inner.some((item) => typeof item === "object")) {
      await out.line(`${pad}${out.bold(name)}`);
      await out.rows(inner as Row[], columnsOf(inner as Row[]), `${pad}  none`);
    } else if (typeof inner === "object" && inner !== null && !Array.isArray(inner)) {
      await out.line(`${pad}${out.bold(name)}`);
      await tree(out, inner, depth + 1);
    } else await out.line(`${pad}${name.padEnd(width)}  ${out.cell(inner)}`);
  }
}

const columnsOf = (rows: readonly Row[]): string[] => [...new Set(rows.flatMap((row) => Object.keys(row)))];
