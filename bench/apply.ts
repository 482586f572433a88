/**
 * `apply`: SendGrid's batches of 1,000 events, archived already, until every event is a fact: stored once, rolled up into its message, told
 * to its enrollment, addresses suppressed; against the statement somebody would write for events and messages alone, and row by row.
 */
import { randomUUID } from "node:crypto";
import type pg from "pg";
import { sha256Of } from "../core/deliveries/archive.ts";
import { Archive, applyDeliveries } from "../core/deliveries/index.ts";
import type { Context } from "../core/kernel/context.ts";
import { newId } from "../core/kernel/id.ts";
import { memoryBlobs } from "../core/providers/memory/index.ts";
import { sendgrid } from "../core/providers/sendgrid/index.ts";
import { createBaseline, fillBaseline, storeBatch, storeRows } from "./apply-raw.ts";
import { interleave, type Rig, rate, workingHour } from "./rig.ts";
import { deps, queueMessages, sendAll } from "./send.ts";
import { type Addressed, sendgridBatch } from "./sendgrid-batch.ts";
import { sendingTenant } from "./tenants.ts";

/** Events of a body, as SendGrid fills it at most. */
const batchEvents = 1_000;

/** A bounce ends the walk; the others stay on it for their next message. */
const plan = {
  transitions: [{ on: "no_reply", to: "bump", after: "PT24H" }],
  nodes: [{ id: "bump", type: "send", channel: "email", content: { subject: "Again", text: "Hello again." } }],
};

/** A provider that answers without a network. */
const accepting = {
  provider: "sendgrid",
  send: async () => ({ kind: "accepted", providerMessageId: randomUUID() }) as const,
};

export async function applyLines(rig: Rig): Promise<void> {
  const batches = rig.quick ? 2 : 6;
  const tenant = await sendingTenant(rig, "http://127.0.0.1:9");
  const blobs = memoryBlobs();
  const channel = await rig.owner
    .selectFrom("channel_configs")
    .select("id")
    .where("tenant_id", "=", tenant.tenantId)
    .executeTakeFirstOrThrow();
  const archive = new Archive({ db: rig.db });
  const raw = await rig.raw.connect();
  const outrider = async (): Promise<number> => {
    const messages = await sentMessages(rig, tenant, batches * batchEvents);
    const ids: string[] = [];
    for (const body of bodiesOf(messages)) ids.push(await store(archive, blobs, tenant.tenantId, channel.id, body));
    await rig.owner.executeQuery({ sql: "vacuum analyze outbound_messages", parameters: [] } as never);
    return rate(async () => {
      const { newEvents, failed } = await applyDeliveries(tenant, { blobs, webhooks: { sendgrid } }, ids);
      if (newEvents !== messages.length || failed > 0)
        throw new Error(`${newEvents} of ${messages.length} events, ${failed} failed`);
      return newEvents;
    });
  };
  const byHand = (apply: (raw: pg.PoolClient, body: Uint8Array) => Promise<void>, count: number) => async () => {
    const bodies = bodiesOf(await fillBaseline(raw, count * batchEvents));
    return rate(async () => {
      for (const body of bodies) await apply(raw, body);
      return count * batchEvents;
    });
  };
  try {
    await createBaseline(raw);
    await outrider();
    const values = await interleave(rig, "apply", {
      outrider,
      raw: byHand(storeBatch, batches),
      rows: byHand(storeRows, 1),
    });
    rig.line({ name: "apply", value: values.outrider, unit: "events/s", baseline: values.raw });
    rig.line({ name: "apply-row-by-row", value: values.outrider, unit: "events/s", baseline: values.rows });
  } finally {
    raw.release();
  }
}

/** New contacts whose first message a provider has taken. */
async function sentMessages(rig: Rig, tenant: Context, count: number): Promise<Addressed[]> {
  const bells = await queueMessages(rig, [tenant], count, plan);
  const accepted = await sendAll(bells, { ...deps, senders: { sendgrid: { ...sendgrid, ...accepting } } });
  if (accepted !== count) throw new Error(`${accepted} of ${count} messages were accepted`);
  const rows = await rig.owner
    .selectFrom("outbound_messages")
    .select(["id", "to_address as address"])
    .where("tenant_id", "=", tenant.tenantId)
    .where(
      "id",
      "in",
      bells.flatMap(({ ids }) => [...ids]),
    )
    .execute();
  return rows;
}

const bodiesOf = (messages: readonly Addressed[]): Uint8Array[] =>
  Array.from({ length: messages.length / batchEvents }, (_, n) =>
    Buffer.from(JSON.stringify(sendgridBatch(messages.slice(n * batchEvents, (n + 1) * batchEvents)))),
  );

/** As the front door leaves a body of this size: in object storage, here that of the process. */
async function store(
  archive: Archive,
  blobs: ReturnType<typeof memoryBlobs>,
  tenantId: string,
  channelConfigId: string,
  body: Uint8Array,
): Promise<string> {
  const id = newId("delivery", workingHour);
  const target = `/webhooks/sendgrid/${channelConfigId}`;
  const bodyKey = `t/${tenantId}/deliveries/${id}`;
  await blobs.put(bodyKey, body, "application/json");
  await archive.add({
    tenantId,
    id,
    channelConfigId,
    provider: "sendgrid",
    target,
    headers: { "content-type": "application/json" },
    body: null,
    bodyKey,
    bodyBytes: body.byteLength,
    bodySha256: sha256Of(target, body),
    signature: null,
    correlationId: newId("correlation", workingHour),
  });
  return id;
}
