/** The seeds' documented statements run word for word as the application, inside a tenant's transaction; where one is wrong, it is shown to be. */
import { CompiledQuery, type Kysely, sql } from "kysely";
import { beforeAll, describe, expect, test } from "vitest";
import type { DB } from "../../../core/db/types.gen.ts";
import { transact } from "../../../core/kernel/context.ts";
import { testDatabase } from "../../support/database.ts";
import { arrange, newTenant, type TestTenant } from "../../support/tenant.ts";
import { statements } from "./statements.ts";

const database = await testDatabase();
type Row = Readonly<Record<string, unknown>>;

const ran = new Set<string>();
const text = (id: string, form: "stated" | "corrected"): string => {
  ran.add(id);
  const found = statements[id]?.[form];
  if (found === undefined) throw new Error(`no ${form} statement ${id}`);
  return found;
};

const execute = async (
  db: Kysely<DB>,
  statement: string,
  parameters: readonly unknown[] = [],
): Promise<readonly Row[]> => (await db.executeQuery<Row>(CompiledQuery.raw(statement, [...parameters]))).rows;

/** As the seed writes it. */
const stated = (tenant: TestTenant, id: string, parameters: readonly unknown[] = []): Promise<readonly Row[]> =>
  transact(tenant, ({ db }) => execute(db, text(id, "stated"), parameters));
/** With the defect taken out. */
const corrected = (tenant: TestTenant, id: string, parameters: readonly unknown[] = []): Promise<readonly Row[]> =>
  transact(tenant, ({ db }) => execute(db, text(id, "corrected"), parameters));

const plan = (rows: readonly Row[]): string => rows.map((row) => String(row["QUERY PLAN"])).join("\n");
const column = (rows: readonly Row[], name: string): readonly unknown[] => rows.map((row) => row[name]);

interface Lead {
  readonly status?: string;
  readonly score?: number;
  readonly tags?: readonly string[];
  readonly source?: string;
  readonly user?: string;
  readonly deleted?: boolean;
  readonly lastAttempt?: string;
}

/** @returns the new leads' ids, in order */
const leads = (tenant: TestTenant, list: readonly Lead[]): Promise<readonly string[]> =>
  arrange(database, tenant.tenantId, async (tx) => {
    const rows = list.map((lead) => ({
      tenant_id: tenant.tenantId,
      organization_id: tenant.organizationId,
      source_type: "manual",
      status: lead.status ?? "new",
      lead_score: lead.score ?? 0,
      tags: [...(lead.tags ?? [])],
      source: lead.source ?? null,
      user_id: lead.user ?? null,
      deleted_at: lead.deleted ? sql<Date>`app_now()` : null,
      last_attempt_at: lead.lastAttempt ?? null,
    }));
    return (await tx.insertInto("leads").values(rows).returning("id").execute()).map(({ id }) => id);
  });

const move = (tenant: TestTenant, ids: readonly string[], status: string): Promise<unknown> =>
  arrange(database, tenant.tenantId, (tx) =>
    tx.updateTable("leads").set({ status }).where("id", "in", ids).where("tenant_id", "=", tenant.tenantId).execute(),
  );

describe("seed 002", async () => {
  const tenant = await newTenant(database);
  let load = "";

  test("f_ingest_json takes a row and says so, then the summary; the second time it is a duplicate", async () => {
    const first = await stated(tenant, "002.Q.ingest_call");
    load = String(first[0]?.["load_id"]);
    expect(first).toEqual([
      { load_id: expect.stringMatching(/^load_/), status: "success", message: "ingested" },
      { load_id: null, status: "success", message: "1 inserted, 0 skipped (0 duplicates, 0 refused)" },
    ]);
    expect(await stated(tenant, "002.Q.ingest_call")).toMatchObject([
      { status: "success", message: "duplicate of the last 30 days" },
      { load_id: null, message: "0 inserted, 1 skipped (1 duplicates, 0 refused)" },
    ]);
  });

  test("pending contacts are the ones not promoted yet", async () => {
    expect(await stated(tenant, "002.Q.pending")).toEqual([
      { load_id: load, batch_id: "batch-123", email: "john@example.com", created_at: expect.any(Date) },
    ]);
  });

  test("f_promote_contacts takes ids of loads, which are texts here (C-04)", async () => {
    await expect(stated(tenant, "002.Q.promote_call")).rejects.toMatchObject({ code: "42883" });
    expect(await corrected(tenant, "002.Q.promote_call", [[load]])).toEqual([
      { promoted_count: 1, updated_count: 0, failed_count: 0, message: expect.any(String) },
    ]);
    expect(await stated(tenant, "002.Q.pending")).toEqual([]);
    expect(await corrected(tenant, "002.Q.promote_call", [[load]])).toMatchObject([{ promoted_count: 0 }]);
  });

  test("recent promotions and the last seven days leave out what is older", async () => {
    await arrange(database, tenant.tenantId, (tx) =>
      sql`insert into people.master (tenant_id, email, source, created_at)
        select ${tenant.tenantId}, e, 'manual', app_now() - age
        from (values ('week@x.example', interval '6 days'), ('old@x.example', interval '8 days')) v(e, age)`.execute(
        tx,
      ),
    );
    expect(column(await stated(tenant, "002.Q.recent_promotions"), "email")).toEqual(["john@example.com"]);
    const week = column(await stated(tenant, "002.Q.last_7_days"), "email");
    expect(week.toSorted()).toEqual(["john@example.com", "week@x.example"]);
  });

  test("high-value leads are active ones from 80 on, best first, with their company", async () => {
    await arrange(database, tenant.tenantId, async (tx) => {
      await sql`update people.master set score = 80 where tenant_id = ${tenant.tenantId} and email = 'john@example.com'`.execute(
        tx,
      );
      await sql`insert into people.master (tenant_id, email, source, score, status)
        values (${tenant.tenantId}, 'best@x.example', 'manual', 99.5, 'active'), (${tenant.tenantId}, 'gone@x.example', 'manual', 90, 'bounced'),
               (${tenant.tenantId}, 'below@x.example', 'manual', 79.99, 'active')`.execute(tx);
      await sql`update company.master set name = 'Example' where tenant_id = ${tenant.tenantId} and domain = 'example.com'`.execute(
        tx,
      );
    });
    expect(await stated(tenant, "002.Q.high_value")).toEqual([
      { email: "best@x.example", name: null, company: null, score: "99.50", status: "active" },
      { email: "john@example.com", name: "John Doe", company: "Example", score: "80.00", status: "active" },
    ]);
  });

  test("campaign performance counts active campaigns, best rate first; no sends, no rate", async () => {
    await arrange(database, tenant.tenantId, (tx) =>
      sql`insert into marketing.campaigns (tenant_id, name, status, sent_count, response_count)
        values (${tenant.tenantId}, 'a', 'active', 200, 30), (${tenant.tenantId}, 'b', 'active', 3, 1),
               (${tenant.tenantId}, 'c', 'active', 0, 0), (${tenant.tenantId}, 'd', 'paused', 10, 10)`.execute(tx),
    );
    const rows = await stated(tenant, "002.Q.campaign_performance");
    expect(rows.map((row) => [row["name"], row["response_rate"]])).toEqual([
      ["c", null],
      ["b", "33.33"],
      ["a", "15.00"],
    ]);
  });

  test("an e-mail look-up uses the index on e-mail, under row-level security", async () => {
    await arrange(database, tenant.tenantId, (tx) =>
      sql`insert into people.master (tenant_id, email, source, created_at)
        select ${tenant.tenantId}, 'p' || n || '@many.example', 'manual', app_now() - interval '1 year' from generate_series(1, 3000) n`.execute(
        tx,
      ),
    );
    await sql`analyze people.master`.execute(database.owner);
    expect(plan(await stated(tenant, "002.Q.email_lookup"))).toContain("idx_people_email");
  });

  test("the application cannot take a role; an administrator does, for one transaction, and gives it back", async () => {
    await expect(stated(tenant, "002.P.bypass")).rejects.toMatchObject({ code: "42501" });
    const roles = await arrange(database, tenant.tenantId, async (tx) => {
      const role = async () => column(await execute(tx, "select current_user::text as role"), "role")[0];
      await execute(tx, text("002.P.bypass", "corrected"));
      const taken = await role();
      await sql`update intake.raw_loads set metadata = metadata || '{"seen": true}' where load_id = ${load}`.execute(
        tx,
      );
      await execute(tx, text("002.P.bypass_reset", "stated"));
      return [taken, await role()];
    });
    expect(roles[0]).toBe("outrider_owner");
    expect(roles[1]).not.toBe("outrider_owner");
  });
});

describe("seed 004", () => {
  let tenant: TestTenant;
  beforeAll(async () => {
    tenant = await newTenant(database);
  });

  test("tags: any of them, all of them, and never a deleted lead", async () => {
    const [facebook, hot] = await leads(tenant, [
      { tags: ["facebook"] },
      { tags: ["hot", "referral", "linkedin"] },
      { tags: ["hot"] },
      { tags: ["hot", "referral", "facebook"], deleted: true },
    ]);
    expect(column(await stated(tenant, "004.Q.tags_any"), "id").toSorted()).toEqual([facebook, hot].toSorted());
    expect(column(await stated(tenant, "004.Q.tags_all"), "id")).toEqual([hot]);
  });

  test("hot leads come best first, and of equals the one last spoken to", async () => {
    const own = await newTenant(database);
    const ids = await leads(own, [
      { status: "hot", score: 70, lastAttempt: "2026-01-01T00:00:00Z" },
      { status: "qualified", score: 95 },
      { status: "hot", score: 70, lastAttempt: "2026-02-01T00:00:00Z" },
      { status: "hot", score: 69 },
      { status: "contacted", score: 99 },
      { status: "hot", score: 100, deleted: true },
    ]);
    expect(column(await stated(own, "004.Q.hot_leads"), "id")).toEqual([ids[1], ids[2], ids[0]]);
  });

  test("a number on the do-not-call list is on it for its organization", async () => {
    await arrange(database, tenant.tenantId, (tx) =>
      sql`insert into dnc_list (organization_id, phone_number) values (${tenant.organizationId}, '+12125551234')`.execute(
        tx,
      ),
    );
    const other = await newTenant(database);
    expect(await corrected(tenant, "004.Q.dnc_check", [tenant.organizationId])).toEqual([{ is_on_dnc_list: true }]);
    expect(await corrected(other, "004.Q.dnc_check", [other.organizationId])).toEqual([{ is_on_dnc_list: false }]);
    expect(await corrected(other, "004.Q.dnc_check", [tenant.organizationId])).toEqual([{ is_on_dnc_list: false }]);
    expect(await stated(tenant, "004.Q.dnc_check")).toEqual([{ is_on_dnc_list: false }]);
  });

  test("the funnel compares each stage with the one before it, over 30 days (D-05)", async () => {
    const own = await newTenant(database);
    const ids = await leads(
      own,
      Array.from({ length: 9 }, () => ({})),
    );
    await move(own, ids.slice(0, 4), "contacted");
    await move(own, ids.slice(0, 2), "qualified");
    await move(own, ids.slice(0, 1), "recruited");
    await arrange(database, own.tenantId, (tx) =>
      sql`update lead_status_history set changed_at = app_now() - interval '31 days' where lead_id = ${ids[8]}`.execute(
        tx,
      ),
    );
    await expect(stated(own, "004.Q.funnel")).rejects.toMatchObject({ code: "42803" });
    const rows = await corrected(own, "004.Q.funnel");
    expect(rows.map((row) => [row["to_status"], Number(row["count"]), row["conversion_rate"]])).toEqual([
      ["new", 8, null],
      ["contacted", 4, 0.5],
      ["qualified", 2, 0.5],
      ["recruited", 1, 0.5],
    ]);
    const counted = await stated(own, "004.Q.funnel.window");
    expect(Object.fromEntries(counted.map((row) => [row["to_status"], Number(row["count"])]))).toEqual({
      new: 8,
      contacted: 4,
      qualified: 2,
      recruited: 1,
    });
  });

  describe("return on investment by source (D-06)", async () => {
    const own = await newTenant(database);
    const user = String(own.actor.id);
    beforeAll(async () => {
      await leads(own, [
        { source: "facebook", user, status: "recruited" },
        { source: "facebook", user },
        { source: "facebook", user, deleted: true, status: "recruited" },
        { source: "referral", user },
      ]);
      await arrange(database, own.tenantId, (tx) =>
        sql`insert into lead_source_costs (tenant_id, user_id, source, period, cost_usd)
          values (${own.tenantId}, ${user}, 'facebook', '2026-01', 100), (${own.tenantId}, ${user}, 'facebook', '2026-02', 100)`.execute(
          tx,
        ),
      );
    });

    const facebook = (rows: readonly Row[]): Row | undefined => rows.find((row) => row["source"] === "facebook");
    const parts = [
      ["004.Q.roi", "total_leads", 6, 2],
      ["004.Q.roi.recruited", "recruited", 4, 1],
      ["004.Q.roi.total_cost", "total_cost", 600, 200],
      ["004.Q.roi.cost_per_lead", "cost_per_lead", 100, 100],
      ["004.Q.roi.conversion_rate", "conversion_rate", 4 / 6, 0.5],
      ["004.Q.roi.cost_per_recruit", "cost_per_recruit", 150, 200],
    ] as const;
    test.each(parts)("%s: %s is %d as stated, which is wrong, and %d corrected", async (id, name, wrong, right) => {
      expect(Number(facebook(await stated(own, id, [user]))?.[name])).toBeCloseTo(wrong);
      expect(Number(facebook(await corrected(own, id, [user]))?.[name])).toBeCloseTo(right);
    });

    test("a source that cost nothing costs nothing, per lead and in all", async () => {
      const rows = await corrected(own, "004.Q.roi", [user]);
      expect(rows.find((row) => row["source"] === "referral")).toMatchObject({
        total_leads: "1",
        recruited: "0",
        conversion_rate: 0,
        cost_per_recruit: null,
      });
    });
  });

  test("the timeline of a lead lists its last changes, newest first", async () => {
    const [id = ""] = await leads(tenant, [{}]);
    for (const status of ["contacted", "qualified"]) await move(tenant, [id], status);
    const rows = await stated(tenant, "004.Q.timeline", [id]);
    expect(rows.map((row) => [row["type"], row["summary"]])).toEqual([
      ["status_change", "qualified"],
      ["status_change", "contacted"],
      ["status_change", "new"],
    ]);
  });

  test("leads come with their history in one statement, grouped by the whole key", async () => {
    const own = await newTenant(database);
    const [id = ""] = await leads(own, [{}]);
    await move(own, [id], "contacted");
    await expect(stated(own, "004.Q.no_n_plus_1")).rejects.toMatchObject({ code: "42803" });
    const rows = await corrected(own, "004.Q.no_n_plus_1");
    expect(rows).toMatchObject([{ id, status: "contacted" }]);
    const history = rows[0]?.["status_history"] as readonly { readonly to_status: string }[];
    expect(history.map((one) => one.to_status).toSorted()).toEqual(["contacted", "new"]);
  });

  test("a plan can be asked for, and shows the tenant's fence", async () => {
    const shown = plan(await stated(tenant, "004.Q.explain"));
    expect(shown).toMatch(/Scan .*leads/);
    expect(shown).toContain("app.tenant_id");
  });

  test("the tables of the lead can be seen", async () => {
    const names = column(await stated(tenant, "004.Q.verify_tables"), "table_name");
    expect(names).toEqual(
      expect.arrayContaining([
        "leads",
        "lead_audit_log",
        "lead_status_history",
        "lead_score_history",
        "lead_assignments",
        "lead_source_costs",
        "lead_sequence_enrollments",
      ]),
    );
  });

  test("users see their tenant's leads alone", async () => {
    const [a, b] = [await newTenant(database), await newTenant(database)];
    const [mine = ""] = await leads(a, [{}]);
    await leads(b, [{}, {}]);
    expect(column(await stated(a, "004.P.only_own"), "id")).toEqual([mine]);
    expect(await stated(b, "004.P.only_own")).toHaveLength(2);
  });

  test("set_config in the transaction, not SET: a SET stays on the connection for whoever gets it next", async () => {
    const own = await newTenant(database);
    const [mine = ""] = await leads(own, [{}]);
    const seen = async (db: Kysely<DB>) => column(await execute(db, text("004.P.only_own", "stated")), "id");
    await database.db.connection().execute(async (db) => {
      await execute(db, text("004.P.set_tenant", "stated"));
      expect(await seen(db), "the seed's setting opens nothing").toEqual([]);
      await execute(db, "reset app.current_tenant_id");

      await db.transaction().execute((tx) => execute(tx, `set app.tenant_id = '${own.tenantId}'`));
      expect(await seen(db), "after the transaction a SET still shows the tenant's rows").toEqual([mine]);
      await execute(db, "reset app.tenant_id");

      const inside = await db.transaction().execute(async (tx) => {
        await execute(tx, text("004.P.set_tenant", "corrected"), [own.tenantId]);
        return seen(tx);
      });
      expect(inside).toEqual([mine]);
      expect(await seen(db), "set_config(…, true) ends with its transaction").toEqual([]);
    });
  });
});

test("every documented statement was run", () => {
  expect(Object.keys(statements).filter((id) => !ran.has(id))).toEqual([]);
  const corrections = Object.entries(statements).filter(
    ([, { corrected, why }]) => (corrected === undefined) !== (why === undefined),
  );
  expect(corrections).toEqual([]);
});
