/** `send`: messages that are due, through gate, attempt, provider call and result, in one process. */
import { sql } from "kysely";
import { activate, campaignPort, createCampaign, enroll, runActions } from "../core/campaigns/index.ts";
import type { Context } from "../core/kernel/context.ts";
import { type DeliverDeps, deliver } from "../core/messages/index.ts";
import { sendgrid } from "../core/providers/sendgrid/index.ts";
import { startChild } from "./child.ts";
import { interleave, type Rig, rate } from "./rig.ts";
import { createOutbox, fillOutbox, sendRaw } from "./send-raw.ts";
import { keys, newContacts, publicUrl, sendingTenant } from "./tenants.ts";

const tenantCount = 8;
const workers = 4;
/** What a bell carries. */
const bellSize = 100;

export const deps: DeliverDeps = {
  senders: { sendgrid },
  keys,
  publicUrl,
  signingKeys: [new Uint8Array(32).fill(7)],
  campaigns: campaignPort,
  monotonicMs: () => performance.now(),
};

interface Bell {
  readonly tenant: Context;
  readonly ids: readonly string[];
}

const intro = {
  id: "intro",
  type: "send",
  channel: "email",
  content: {
    subject: "Hello {{ first_name }}",
    html: "<p>Good to meet you, {{ first_name }}.</p>",
    text: "Good to meet you, {{ first_name }}.",
  },
};

/**
 * Enrolls new contacts and runs their first action, which queues the message.
 * @param after nodes that the message leads to
 * @returns the bells for all of it, tenants in turn
 */
export async function queueMessages(
  rig: Rig,
  tenants: readonly Context[],
  perTenant: number,
  {
    transitions = [],
    nodes = [],
  }: { readonly transitions?: readonly object[]; readonly nodes?: readonly object[] } = {},
): Promise<Bell[]> {
  const bells: Bell[] = [];
  for (const tenant of tenants) {
    const contactIds = await newContacts(rig, tenant, perTenant);
    const { id } = await createCampaign(tenant, {
      name: "Bench",
      plan: { start: "intro", nodes: [{ ...intro, transitions }, ...nodes] },
    } as Parameters<typeof createCampaign>[1]);
    await enroll(tenant, { campaignId: id, audience: { contactIds } });
    await activate(tenant, { id });
    while ((await runActions(tenant, [])) > 0);
    const { rows } = await sql<{ id: string }>`
      select id from outbound_messages where tenant_id = ${tenant.tenantId} and status = 'queued' order by id`.execute(
      rig.owner,
    );
    for (let at = 0; at < rows.length; at += bellSize) {
      bells.push({ tenant, ids: rows.slice(at, at + bellSize).map((row) => row.id) });
    }
  }
  await sql`vacuum analyze outbound_messages, contact_campaigns, contacts, leads, contact_channels, send_attempts`.execute(
    rig.owner,
  );
  const perTenantBells = Math.ceil(perTenant / bellSize);
  return bells.toSorted((a, b) => (bells.indexOf(a) % perTenantBells) - (bells.indexOf(b) % perTenantBells));
}

/** @returns messages accepted by the provider */
export async function sendAll(bells: readonly Bell[], through: DeliverDeps = deps): Promise<number> {
  let accepted = 0;
  const waiting = bells.values();
  const worker = async (): Promise<void> => {
    for (const { tenant, ids } of waiting) {
      const report = await deliver(tenant, through, ids, () => 600_000);
      accepted += report.accepted;
    }
  };
  await Promise.all(Array.from({ length: workers }, worker));
  return accepted;
}

export async function sendLines(rig: Rig): Promise<void> {
  await createOutbox(rig.raw);
  for (const latencyMs of [0, 20]) {
    const provider = await startChild("provider.ts", [String(latencyMs)]);
    const origin = `http://127.0.0.1:${provider.said}`;
    const tenants: Context[] = [];
    for (let n = 0; n < tenantCount; n++) tenants.push(await sendingTenant(rig, origin));
    const perTenant = rig.quick ? 300 : 1_000;
    const count = perTenant * tenantCount;
    const product = async (): Promise<number> => {
      const bells = await queueMessages(rig, tenants, perTenant);
      return rate(async () => {
        const accepted = await sendAll(bells);
        if (accepted !== count) throw new Error(`${accepted} of ${count} messages were accepted`);
        return accepted;
      });
    };
    const raw = async (options: Parameters<typeof sendRaw>[2], messages: number): Promise<number> => {
      await fillOutbox(rig.raw, messages);
      return rate(() => sendRaw(rig.raw, origin, options));
    };
    // Both sides compile, connect and fill caches once before anything counts.
    await product();
    const values = await interleave(rig, `send ${latencyMs} ms`, {
      outrider: product,
      raw: () => raw({ batch: 500, workers: 2, parallelCalls: 32 }, count),
      naive: () => raw({ batch: 1, workers: 16, parallelCalls: 1 }, Math.min(count, 2_000)),
    });
    const name = latencyMs === 0 ? "send" : `send-${latencyMs}ms`;
    rig.line({ name, value: values.outrider, unit: "messages/s", baseline: values.raw });
    rig.line({ name: `${name}-vs-naive`, value: values.outrider, unit: "messages/s", baseline: values.naive });
    provider.stop();
  }
}
