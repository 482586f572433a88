/**
 * The main job, from a file to the last reply: import → campaign → simulation → activation → live run → report. Under a virtual clock, with
 * real PostgreSQL, queues, HTTP and webhooks.
 */
import { mkdtempSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { sql } from "kysely";
import { type CampaignReport, campaignReport } from "../../core/analytics/index.ts";
import {
  activate,
  type Comparison,
  compareWithLive,
  compilePlan,
  createCampaign,
  type EnrollReport,
  enroll,
  type SimulationRun,
  simulate,
} from "../../core/campaigns/index.ts";
import type { ImportView } from "../../core/intake/index.ts";
import type { Context } from "../../core/kernel/context.ts";
import { makePartitions } from "../../core/messages/index.ts";
import { checkInvariants, type InvariantResult } from "../../core/operator/index.ts";
import { createLog } from "../../functions/lib/log.ts";
import { removeHome } from "../postgres-files.ts";
import { defaultRates, type Rates } from "../simulator/script.ts";
import { type System, startSystem } from "../system.ts";
import { reactionsOf, type Script } from "./engagement.ts";
import { graph, steps } from "./plan.ts";
import { type PumpProgress, pump } from "./pump.ts";
import { importList, prepareTenant } from "./setup.ts";
import { type Story, tellStory } from "./story.ts";

/** A Monday morning on the east coast of the United States. */
export const startsAt = new Date("2026-09-14T13:00:00Z");

/** The simulator's recipients are as in cold outreach, with enough complaints and opt-outs that every kind occurs. */
const rates: Rates = { ...defaultRates, complaint: 0.004, unsubscribe: 0.012, stop: 0.015, reply: 0.05 };
const script: Script = { seed: "outrider-demo", rates, gridSeconds: 900 };

export interface DemoReport {
  readonly planHash: string;
  readonly import: ImportView;
  /** Rows that were not taken, by reason, with one of them. */
  readonly rejected: readonly { readonly reason: string; readonly rows: number; readonly example: string }[];
  readonly enrolled: EnrollReport;
  readonly simulation: Pick<SimulationRun, "id" | "sendsHash" | "contacts" | "summary" | "steps">;
  readonly comparison: Comparison;
  readonly report: CampaignReport;
  readonly invariants: readonly InvariantResult[];
  /** The provider's own log: how many sends it accepted, and how many of them twice. */
  readonly accepts: { readonly total: number; readonly duplicates: number };
  readonly story: Story | null;
  readonly startedAt: Date;
  readonly endedAt: Date;
  readonly ok: boolean;
}

export interface DemoEvents {
  onStage(stage: string, detail?: string): void;
  onImport(view: ImportView): void;
  onPump(progress: PumpProgress, expected: number): void;
}

export async function runDemo(events: DemoEvents): Promise<DemoReport> {
  const home = mkdtempSync(path.join(os.tmpdir(), "outrider-demo-"));
  const log = createLog({
    write: (line) => process.stderr.write(`${line}\n`),
    level: "warn",
    metrics: false,
    now: () => new Date(),
  });
  events.onStage("Starting PostgreSQL, queues, object storage, HTTP and the provider simulator");
  const system = await startSystem({ home, port: 0, durable: false, clock: "virtual", at: startsAt, log });
  try {
    return await play(system, events);
  } finally {
    await system.stop();
    // Root's PostgreSQL runs as nobody, who cannot enter a private home: its data lies elsewhere then, and would stay.
    removeHome(home);
  }
}

async function play(system: System, events: DemoEvents): Promise<DemoReport> {
  const { host } = system.local;
  const { simulator } = system;
  if (!simulator) throw new Error("the demo needs the provider simulator");
  const ctx: Context = host.contextFor(system.access.tenantId, "demo");
  await makePartitions(host.db);
  simulator.setBehaviour({ seed: script.seed, rates, gridSeconds: script.gridSeconds });
  await prepareTenant(ctx);

  events.onStage("Importing the S&P 500 with generated people");
  const imported = await importList(system, ctx, events.onImport);

  events.onStage("Compiling the campaign, authored as a graph and as steps");
  const [fromGraph, fromSteps] = [compilePlan(graph), compilePlan(steps)];
  if (!fromGraph.ok || !fromSteps.ok || fromGraph.hash !== fromSteps.hash)
    throw new Error("the two forms of the demo plan differ");
  const campaign = await createCampaign(ctx, { name: "Spring outreach", plan: graph as never });
  const enrolled = await enroll(ctx, { campaignId: campaign.id, audience: { all: true } });

  events.onStage("Simulating the whole audience before anything is sent");
  const simulation = await simulate(
    ctx,
    { campaignId: campaign.id, audience: "enrolled" },
    { reactions: (key) => reactionsOf(script, key) },
  );

  events.onStage("Activating: the live run under the same engagement script");
  await activate(ctx, { id: campaign.id });
  const expected = simulation.sends.filter((send) => send.verdict === "sent").length;
  const endedAt = await pump(system, startsAt, (progress) => events.onPump(progress, expected));

  events.onStage("Checking and reporting");
  const comparison = await compareWithLive(ctx, { simulationId: simulation.id ?? "" });
  const report = await campaignReport(ctx, { campaignId: campaign.id });
  const invariants = await checkInvariants(system.local.owner);
  const accepts = simulator.accepted();
  const duplicates = accepts.length - new Set(accepts.map((accept) => accept.ourMessageId)).size;
  const story = await tellStory(system, ctx, campaign.id);
  const { id, sendsHash, contacts, summary, steps: stepCount } = simulation;
  return {
    planHash: fromGraph.hash,
    import: imported,
    rejected: await rejectedBy(system, imported.id),
    enrolled,
    simulation: { id, sendsHash, contacts, summary, steps: stepCount },
    comparison,
    report,
    invariants,
    accepts: { total: accepts.length, duplicates },
    story,
    startedAt: startsAt,
    endedAt,
    ok:
      comparison.different === 0 &&
      duplicates === 0 &&
      accepts.length === comparison.live &&
      invariants.every((invariant) => invariant.violations === 0),
  };
}

/** Why rows were refused. The e-mail a reason quotes is its example, not a reason of its own. */
async function rejectedBy(system: System, importId: string): Promise<DemoReport["rejected"]> {
  const { rows } = await sql<{ reason: string; rows: number; example: string }>`
    select reason, count(*)::int as rows, min(example) as example
    from (select regexp_replace(metadata ->> 'reason', '"[^"]*" ', '') as reason, metadata ->> 'reason' as example
          from intake.raw_loads where metadata ->> 'import_id' = ${importId} and status in ('failed', 'duplicate')) refused
    group by reason order by rows desc`.execute(system.local.owner);
  return rows;
}
