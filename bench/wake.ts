/**
 * `wake`: from the call that makes a row due on an idle system until a worker has claimed it, through the bell that the commit rings, the
 * queue emulator of the local host and its event source mapping. The others: from adding a job until its handler starts.
 */
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { lockWalkers } from "../core/campaigns/apply.ts";
import { Net } from "../core/campaigns/fold.ts";
import { createCampaign, enroll } from "../core/campaigns/index.ts";
import { initialState } from "../core/campaigns/state.ts";
import { schedule } from "../core/campaigns/write.ts";
import { type Context, transact } from "../core/kernel/context.ts";
import { claim, work } from "../core/kernel/work.ts";
import { bellKinds } from "../core/ports/queue.ts";
import { memoryBlobs } from "../core/providers/memory/index.ts";
import { sqsQueue } from "../core/providers/sqs/index.ts";
import { createLog } from "../functions/lib/log.ts";
import { createHost, type Host, providerAdapters } from "../functions/lib/runtime.ts";
import { consumer } from "../functions/lib/sqs.ts";
import { queues } from "../functions/topology.ts";
import { type LocalAws, region, startAws } from "../local/aws.ts";
import { mapQueue } from "../local/lambda.ts";
import { available, measurePeer, startRedis } from "./peers.ts";
import { interleave, median, type Rig, workingHour } from "./rig.ts";
import { keys, newContacts, newTenant, publicUrl } from "./tenants.ts";

export async function wakeLines(rig: Rig): Promise<void> {
  const count = rig.quick ? 50 : 200;
  const dataDir = mkdtempSync(path.join(os.tmpdir(), "outrider-wake-"));
  const aws = await startAws({ dataDir });
  const redis = await startRedis();
  try {
    const host = hostOf(rig, aws);
    const outrider = await ownWake(rig, host, aws, count);
    const systems = available(rig, ["raw", "pg-boss", "graphile-worker", "bullmq"], redis);
    const peers = Object.fromEntries(
      systems.map((system) => [system, () => measurePeer(rig, system, "wake", count, redis?.port)]),
    );
    const variants: Readonly<Record<string, () => Promise<number>>> = { outrider: outrider.measure, ...peers };
    const values = await interleave(rig, "wake", variants);
    await outrider.stop();
    const value = values["outrider"] ?? Number.NaN;
    rig.line({ name: "wake", value, unit: "ms", baseline: values["raw"] ?? null }, "lower");
    for (const system of systems.slice(1)) {
      rig.line({ name: `wake-${system}`, value, unit: "ms", baseline: values[system] ?? null }, "lower");
    }
  } finally {
    redis?.stop();
    await aws.stop();
    rmSync(dataDir, { recursive: true, force: true });
  }
}

/** As `npm start` puts it together. */
const hostOf = (rig: Rig, aws: LocalAws): Host =>
  createHost({
    db: rig.db,
    queue: sqsQueue({
      client: aws.sqs,
      queueUrls: Object.fromEntries(bellKinds.map((kind) => [kind, aws.queues[kind].url])),
    }),
    blobs: memoryBlobs(),
    keys,
    ...providerAdapters,
    publicUrl,
    signingKeys: [new Uint8Array(32).fill(7)],
    log: createLog({ write: () => {}, now: () => new Date() }),
  });

interface OwnWake {
  /** @returns the median of `count` wakes, in ms */
  measure(): Promise<number>;
  stop(): Promise<void>;
}

async function ownWake(rig: Rig, host: Host, aws: LocalAws, count: number): Promise<OwnWake> {
  const tenant: Context = { ...(await newTenant(rig)), ring: (bells) => host.queue.ring(bells) };
  const contactIds = await newContacts(rig, tenant, 1);
  const plan = { start: "end", nodes: [{ id: "end", type: "stop" }] };
  const { id } = await createCampaign(tenant, { name: "Bench", plan } as Parameters<typeof createCampaign>[1]);
  await enroll(tenant, { campaignId: id, audience: { contactIds } });
  const enrollment = await rig.owner.selectFrom("contact_campaigns").select("id").executeTakeFirstOrThrow();
  const [walker] = await transact(tenant, (ctx) => lockWalkers(ctx, [enrollment.id]));
  if (!walker) throw new Error("nobody is enrolled");

  let claimed: (() => void) | undefined;
  let made = 0;
  const makeDue = (): Promise<void> => {
    const net = new Net(walker.id, initialState(walker.contact_id));
    const nodeId = `n${made++}`;
    net.schedules.set(nodeId, { action: "node", nodeId, watch: null, runAt: workingHour });
    return transact(tenant, (ctx) => schedule(ctx, [{ walker: { ...walker, campaign_status: "active" }, net }]));
  };
  const handler = consumer(host, "actions", async (ctx, ids) => {
    const rows = await transact(ctx, (ctx) => claim(ctx.db, ctx.tenantId, work.actions, { ids, limit: 100 }));
    if (rows.length > 0) claimed?.();
  });
  // Through all rounds: a poller that is stopped may take a message with it.
  const spec = queues.actions;
  const mapping = mapQueue({
    name: "actions",
    sqs: aws.sqs,
    queue: aws.queues.actions,
    region,
    call: handler as (event: unknown, invocation: unknown) => Promise<unknown>,
    batch: spec.batch,
    windowSeconds: spec.windowSeconds,
    timeoutSeconds: spec.timeoutSeconds,
    concurrency: 4,
    onError: (error) => rig.note(`    ${String(error)}`),
  });
  const measure = async (): Promise<number> => {
    const times: number[] = [];
    for (let n = 0; n < count + 20; n++) {
      const start = new Promise<void>((resolve) => {
        claimed = resolve;
      });
      const from = performance.now();
      const due = makeDue();
      await start;
      times.push(performance.now() - from);
      await due;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return median(times.slice(20));
  };
  return { measure, stop: () => mapping.stop(1_000) };
}
