/**
 * A "no" and a claim of the same address, at the same time, again and again. Invariant: who won is judged by the database's own order
 * (`compliance_seq`, transaction ids) and by when the caller was told, never by the engine.
 */
import { sql } from "kysely";
import { recordOwnEvents } from "../../../../core/deliveries/index.ts";
import { newId, transact } from "../../../../core/kernel/index.ts";
import { claimDue } from "../../../../core/messages/index.ts";
import * as suppression from "../../../../core/suppression/index.ts";
import { updateTenantSettings } from "../../../../core/tenancy/index.ts";
import type { Random } from "../../../long/report.ts";
import type { TestDatabase } from "../../../support/clone.ts";
import { type ReadyTenant, readyTenant } from "../../../support/outreach.ts";
import { arrange, newTenant, type TestTenant } from "../../../support/tenant.ts";

interface World {
  readonly tenant: ReadyTenant;
  readonly sister: TestTenant;
}
interface Target {
  readonly address: string;
  readonly messageId: string;
}

interface Kind {
  readonly channel: "sms" | "email";
  /** Before the race, under no lock. */
  readonly first?: (world: World, targets: readonly Target[]) => Promise<unknown>;
  /** One call for all targets of a group; when it resolves, whoever asked has been told. */
  readonly say: (world: World, targets: readonly Target[]) => Promise<unknown>;
}

const each =
  (say: (world: World, target: Target) => Promise<unknown>): Kind["say"] =>
  (world, targets) =>
    Promise.all(targets.map((target) => say(world, target)));
const add = (channel: Kind["channel"], reason: "stop" | "hard_bounce" | "complaint" | "unsubscribed") =>
  each(({ tenant }, { address }) => suppression.add(tenant, { channel, address, reason, source: "race" }));
const start = each(({ tenant }, { address }) =>
  suppression.liftByRecipient(tenant, { channel: "sms", address, source: "race" }),
);

export const kinds = {
  stop: { channel: "sms", say: add("sms", "stop") },
  "unsubscribe link": {
    channel: "email",
    say: each(({ tenant }, { messageId }) =>
      recordOwnEvents(tenant, [{ type: "unsubscribed", messageId, machine: false }]),
    ),
  },
  "do not call": {
    channel: "sms",
    say: ({ tenant }, targets) =>
      suppression.addDnc(tenant, { phones: targets.map(({ address }) => address), source: "race" }),
  },
  "a sister's do not call": {
    channel: "sms",
    say: ({ sister }, targets) =>
      suppression.addDnc(sister, { phones: targets.map(({ address }) => address), source: "race" }),
  },
  "hard bounce": { channel: "email", say: add("email", "hard_bounce") },
  complaint: { channel: "email", say: add("email", "complaint") },
  "many at once": {
    channel: "email",
    say: ({ tenant }, targets) =>
      suppression.addMany(tenant, {
        entries: targets.map(({ address }) => ({
          channel: "email" as const,
          address,
          reason: "manual" as const,
          source: "race",
        })),
      }),
  },
  "start after stop": { channel: "sms", first: add("sms", "stop"), say: start },
  "stop and start": {
    channel: "sms",
    say: (world, targets) => Promise.all([add("sms", "stop")(world, targets), start(world, targets)]),
  },
} satisfies Record<string, Kind>;
export type KindName = keyof typeof kinds;

/** `real`: the claim of `core/messages`, gate and attempt included. `naive`: asks and takes in one statement, without the lock. */
export type Claim = "minimal" | "real" | "naive";

export interface Contest {
  readonly kind: KindName;
  readonly claim: Claim;
  /** Each is one claim of all its addresses against one no for each. */
  readonly groups: number;
  readonly largestGroup: number;
  readonly lanes: number;
}

export interface Outcome {
  readonly races: number;
  readonly claimed: number;
  /** Claims that the database ordered behind a no that covers them. */
  readonly behind: number;
  /** Claims still open when whoever said no had already been told that it holds. */
  readonly told: number;
}

/** Takes the messages and says which it took. */
type Take = (world: World, targets: readonly Target[], ended: () => void) => Promise<readonly string[]>;

const take: Readonly<Record<Claim, Take>> = {
  real: ({ tenant }, targets, ended) =>
    transact(tenant, async (ctx) => {
      const ids = targets.map(({ messageId }) => messageId);
      const { claimed } = await claimDue(ctx, ids, {
        publicUrl: "https://go.example.test",
        signingKeys: tenant.deps.signingKeys,
        limit: 100,
        specsOf: async (_, candidates) =>
          new Map(candidates.map(({ id }) => [id, { content: { subject: "Hi", text: "Hello" } }])),
      });
      ended();
      return claimed.map(({ id }) => id);
    }),
  minimal: ({ tenant }, targets, ended) =>
    transact(tenant, async (ctx) => {
      const { rows: wanted } = await sql<{ id: string; channel: "sms" | "email"; address: string }>`
        select id, channel, suppression_key as address from outbound_messages
        where tenant_id = ${ctx.tenantId} and id = any(${targets.map(({ messageId }) => messageId)})`.execute(ctx.db);
      await suppression.lockAddresses(ctx, wanted);
      const hits = new Set((await suppression.checkTargets(ctx, wanted)).map((hit) => hit.address));
      const free = wanted.filter(({ address }) => !hits.has(address)).map(({ id }) => id);
      const { rows } = await sql<{ id: string }>`
        update outbound_messages set status = 'sending', claim_seq = nextval('compliance_seq')
        where tenant_id = ${ctx.tenantId} and id = any(${free}) and status = 'queued' returning id`.execute(ctx.db);
      ended();
      return rows.map(({ id }) => id);
    }),
  naive: ({ tenant }, targets, ended) =>
    transact(tenant, async (ctx) => {
      const { rows } = await sql<{ id: string }>`
        update outbound_messages m set status = 'sending', claim_seq = nextval('compliance_seq')
        where m.tenant_id = ${ctx.tenantId} and m.id = any(${targets.map(({ messageId }) => messageId)}) and m.status = 'queued'
          and not exists (select from communication_suppressions s where s.tenant_id = m.tenant_id and s.channel = m.channel
            and s.address = m.suppression_key and s.released_at is null)
          and not exists (select from dnc_list d where d.organization_id = ${ctx.organizationId} and m.channel = 'sms'
            and d.phone_number = m.suppression_key and d.lifted_at is null)
        returning id`.execute(ctx.db);
      ended();
      return rows.map(({ id }) => id);
    }),
};

/** Numbers of one exchange: contests have a tenant of their own, so addresses need to differ within one only. */
const addressOf = (channel: Kind["channel"], n: number): string =>
  channel === "sms" ? `+1202555${String(n).padStart(4, "0")}` : `person${n}@example.com`;
/** Round trips. */
const maxHeadStart = 12;
/** As many as such an exchange has. */
export const maxAddresses = 10_000;

/** Runs one contest in a tenant of its own. The database's clock must stand at an hour at which texts may be sent. */
export async function contest(database: TestDatabase, random: Random, given: Contest): Promise<Outcome> {
  const kind: Kind = kinds[given.kind];
  const tenant = await readyTenant(database);
  await updateTenantSettings(tenant, { requireSmsConsent: false });
  const world: World = { tenant, sister: await newTenant(database, { organization: tenant.organizationId }) };
  const groups: Target[][] = [];
  let used = 0;
  for (let group = 0; group < given.groups && used + given.largestGroup <= maxAddresses; group++) {
    const size = 1 + random.below(given.largestGroup);
    const targets = Array.from({ length: size }, () => ({
      address: addressOf(kind.channel, used++),
      messageId: newId("message", new Date()),
    }));
    groups.push(targets);
  }
  const all = groups.flat();
  // What was said before the race was said before anything was queued.
  if (kind.first) for (let at = 0; at < all.length; at += 100) await kind.first(world, all.slice(at, at + 100));
  await arrange(database, tenant.tenantId, (tx) =>
    sql`insert into outbound_messages (tenant_id, id, channel, to_address, suppression_key, dedupe_key, expires_at)
      select ${tenant.tenantId}, m.id, ${kind.channel}, m.address, m.address, m.id, app_now() + interval '1 day'
      from unnest(${all.map((one) => one.messageId)}::text[], ${all.map((one) => one.address)}::text[]) m(id, address)`.execute(
      tx,
    ),
  );

  let claimed = 0;
  let told = 0;
  const waiting = [...groups];
  const lane = async (): Promise<void> => {
    for (let targets = waiting.shift(); targets; targets = waiting.shift()) {
      const group = targets;
      let endedAt = Number.POSITIVE_INFINITY;
      let toldAt = Number.POSITIVE_INFINITY;
      const runs = [
        async () => {
          const ids = await take[given.claim](world, group, () => {
            endedAt = performance.now();
          });
          return ids.length;
        },
        async () => {
          await kind.say(world, group);
          toldAt = performance.now();
          return 0;
        },
      ];
      // A head start in round trips is as long on a busy machine as on an idle one: from none to about what a claim takes.
      const headStart = random.below(maxHeadStart);
      const [one, other] = random.chance(0.5) ? runs : runs.toReversed();
      const begun = one?.();
      for (let n = 0; n < headStart; n++) await sql`select 1`.execute(database.db);
      const [a = 0, b = 0] = await Promise.all([begun, other?.()]);
      claimed += a + b;
      // A claim that had not ended when the no was confirmed, and took something all the same. START gives nothing away.
      if (a + b > 0 && toldAt < endedAt && !given.kind.includes("start")) told += a + b;
    }
  };
  await Promise.all(Array.from({ length: given.lanes }, lane));
  return { races: all.length, claimed, behind: await behind(database, tenant), told };
}

/** A no that was released counts until the transaction that released it; under the address lock, ids of transactions follow their order. */
async function behind(database: TestDatabase, tenant: TestTenant): Promise<number> {
  const { rows } = await sql<{ n: number }>`
    select count(*)::int as n from outbound_messages m
    where m.tenant_id = ${tenant.tenantId} and m.claim_seq is not null and (
      exists (select from communication_suppressions s where s.tenant_id = m.tenant_id and s.channel = m.channel
        and s.address = m.suppression_key and s.seq < m.claim_seq
        and (s.released_at is null or s.xmin::text::bigint > m.xmin::text::bigint))
      or exists (select from dnc_list d where d.organization_id = ${tenant.organizationId}
        and d.phone_number = m.suppression_key and d.seq < m.claim_seq and d.lifted_at is null))`.execute(
    database.owner,
  );
  return rows[0]?.n ?? -1;
}
