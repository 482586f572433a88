/** Sends whose end nobody knows: nothing is sent again on suspicion, and settling many costs what settling one does. */
import { sql } from "kysely";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { campaignPort, runActions } from "../../../core/campaigns/index.ts";
import { deliver, reconcile } from "../../../core/messages/index.ts";
import type { Sender } from "../../../core/ports/sender.ts";
import { testDatabase } from "../../support/database.ts";
import { type ReadyTenant, readyTenant, underway } from "../../support/outreach.ts";
import { hold } from "../../support/race.ts";
import { statementsOf } from "../../support/statements.ts";
import { advance, setClock } from "../../support/tenant.ts";

const database = await testDatabase();
const sentAt = new Date("2026-03-02T16:00:00Z");
const firstLook = 600;
const day = 86_400;

let tenant: ReadyTenant;
beforeEach(async () => {
  await setClock(database, sentAt);
  tenant = await readyTenant(database);
  tenant.email.answer = () => ({ kind: "ambiguous", reason: "reset" });
});

/** Calls that were made and never answered. */
async function ambiguous(count: number): Promise<string[]> {
  await underway(database, tenant, count);
  await runActions(tenant, []);
  await deliver(tenant, tenant.deps, [], () => 60_000);
  return (await messages()).map((one) => one.id);
}

const messages = () =>
  database.owner
    .selectFrom("outbound_messages")
    .select(["id", "status", "run_at", "provider_message_id", "sent_at", "last_error"])
    .where("tenant_id", "=", tenant.tenantId)
    .orderBy("to_address")
    .execute();

const attempts = async () =>
  (
    await sql`
      select outcome, resolved_by from send_attempts a join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
      where a.tenant_id = ${tenant.tenantId} order by m.to_address`.execute(database.owner)
  ).rows;

type Lookup = NonNullable<Sender["lookup"]>;

const look = (ids: readonly string[], lookup?: Lookup, campaigns = campaignPort) => {
  const senders = { sendgrid: { ...tenant.email, ...(lookup && { lookup }) } };
  return reconcile(tenant, { ...tenant.deps, senders, campaigns }, ids, () => 60_000);
};

/** Refuses every change of one message, or every change that ends it. */
async function refuseChange(id: string, only: "every" | "ends"): Promise<void> {
  await sql
    .raw(
      `create or replace function refuse() returns trigger language plpgsql as $$
       begin if old.id = '${id}' and ('${only}' = 'every' or new.status <> 'ambiguous') then raise exception 'refused here'; end if; return new; end $$;
       create or replace trigger refuse before update on outbound_messages for each row execute function refuse()`,
    )
    .execute(database.owner);
}
afterEach(() => sql`drop trigger if exists refuse on outbound_messages`.execute(database.owner));

const sentPlus = (seconds: number) => new Date(sentAt.getTime() + seconds * 1_000);

describe("where the provider cannot be asked", () => {
  it("there is one look: after it, evidence settles a send or the end of the day does", async () => {
    const ids = await ambiguous(1);
    expect(await messages()).toMatchObject([{ status: "ambiguous", run_at: sentPlus(firstLook) }]);
    await advance(database, firstLook);
    expect(await look(ids)).toEqual({ found: 0, absent: 0, aged: 0, waiting: 1, postponed: 0 });
    expect(await messages()).toMatchObject([{ status: "ambiguous", run_at: sentPlus(day) }]);
    await setClock(database, sentPlus(day));
    expect(await look(ids)).toEqual({ found: 0, absent: 0, aged: 1, waiting: 0, postponed: 0 });
    expect(await messages()).toMatchObject([{ status: "accepted_unknown", sent_at: sentAt }]);
    expect(await attempts()).toEqual([{ outcome: "ambiguous", resolved_by: "deadline" }]);
  });
});

describe("where the provider can be asked", () => {
  it("it is asked every hour, and at the end of the day once more", async () => {
    const ids = await ambiguous(1);
    await advance(database, firstLook);
    let asked = 0;
    const unknown: Lookup = async () => {
      asked++;
      return { kind: "unknown" };
    };
    await look(ids, unknown);
    await look(ids, unknown);
    expect(asked).toBe(1);
    expect(await messages()).toMatchObject([{ run_at: sentPlus(firstLook + 3_600) }]);
    await setClock(database, sentPlus(day - 60));
    await look(ids, unknown);
    expect(asked).toBe(2);
    expect(await messages()).toMatchObject([{ status: "ambiguous", run_at: sentPlus(day) }]);
    await setClock(database, sentPlus(day));
    expect(await look(ids, async () => ({ kind: "found", providerMessageId: "p" }))).toMatchObject({ found: 1 });
  });

  it("each of a batch comes to its own end", async () => {
    const ids = await ambiguous(4);
    await advance(database, firstLook);
    const lookup: Lookup = async (_credentials, { to }) => {
      if (to === "p0@example.com") return { kind: "found", providerMessageId: "known" };
      if (to === "p1@example.com") return { kind: "absent" };
      if (to === "p2@example.com") throw new Error("a defect of the adapter");
      return { kind: "unknown" };
    };
    expect(await look(ids, lookup)).toEqual({ found: 1, absent: 1, aged: 0, waiting: 2, postponed: 0 });
    expect(await messages()).toMatchObject([
      { status: "sent", provider_message_id: "known", sent_at: sentAt },
      { status: "queued", run_at: sentPlus(firstLook), sent_at: null },
      { status: "ambiguous", sent_at: null },
      { status: "ambiguous", sent_at: null },
    ]);
    expect(await attempts()).toEqual([
      { outcome: "accepted", resolved_by: "lookup" },
      { outcome: "abandoned", resolved_by: "lookup" },
      { outcome: "ambiguous", resolved_by: null },
      { outcome: "ambiguous", resolved_by: null },
    ]);
  });

  it("all of a batch are asked about at the same time", async () => {
    const ids = await ambiguous(5);
    await advance(database, firstLook);
    let asked = 0;
    const everybody = Promise.withResolvers<void>();
    const report = await look(ids, async () => {
      asked++;
      if (asked === ids.length) everybody.resolve();
      await everybody.promise;
      return { kind: "unknown" };
    });
    expect(report).toMatchObject({ waiting: 5 });
  });
});

it("looking at many, and giving many up for accepted, costs as many statements as one", async () => {
  const ids = await ambiguous(60);
  const [first = "", ...others] = ids;
  const cost = (some: readonly string[]) =>
    statementsOf(tenant.db, (db) =>
      reconcile({ ...tenant, db }, { ...tenant.deps, campaigns: campaignPort }, some, () => 60_000),
    );
  await setClock(database, sentPlus(firstLook));
  const toLook = await cost([first]);
  expect(await cost(others)).toBe(toLook);
  await setClock(database, sentPlus(day));
  const toAge = await cost([first]);
  expect(await cost(others)).toBe(toAge);
  expect(new Set((await messages()).map((one) => one.status))).toEqual(new Set(["accepted_unknown"]));
});

it("without time for a look-up nothing is begun", async () => {
  const ids = await ambiguous(1);
  await advance(database, firstLook);
  await reconcile(tenant, { ...tenant.deps, campaigns: campaignPort }, ids, () => 14_000);
  expect(await messages()).toMatchObject([{ run_at: sentPlus(firstLook) }]);
});

describe("what happened while the provider was asked is not overwritten:", () => {
  it("a webhook that told of the message", async () => {
    const ids = await ambiguous(2);
    await advance(database, firstLook);
    const report = await look(ids, async (_credentials, { messageId, to }) => {
      if (to === "p0@example.com")
        await sql`update outbound_messages set status = 'delivered', sent_at = app_now() where id = ${messageId}`.execute(
          database.owner,
        );
      return { kind: "absent" };
    });
    expect(report).toMatchObject({ absent: 1 });
    expect(await messages()).toMatchObject([{ status: "delivered" }, { status: "queued" }]);
  });

  it("another call, which is in doubt as well", async () => {
    const ids = await ambiguous(1);
    await advance(database, firstLook);
    const report = await look(ids, async (_credentials, { messageId }) => {
      await sql`update outbound_messages set generation = generation + 1 where id = ${messageId}`.execute(
        database.owner,
      );
      return { kind: "absent" };
    });
    expect(report).toMatchObject({ absent: 0 });
    expect(await messages()).toMatchObject([{ status: "ambiguous" }]);
  });

  it("whatever somebody who has the message locked is about to say", async () => {
    const ids = await ambiguous(2);
    await advance(database, firstLook);
    const other = hold(tenant, ({ db }) =>
      sql`update outbound_messages set last_error = 'being settled' where id = ${ids[0]}`.execute(db),
    );
    await other.reached;
    expect(await look(ids, async () => ({ kind: "absent" }))).toMatchObject({ absent: 1 });
    other.release();
    await other.done;
    expect(await messages()).toMatchObject([{ status: "ambiguous" }, { status: "queued" }]);
  });
});

describe("an end that cannot be stored", () => {
  it("is looked at again in an hour, says why, and does not keep the ends beside it", async () => {
    const ids = await ambiguous(7);
    const [, , third = ""] = ids;
    await refuseChange(third, "ends");
    await setClock(database, sentPlus(day));
    expect(await look(ids)).toEqual({ found: 0, absent: 0, aged: 6, waiting: 0, postponed: 1 });
    const aged = { status: "accepted_unknown" };
    const waiting = {
      status: "ambiguous",
      run_at: sentPlus(day + 3_600),
      last_error: "its end could not be stored: refused here",
    };
    expect(await messages()).toMatchObject([aged, aged, waiting, aged, aged, aged, aged]);
  });

  it("is that of the one walk that cannot be told", async () => {
    const ids = await ambiguous(3);
    const { rows } = await sql<{ id: string }>`
      select contact_campaign_id as id from outbound_messages where id = ${ids[0]}`.execute(database.owner);
    const campaigns: typeof campaignPort = {
      ...campaignPort,
      tell: async (ctx, news) => {
        if (news.some((one) => one.enrollmentId === rows[0]?.id)) throw new Error("cannot be told");
        await campaignPort.tell(ctx, news);
      },
    };
    await setClock(database, sentPlus(day));
    expect(await look(ids, undefined, campaigns)).toMatchObject({ aged: 2, postponed: 1 });
  });

  it("is not forgotten when the provider forgets it", async () => {
    const ids = await ambiguous(1);
    await refuseChange(ids[0] ?? "", "ends");
    await advance(database, firstLook);
    expect(await look(ids, async () => ({ kind: "found", providerMessageId: "known" }))).toMatchObject({
      postponed: 1,
    });
    await sql`drop trigger refuse on outbound_messages`.execute(database.owner);
    await advance(database, 3_600);
    expect(await look(ids, async () => ({ kind: "absent" }))).toMatchObject({ found: 1, absent: 0 });
    expect(await messages()).toMatchObject([{ status: "sent", provider_message_id: "known" }]);
  });

  it("keeps nobody when not even its next look can be stored", async () => {
    const ids = await ambiguous(5);
    await refuseChange(ids[1] ?? "", "every");
    await setClock(database, sentPlus(day));
    await expect(look(ids)).rejects.toThrow("refused here");
    const statuses = (await messages()).map((one) => one.status);
    expect(statuses).toEqual([
      "accepted_unknown",
      "ambiguous",
      "accepted_unknown",
      "accepted_unknown",
      "accepted_unknown",
    ]);
  });
});

it("whoever is long at a walk is waited for by the next run: nothing is taken for a failure of the message", async () => {
  const ids = await ambiguous(2);
  await setClock(database, sentPlus(day));
  const other = hold(tenant, ({ db, tenantId }) =>
    sql`select from contact_campaigns where tenant_id = ${tenantId} for update`.execute(db),
  );
  await other.reached;
  await expect(look(ids)).rejects.toMatchObject({ code: "55P03" });
  other.release();
  await other.done;
  expect(await messages()).toMatchObject([
    { status: "ambiguous", run_at: sentPlus(firstLook) },
    { status: "ambiguous", run_at: sentPlus(firstLook) },
  ]);
  expect(await look(ids)).toMatchObject({ aged: 2 });
});
