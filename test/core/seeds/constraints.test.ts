/** What the seeds say the schema itself does: refuses, cascades, fills in, remembers. Invariant: each rule is tried on rows, not read from the catalogue. */
import { type RawBuilder, sql, type Transaction } from "kysely";
import { beforeAll, describe, expect, test } from "vitest";
import { migrate } from "../../../core/db/migrate.ts";
import type { DB } from "../../../core/db/types.gen.ts";
import { transact } from "../../../core/kernel/context.ts";
import { migrationsFolder } from "../../../local/gen/generate.ts";
import { testDatabase } from "../../support/database.ts";
import { arrange, newTenant, type TestTenant } from "../../support/tenant.ts";

type Row = Readonly<Record<string, unknown>>;
type Work<R> = (tx: Transaction<DB>) => Promise<R>;

const database = await testDatabase();
let tenant: TestTenant;
beforeAll(async () => {
  tenant = await newTenant(database);
});

/** As an administrator. */
const admin = <R>(work: Work<R>, of: TestTenant = tenant): Promise<R> => arrange(database, of.tenantId, work);
/** As the application. */
const app = <R>(work: Work<R>, of: TestTenant = tenant): Promise<R> => transact(of, ({ db }) => work(db));
const rows = async (statement: RawBuilder<Row>, tx: Transaction<DB>): Promise<readonly Row[]> =>
  (await statement.execute(tx)).rows;
const first = async (statement: RawBuilder<Row>, tx: Transaction<DB>): Promise<Row> =>
  (await rows(statement, tx))[0] ?? {};

const lead = (values: Row = {}, of: TestTenant = tenant): RawBuilder<Row> => {
  const all: Row = { tenant_id: of.tenantId, organization_id: of.organizationId, source_type: "manual", ...values };
  const names = Object.keys(all).map((name) => sql.ref(name));
  return sql<Row>`insert into leads (${sql.join(names)}) values (${sql.join(Object.values(all))}) returning *`;
};

interface Walk {
  readonly lead: string;
  readonly contact: string;
  readonly campaign: string;
  readonly version: string;
  readonly sender: string;
}

/** A lead with a contact and a channel, and a campaign with a plan and a sender. */
async function prepare(tx: Transaction<DB>, of: TestTenant): Promise<Walk> {
  const id = async (statement: RawBuilder<Row>): Promise<string> => String((await first(statement, tx))["id"]);
  const t = of.tenantId;
  const leadId = await id(lead({}, of));
  const contact = await id(
    sql`insert into contacts (tenant_id, lead_id, source_type) values (${t}, ${leadId}, 'manual') returning id`,
  );
  await sql`insert into contact_channels (tenant_id, contact_id, channel, address) values (${t}, ${contact}, 'email', 'a@x.example')`.execute(
    tx,
  );
  const campaign = await id(
    sql`insert into marketing.campaigns (tenant_id, name) values (${t}, 'c') returning campaign_id as id`,
  );
  const version = await id(
    sql`insert into campaign_plan_versions (tenant_id, campaign_id, version_number, plan_json, plan_hash)
      values (${t}, ${campaign}, 1, '{}', repeat('0', 64)) returning id`,
  );
  const sender = await id(
    sql`insert into email_sender_identities (tenant_id, user_id, from_email, from_name, domain)
      values (${t}, ${of.actor.id}, 'ada@x.example', 'Ada', 'x.example') returning id`,
  );
  return { lead: leadId, contact, campaign, version, sender };
}

const enroll = (walk: Walk, entry: number, of: TestTenant = tenant): RawBuilder<Row> =>
  sql`insert into contact_campaigns (tenant_id, campaign_id, lead_id, contact_id, channel, plan_version_id, plan_hash, sender_identity_id, entry)
    values (${of.tenantId}, ${walk.campaign}, ${walk.lead}, ${walk.contact}, 'email', ${walk.version}, repeat('0', 64), ${walk.sender}, ${entry})
    returning *`;

const refused = (code: string, constraint?: string) => ({ code, ...(constraint === undefined ? {} : { constraint }) });
const check = "23514";
const duplicate = "23505";
const missing = "23503";
const forbidden = "42501";
const integrity = "23000";

describe("seed 001: campaigns of a contact", () => {
  test("contact_channel_unique refuses a second current campaign on a channel", async () => {
    const of = await newTenant(database);
    const walk = await admin((tx) => prepare(tx, of), of);
    await app((tx) => rows(enroll(walk, 1, of), tx), of);
    await expect(app((tx) => rows(enroll(walk, 2, of), tx), of)).rejects.toMatchObject(
      refused(duplicate, "contact_channel_unique"),
    );
  });

  test("and allows the next one when the one before is superseded, which stays", async () => {
    const of = await newTenant(database);
    const walk = await admin((tx) => prepare(tx, of), of);
    await app(async (tx) => {
      const old = await first(enroll(walk, 1, of), tx);
      const next = "ccmp_next";
      await sql`update contact_campaigns set superseded_by = ${next} where id = ${old["id"]}`.execute(tx);
      await sql`insert into contact_campaigns (tenant_id, id, campaign_id, lead_id, contact_id, channel, plan_version_id, plan_hash, entry)
        values (${of.tenantId}, ${next}, ${walk.campaign}, ${walk.lead}, ${walk.contact}, 'email', ${walk.version}, 'x', 2)`.execute(
        tx,
      );
    }, of);
    const kept = await app((tx) => rows(sql`select superseded_by from contact_campaigns order by entry`, tx), of);
    expect(kept).toEqual([{ superseded_by: "ccmp_next" }, { superseded_by: null }]);
  });

  test("defaults are right", async () => {
    const of = await newTenant(database);
    const walk = await admin((tx) => prepare(tx, of), of);
    const enrolled = await app((tx) => first(enroll(walk, 1, of), tx), of);
    expect(enrolled).toMatchObject({ status: "draft", plan_version: "1.0", current_node_id: null, started_at: null });
    const sender = await app(
      (tx) => first(sql`select * from email_sender_identities where id = ${walk.sender}`, tx),
      of,
    );
    expect(sender).toMatchObject({ validation_status: "pending", is_default: false });
    const action = await app(
      (tx) =>
        first(
          sql`insert into scheduled_actions (tenant_id, campaign_id, contact_campaign_id, action_type, node_id, run_at, idempotency_key)
            values (${of.tenantId}, ${walk.campaign}, ${enrolled["id"]}, 'node', 'n', app_now(), 'k') returning *`,
          tx,
        ),
      of,
    );
    expect(action).toMatchObject({ status: "pending", attempts: 0 });
  });

  test("one sender per tenant and address, and no other status than the three", async () => {
    const of = await newTenant(database);
    const walk = await admin((tx) => prepare(tx, of), of);
    const again = sql<Row>`insert into email_sender_identities (tenant_id, user_id, from_email, from_name, domain)
      values (${of.tenantId}, ${of.actor.id}, 'ada@x.example', 'Eve', 'x.example')`;
    await expect(app((tx) => rows(again, tx), of)).rejects.toMatchObject(refused(duplicate, "tenant_email_unique"));
    const odd = sql<Row>`update email_sender_identities set validation_status = 'maybe' where id = ${walk.sender}`;
    await expect(app((tx) => rows(odd, tx), of)).rejects.toMatchObject(refused(check));
  });

  test("deleting a lead takes what hangs on it; deleting a sender only lets go of it", async () => {
    const of = await newTenant(database);
    const walk = await admin((tx) => prepare(tx, of), of);
    const enrolled = await app((tx) => first(enroll(walk, 1, of), tx), of);
    await admin(async (tx) => {
      await sql`insert into scheduled_actions (tenant_id, campaign_id, contact_campaign_id, action_type, node_id, run_at, idempotency_key)
        values (${of.tenantId}, ${walk.campaign}, ${enrolled["id"]}, 'node', 'n', app_now(), 'k')`.execute(tx);
      await sql`insert into lead_score_history (tenant_id, lead_id, score, factors) values (${of.tenantId}, ${walk.lead}, 1, '{}')`.execute(
        tx,
      );
      await sql`delete from email_sender_identities where id = ${walk.sender}`.execute(tx);
    }, of);
    const held = await app((tx) => first(sql`select sender_identity_id from contact_campaigns`, tx), of);
    expect(held).toEqual({ sender_identity_id: null });
    const left = await admin(async (tx) => {
      await sql`delete from leads where id = ${walk.lead}`.execute(tx);
      return first(
        sql`select (select count(*) from contacts where tenant_id = ${of.tenantId})::int as contacts,
            (select count(*) from contact_channels where tenant_id = ${of.tenantId})::int as channels,
            (select count(*) from contact_campaigns where tenant_id = ${of.tenantId})::int as campaigns,
            (select count(*) from scheduled_actions where tenant_id = ${of.tenantId})::int as actions,
            (select count(*) from lead_status_history where tenant_id = ${of.tenantId})::int as statuses,
            (select count(*) from lead_score_history where tenant_id = ${of.tenantId})::int as scores`,
        tx,
      );
    }, of);
    expect(left).toEqual({ contacts: 0, channels: 0, campaigns: 0, actions: 0, statuses: 0, scores: 0 });
  });

  test("deleting a user takes the senders; deleting a tenant takes everything", async () => {
    const of = await newTenant(database);
    await admin(async (tx) => {
      const walk = await prepare(tx, of);
      await rows(enroll(walk, 1, of), tx);
      const user = await first(
        sql`insert into actors (tenant_id, type, name) values (${of.tenantId}, 'user', 'u') returning id`,
        tx,
      );
      await sql`insert into email_sender_identities (tenant_id, user_id, from_email, from_name, domain)
        values (${of.tenantId}, ${user["id"]}, 'u@x.example', 'U', 'x.example')`.execute(tx);
      await sql`delete from actors where id = ${user["id"]}`.execute(tx);
      const senders = await rows(
        sql`select from_email from email_sender_identities where tenant_id = ${of.tenantId}`,
        tx,
      );
      expect(senders).toEqual([{ from_email: "ada@x.example" }]);
    }, of);
    await app(
      (tx) => rows(sql`select * from intake.f_ingest_json(array['{"email":"z@z.example"}'::jsonb], 's', 'b')`, tx),
      of,
    );
    await app((tx) => rows(sql`select * from vault.f_promote_contacts()`, tx), of);
    await admin((tx) => sql`delete from tenants where id = ${of.tenantId}`.execute(tx), of);
    const left = await database.owner.selectFrom("leads").select("id").where("tenant_id", "=", of.tenantId).execute();
    expect(left).toEqual([]);
  });

  test("a row of another tenant cannot be referred to", async () => {
    const [a, b] = [await newTenant(database), await newTenant(database)];
    const foreign = await admin((tx) => prepare(tx, b), b);
    const stolen = sql<Row>`insert into contacts (tenant_id, lead_id, source_type) values (${a.tenantId}, ${foreign.lead}, 'manual')`;
    await expect(app((tx) => rows(stolen, tx), a)).rejects.toMatchObject(refused(missing));
  });

  test("a plan version cannot be rewritten", async () => {
    const of = await newTenant(database);
    await admin((tx) => prepare(tx, of), of);
    const change = admin(
      (tx) =>
        sql`update campaign_plan_versions set plan_hash = repeat('1', 64) where tenant_id = ${of.tenantId}`.execute(tx),
      of,
    );
    await expect(change).rejects.toMatchObject(refused(integrity));
  });
});

describe("seeds 000 and 004: leads", () => {
  test("defaults are right", async () => {
    expect(await app((tx) => first(lead(), tx))).toMatchObject({
      id: expect.stringMatching(/^lead_[0-9A-Z]{26}$/),
      status: "new",
      enrichment_status: "pending",
      phones: [],
      emails: [],
      flags: {},
      tags: [],
      attempt_count: 0,
      priority_score: 0,
      lead_score: 0,
      score: 0,
      is_decision_maker: false,
      deleted_at: null,
    });
  });

  test.each(["2125551234", "+0125551234", "+1 212 555 1234", "+123456", "+1234567890123456"])(
    "%s is no E.164 number",
    async (phone_number) => {
      await expect(app((tx) => rows(lead({ phone_number }), tx))).rejects.toMatchObject(refused(check));
    },
  );

  test("+12125551234 is one", async () => {
    expect(await app((tx) => first(lead({ phone_number: "+12125551234" }), tx))).toMatchObject({
      phone_number: "+12125551234",
    });
  });

  test.each([-1, 101])("a score of %d is refused", async (lead_score) => {
    await expect(app((tx) => rows(lead({ lead_score }), tx))).rejects.toMatchObject(refused(check));
  });

  test.each([0, 100])("a score of %d is allowed, and is the score under seed 003's name", async (lead_score) => {
    expect(await app((tx) => first(lead({ lead_score }), tx))).toMatchObject({ lead_score, score: lead_score });
  });

  test("a status outside the list is refused", async () => {
    await expect(app((tx) => rows(lead({ status: "lukewarm" }), tx))).rejects.toMatchObject(refused(check));
  });

  test("where a lead came from cannot change; everything else can", async () => {
    const { id } = await app((tx) => first(lead({ source_id: "row-1" }), tx));
    const change = (set: RawBuilder<unknown>) => app((tx) => sql`update leads set ${set} where id = ${id}`.execute(tx));
    for (const set of [sql`source_type = 'api'`, sql`source_id = 'row-2'`, sql`import_run_id = 'imp_x'`]) {
      await expect(change(set)).rejects.toMatchObject(refused(integrity));
    }
    await expect(change(sql`source = 'facebook', email = 'a@x.example'`)).resolves.toBeDefined();
  });

  test("a change moves updated_at", async () => {
    const { id, updated_at: before } = await app((tx) => first(lead({ updated_at: new Date(0) }), tx));
    expect(before).toEqual(new Date(0));
    const after = await app((tx) =>
      first(sql`update leads set city = 'Ulm' where id = ${id} returning updated_at, created_at`, tx),
    );
    expect((after["updated_at"] as Date).getTime()).toBeGreaterThanOrEqual((after["created_at"] as Date).getTime());
  });

  test("every change of a field is written down with who made it, a change of status also as a step of the funnel", async () => {
    const { id } = await app((tx) => first(lead({ city: "Bonn" }), tx));
    await app((tx) => sql`update leads set city = 'Ulm', status = 'contacted' where id = ${id}`.execute(tx));
    const audit = await app((tx) =>
      rows(
        sql`select field_name, old_value, new_value, changed_by from lead_audit_log where lead_id = ${id} order by field_name`,
        tx,
      ),
    );
    const by = `system:${tenant.actor.id}`;
    expect(audit).toEqual([
      { field_name: "city", old_value: "Bonn", new_value: "Ulm", changed_by: by },
      { field_name: "status", old_value: "new", new_value: "contacted", changed_by: by },
    ]);
    const steps = await app((tx) =>
      rows(
        sql`select from_status, to_status, trigger_type, stage_order from lead_status_history where lead_id = ${id} order by stage_order`,
        tx,
      ),
    );
    expect(steps).toEqual([
      { from_status: null, to_status: "new", trigger_type: "system", stage_order: 1 },
      { from_status: "new", to_status: "contacted", trigger_type: "system", stage_order: 2 },
    ]);
  });

  test("history cannot be written by hand; scores are added, never changed", async () => {
    const { id } = await app((tx) => first(lead(), tx));
    const audit = sql<Row>`insert into lead_audit_log (tenant_id, lead_id, field_name) values (${tenant.tenantId}, ${id}, 'city')`;
    await expect(app((tx) => rows(audit, tx))).rejects.toMatchObject(refused(forbidden));
    await app((tx) =>
      sql`insert into lead_score_history (tenant_id, lead_id, score, factors) values (${tenant.tenantId}, ${id}, 85,
      '{"qualification":40,"engagement":25,"intent":15,"demographic":5,"total":85}')`.execute(tx),
    );
    await expect(app((tx) => sql`update lead_score_history set score = 1`.execute(tx))).rejects.toMatchObject(
      refused(forbidden),
    );
  });

  test("a lead is deleted softly: its number is free again, the application cannot delete it for good", async () => {
    const of = await newTenant(database);
    const number = { phone_number: "+12125550000" };
    const { id } = await app((tx) => first(lead(number, of), tx), of);
    await expect(app((tx) => rows(lead(number, of), tx), of)).rejects.toMatchObject(
      refused(duplicate, "idx_leads_phone_unique"),
    );
    await expect(app((tx) => sql`delete from leads where id = ${id}`.execute(tx), of)).rejects.toMatchObject(
      refused(forbidden),
    );
    await app((tx) => sql`update leads set deleted_at = app_now() where id = ${id}`.execute(tx), of);
    await expect(app((tx) => rows(lead(number, of), tx), of)).resolves.toHaveLength(1);
  });

  test("the same number is free in another tenant", async () => {
    const [a, b] = [await newTenant(database), await newTenant(database)];
    for (const of of [a, b]) await app((tx) => rows(lead({ phone_number: "+12125559999" }, of), tx), of);
    expect(await app((tx) => rows(sql`select phone_number from leads`, tx), b)).toHaveLength(1);
  });

  test("costs are not negative, and a period is a month", async () => {
    const cost = (period: string, usd: number) =>
      app((tx) =>
        sql`insert into lead_source_costs (tenant_id, source, period, cost_usd) values (${tenant.tenantId}, 's', ${period}, ${usd})`.execute(
          tx,
        ),
      );
    await expect(cost("2026-01", -0.01)).rejects.toMatchObject(refused(check));
    await expect(cost("2026-13", 1)).rejects.toMatchObject(refused(check));
    await expect(cost("2026-12", 0)).resolves.toBeDefined();
  });

  test("a number is on an organization's list once, and may be on another's", async () => {
    const [a, b] = [await newTenant(database), await newTenant(database)];
    const list = (of: TestTenant) =>
      app(
        (tx) =>
          sql`insert into dnc_list (organization_id, phone_number) values (${of.organizationId}, '+12125558888')`.execute(
            tx,
          ),
        of,
      );
    await list(a);
    await list(b);
    await expect(list(a)).rejects.toMatchObject(refused(duplicate, "dnc_list_phone_unique"));
  });
});

describe("seed 002: raw loads and golden records", () => {
  const writes = [
    [
      "intake.raw_loads",
      sql`insert into intake.raw_loads (tenant_id, batch_id, source, raw_data) values ('t', 'b', 's', '{}')`,
    ],
    ["intake.raw_loads", sql`update intake.raw_loads set status = 'promoted'`],
    ["intake.raw_loads", sql`delete from intake.raw_loads`],
    ["people.master", sql`insert into people.master (tenant_id, email, source) values ('t', 'a@x.example', 's')`],
    ["people.master", sql`update people.master set score = 100`],
    ["people.master", sql`delete from people.master`],
    ["vault.contacts", sql`update vault.contacts set score = 100`],
    ["vault.contacts", sql`delete from vault.contacts`],
    ["intake.audit_log", sql`insert into intake.audit_log (tenant_id, action) values ('t', 'contact_deleted')`],
  ] as const;
  test.each(writes.map(([table, statement], n) => ({ table, statement, n })))(
    "the application may not write $table by itself ($n)",
    async ({ statement }) => {
      await expect(app((tx) => statement.execute(tx))).rejects.toMatchObject({
        code: expect.stringMatching(/^(42501|55000)$/),
      });
    },
  );

  test("the functions write them, for the caller's tenant alone, and log it", async () => {
    const [a, b] = [await newTenant(database), await newTenant(database)];
    await app(
      (tx) => rows(sql`select * from intake.f_ingest_json(array['{"email":"K@X.example"}'::jsonb], 'manual', 'b')`, tx),
      a,
    );
    await app((tx) => rows(sql`select * from vault.f_promote_contacts(null)`, tx), b);
    expect(await app((tx) => rows(sql`select status from intake.raw_loads`, tx), a)).toEqual([{ status: "pending" }]);
    await app((tx) => rows(sql`select * from vault.f_promote_contacts(null)`, tx), a);
    expect(await app((tx) => rows(sql`select email, score, status, tags from vault.contacts`, tx), a)).toEqual([
      { email: "k@x.example", score: "0.00", status: "active", tags: [] },
    ]);
    const actions = await app((tx) => rows(sql`select distinct action from intake.audit_log order by action`, tx), a);
    expect(actions.map(({ action }) => action)).toEqual(["batch_processed", "contact_ingested", "contact_promoted"]);
    expect(await app((tx) => rows(sql`select * from vault.contacts`, tx), b)).toEqual([]);
  });

  test("a changed golden record leaves what it was", async () => {
    const of = await newTenant(database);
    const history = await admin(async (tx) => {
      const { id } = await first(
        sql`insert into people.master (tenant_id, email, source, title) values (${of.tenantId}, 'h@x.example', 's', 'CTO') returning id`,
        tx,
      );
      await sql`update people.master set title = 'CEO' where id = ${id}`.execute(tx);
      return rows(sql`select changed_fields, old_values, new_values from people.history where person_id = ${id}`, tx);
    }, of);
    expect(history).toEqual([
      { changed_fields: ["title"], old_values: { title: "CTO" }, new_values: { title: "CEO" } },
    ]);
  });

  test("intelligence is stale after 30 days, and addresses are stored lower-case", async () => {
    const of = await newTenant(database);
    await admin(async (tx) => {
      const { id } = await first(
        sql`insert into people.master (tenant_id, email, source) values (${of.tenantId}, 'i@x.example', 's') returning id`,
        tx,
      );
      const known = await first(
        sql`insert into people.intelligence (tenant_id, person_id, linkedin_data) values (${of.tenantId}, ${id}, '{}')
          returning round(extract(epoch from stale_at - fetched_at) / 86400)::int as days`,
        tx,
      );
      expect(known).toEqual({ days: 30 });
    }, of);
    const upper = admin(
      (tx) =>
        sql`insert into people.master (tenant_id, email, source) values (${of.tenantId}, 'I2@x.example', 's')`.execute(
          tx,
        ),
      of,
    );
    await expect(upper).rejects.toMatchObject(refused(check));
  });
});

describe("rollback works without data loss", async () => {
  const old = await testDatabase({ empty: true, max: 2 });

  test("undoing the migrations of campaigns and leads keeps their rows in schema archive", async () => {
    await migrate(old.owner, { folder: migrationsFolder });
    const of = await newTenant(old);
    await arrange(old, of.tenantId, async (tx) => rows(enroll(await prepare(tx, of), 1, of), tx));
    await migrate(old.owner, { folder: migrationsFolder, direction: "down", to: "0004" });
    const { rows: kept } = await sql<{ name: string }>`
      select regexp_replace(relname, '_\\d{20}$', '') as name from pg_class
      where relnamespace = 'archive'::regnamespace and relkind = 'r' order by 1`.execute(old.owner);
    expect(kept.map(({ name }) => name)).toEqual([
      "campaign_plan_versions",
      "contact_campaigns",
      "contact_channels",
      "contacts",
      "email_sender_identities",
      "lead_status_history",
      "leads",
      "marketing_campaigns",
    ]);
  });
});
