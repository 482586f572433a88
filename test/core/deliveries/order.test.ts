/** A message ends in the same state whatever the order, the batches and the number of copies in which its events arrive. */

import fc from "fast-check";
import { sql } from "kysely";
import { expect, it } from "vitest";
import { takeEffect } from "../../../core/deliveries/effects.ts";
import { transact } from "../../../core/kernel/context.ts";
import { newId } from "../../../core/kernel/id.ts";
import type { EventType } from "../../../core/kernel/vocabulary.ts";
import type { ProviderEvent } from "../../../core/ports/sender.ts";
import { testDatabase } from "../../support/database.ts";
import { readyTenant } from "../../support/outreach.ts";
import { runs } from "../../support/runs.ts";
import { arrange, setClock } from "../../support/tenant.ts";
import { monday } from "./world.ts";

const database = await testDatabase();
await setClock(database, monday);
const tenant = await readyTenant(database);

const minutes = (n: number): Date => new Date(monday.getTime() - 86_400_000 + n * 60_000);

/** A message of its own per run; its address too, so that one run's suppression says nothing about another's. */
async function newMessage(status = "sending"): Promise<string> {
  const id = newId("message", new Date());
  const address = `${id.toLowerCase()}@example.com`;
  await arrange(database, tenant.tenantId, (tx) =>
    sql`insert into outbound_messages (tenant_id, id, channel, to_address, suppression_key, dedupe_key, status, expires_at, created_at)
      values (${tenant.tenantId}, ${id}, 'email', ${address}, ${address}, ${id}, ${status}, ${minutes(10_000)}, ${minutes(0)})`.execute(
      tx,
    ),
  );
  return id;
}

interface Told {
  readonly n: number;
  readonly type: EventType;
  readonly at: Date;
  readonly machine?: boolean;
}

const eventOf = (messageId: string, { n, type, at, machine = false }: Told): ProviderEvent => ({
  providerEventId: `${messageId}:${n}`,
  type,
  at,
  messageId,
  providerMessageId: `p-${messageId}`,
  channel: "email",
  address: null,
  machine,
  ...(type === "bounced" ? { bounce: "hard" as const } : {}),
  metadata: {},
});

/** Lives several lives at once: the nth batch of each is told in one transaction. @returns the end of each */
async function endsOf(lives: readonly (readonly (readonly Told[])[])[], status?: string) {
  const ids = await Promise.all(lives.map(() => newMessage(status)));
  for (let step = 0; lives.some((batches) => batches[step] !== undefined); step++) {
    const facts = lives.flatMap((batches, n) =>
      (batches[step] ?? []).map((told) => ({
        channelConfigId: tenant.emailAccount,
        provider: "sendgrid",
        deliveryId: null,
        event: eventOf(ids[n] ?? "", told),
      })),
    );
    await transact(tenant, (ctx) => takeEffect(ctx, { facts, inbound: [] }));
  }
  const { rows } = await sql<Record<string, unknown>>`
    select m.status, m.sent_at, m.delivered_at, m.opened_at, m.clicked_at, m.bounced_at, m.complained_at, m.unsubscribed_at, m.failed_at,
           (select jsonb_agg(jsonb_build_array(e.event_type, e.event_at, e.machine) order by split_part(e.provider_event_id, ':', 2))
            from message_events e where e.tenant_id = m.tenant_id and e.message_id = m.id) as events,
           exists (select from communication_suppressions s
                   where s.tenant_id = m.tenant_id and s.address = m.suppression_key) as suppressed
    from outbound_messages m where m.id = any(${ids}) order by array_position(${ids}, m.id)`.execute(database.owner);
  return rows;
}

function* permutations<T>(values: readonly T[]): Generator<T[]> {
  if (values.length === 0) yield [];
  for (const [n, value] of values.entries()) {
    for (const rest of permutations(values.toSpliced(n, 1))) yield [value, ...rest];
  }
}

it("orders of six events, one by one, end in the same state", async () => {
  const story: Told[] = [
    { n: 0, type: "delivered", at: minutes(5) },
    // Within two seconds of delivery: a scanner, whichever of the two is heard of first.
    { n: 1, type: "clicked", at: new Date(minutes(5).getTime() + 1_000) },
    { n: 2, type: "opened", at: minutes(9) },
    { n: 3, type: "bounced", at: minutes(7) },
    { n: 4, type: "complained", at: minutes(8) },
    { n: 5, type: "failed", at: minutes(6) },
  ];
  const [expected] = await endsOf([[story]]);
  expect(expected).toMatchObject({ status: "complained", clicked_at: null, opened_at: minutes(9), suppressed: true });
  // Of 720 orders all, or every seventh: seven shares no factor with 720, so that no event keeps its place.
  const orders = [...permutations(story)].filter((_, n) => n % runs(7, 1) === 0);
  const ends = await endsOf(orders.map((order) => order.map((one) => [one])));
  expect(ends).toHaveLength(runs(103, 720));
  for (const end of ends) expect(end).toEqual(expected);
}, 60_000);

const types: EventType[] = [
  "queued",
  "sent",
  "delivered",
  "deferred",
  "bounced",
  "failed",
  "opened",
  "clicked",
  "complained",
  "unsubscribed",
  "unknown",
];
const told = fc.record({
  type: fc.constantFrom(...types),
  second: fc.integer({ min: 0, max: 12 }),
  machine: fc.boolean(),
});

it("any events in any order, in any batches, twice over, end in the same state", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(told, { minLength: 1, maxLength: 6 }),
      fc.infiniteStream(fc.nat({ max: 1_000 })),
      fc.constantFrom("sending", "ambiguous", "accepted_unknown", "sent"),
      async (list, dice, status) => {
        const story = list.map(
          ({ type, second, machine }, n): Told => ({
            n,
            type,
            at: new Date(minutes(5).getTime() + second * 1_000),
            machine,
          }),
        );
        const [expected] = await endsOf([[story]], status);
        const shuffled = [...story, ...story]
          .map((one) => ({ one, key: dice.next().value ?? 0 }))
          .toSorted((a, b) => a.key - b.key);
        const batches = Map.groupBy(shuffled, ({ key }) => key % 3);
        const cut = [...batches.values()].map((batch) => batch.map(({ one }) => one));
        expect(await endsOf([cut], status)).toEqual([expected]);
      },
    ),
    { numRuns: runs(15, 30) },
  );
}, 60_000);
