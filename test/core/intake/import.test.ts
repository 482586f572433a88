import { sql } from "kysely";
import { describe, expect, it } from "vitest";
import {
  createImport,
  getImport,
  ingest,
  type Limits,
  listImports,
  listLoads,
  promote,
  rejectedRows,
  runImport,
  runImports,
} from "../../../core/intake/index.ts";
import { claim, transact, work } from "../../../core/kernel/index.ts";
import { grantConsent, listConsents, revokeConsent } from "../../../core/suppression/index.ts";
import { define } from "../../../functions/imports.ts";
import type { Host } from "../../../functions/lib/runtime.ts";
import { testDatabase } from "../../support/database.ts";
import { runs } from "../../support/runs.ts";
import { newTenant, type TestTenant } from "../../support/tenant.ts";
import { deps, people, stream, unlimited } from "./bytes.ts";

const database = await testDatabase();

const rowsOf = async <T>(ctx: TestTenant, query: string): Promise<T[]> =>
  transact(ctx, async ({ db }) => (await sql.raw<T>(query).execute(db)).rows);
const count = async (ctx: TestTenant, table: string, where = "true"): Promise<number> =>
  (
    await rowsOf<{ n: number }>(
      ctx,
      `select count(*)::int as n from ${table} where tenant_id = '${ctx.tenantId}' and ${where}`,
    )
  )[0]?.n ?? -1;
const load = (ctx: TestTenant, rows: Record<string, unknown>[], source = "apollo") =>
  ingest(ctx, { rows, source, promote: true });

async function importText(ctx: TestTenant, text: string, given = {}) {
  const d = deps();
  const { id } = await createImport(d, ctx, { source: "list", fileName: "list.csv", ...given }, stream(text));
  const outcomes = await runImports(d, ctx, [id], unlimited);
  return { d, id, outcomes, view: await getImport(ctx, { id: id }) };
}

/** Time for `chunks` chunks, then none. */
const limitedTo = (chunks: number): Limits => {
  let asked = -1;
  return { remainingMs: () => (asked++ < chunks ? 600_000 : 0) };
};

const mixed = [
  "email,name,phone,company,sms consent",
  "Ada@acme.example,Ada Lovelace,202-555-0123,Acme,yes",
  ",Nobody,,,",
  "not-an-address,X,,,",
  "bob@acme.example,Bob,123,Acme,no",
  "ADA@ACME.EXAMPLE,Ada again,,Acme,",
  "cy@acme.example,Cy",
  "=1+1@x,F,,,",
].join("\n");

describe("an import", () => {
  it("keeps every row with what became of it", async () => {
    const ctx = await newTenant(database);
    const { id, outcomes, view } = await importText(ctx, mixed);
    expect(outcomes).toEqual([{ id, kind: "completed" }]);
    expect(view).toMatchObject({
      status: "completed",
      format: "csv",
      rows: { read: 7, accepted: 2, duplicate: 1, rejected: 4, promoted: 2, warned: 2 },
    });
    const loads = await listLoads(ctx, { importId: id });
    expect(loads.data.map(({ row, status, reason }) => [row, status, reason])).toEqual([
      [1, "promoted", null],
      [2, "failed", "no e-mail address"],
      [3, "failed", 'e-mail address "not-an-address" is malformed'],
      [4, "promoted", null],
      [5, "duplicate", "duplicate_30_days"],
      [6, "failed", "row has 2 cells, the header has 5 columns"],
      [7, "failed", 'e-mail address "=1+1@x" is malformed'],
    ]);
    expect(loads.data[4]?.repeats).toBe(loads.data[0]?.id);
    expect(loads.data[3]?.warnings).toEqual(['phone "123" is not a possible number; accepted without it']);
    expect((await listImports(ctx, {})).data.map((item) => item.id)).toEqual([id]);
  });

  it("gives the refused rows back as a CSV that no spreadsheet will run", async () => {
    const ctx = await newTenant(database);
    const { id } = await importText(ctx, mixed);
    let text = "";
    for await (const line of rejectedRows(ctx, id)) text += line;
    const lines = text.trimEnd().split("\r\n");
    expect(lines).toHaveLength(6);
    expect(lines[0]).toBe('\uFEFF"row","status","reason","company","email","name","phone","sms consent"');
    expect(lines.at(-1)).toContain(`"'=1+1@x","F"`);
  });

  it("stores the file as an artifact with its checksum under the tenant's prefix", async () => {
    const ctx = await newTenant(database);
    const { id, d } = await importText(ctx, mixed);
    const [artifact] = await rowsOf<Record<string, unknown>>(ctx, "select * from artifacts");
    expect(artifact).toMatchObject({
      artifact_type: "csv_import",
      object_path: `t/${ctx.tenantId}/imports/${id}`,
      mime_type: "text/csv",
    });
    expect(artifact?.["checksum"]).toMatch(/^[0-9a-f]{64}$/);
    expect(Buffer.from(await d.blobs.get(`t/${ctx.tenantId}/imports/${id}`)).toString()).toBe(mixed);
  });

  it("writes company, person, lead, contact, channels, consent and audit", async () => {
    const ctx = await newTenant(database);
    const { id } = await importText(
      ctx,
      "email,first name,last name,phone,company,website,industry,revenue,employees,state,zip,sms consent,colour\nada@acme.example,Ada,Lovelace,202-555-0123,Acme,acme.example,Software,1.2B,5000,MN,55101,yes,blue\n",
    );
    expect(
      await rowsOf(ctx, "select domain, name, industry, revenue::text, employee_count from company.master"),
    ).toEqual([
      { domain: "acme.example", name: "Acme", industry: "Software", revenue: "1200000000", employee_count: 5000 },
    ]);
    expect(
      await rowsOf(ctx, "select email, name, phone, state, postal_code, custom_fields from people.master"),
    ).toEqual([
      {
        email: "ada@acme.example",
        name: "Ada Lovelace",
        phone: "+12025550123",
        state: "MN",
        postal_code: "55101",
        custom_fields: { colour: "blue" },
      },
    ]);
    expect(
      await rowsOf(ctx, "select source_type, import_run_id, email, phone_number, name, status from leads"),
    ).toEqual([
      {
        source_type: "csv_import",
        import_run_id: id,
        email: "ada@acme.example",
        phone_number: "+12025550123",
        name: "Ada Lovelace",
        status: "new",
      },
    ]);
    expect(await rowsOf(ctx, "select channel, address, is_primary from contact_channels order by channel")).toEqual([
      { channel: "email", address: "ada@acme.example", is_primary: true },
      { channel: "sms", address: "+12025550123", is_primary: true },
    ]);
    expect(await rowsOf(ctx, "select channel, address, basis from consents")).toEqual([
      { channel: "sms", address: "+12025550123", basis: "express_written" },
    ]);
    expect(await rowsOf(ctx, "select to_status, trigger_type from lead_status_history")).toEqual([
      { to_status: "new", trigger_type: "import" },
    ]);
    expect(await rowsOf(ctx, "select action from intake.audit_log order by action")).toEqual([
      { action: "batch_processed" },
      { action: "contact_ingested" },
      { action: "contact_promoted" },
    ]);
  });

  it("can leave its loads pending", async () => {
    const ctx = await newTenant(database);
    const { view } = await importText(ctx, mixed, { options: { promote: false } });
    expect(view.rows).toMatchObject({ accepted: 2, promoted: 0 });
    expect(await count(ctx, "people.master")).toBe(0);
    expect(await promote(ctx, {})).toMatchObject({ promoted: 2, updated: 0 });
    expect(await promote(ctx, {})).toMatchObject({ promoted: 0, updated: 0 });
  });

  it("fails with the reason when the file as a whole cannot be read", async () => {
    const ctx = await newTenant(database);
    const { outcomes, view } = await importText(ctx, "name,phone\nAda,1\n");
    expect(outcomes[0]?.kind).toBe("failed");
    expect(view).toMatchObject({
      status: "failed",
      lastError: expect.stringContaining("No column holds e-mail addresses"),
    });
    await expect(
      createImport(deps(), ctx, { source: "x" }, stream(Buffer.from("1f8b08", "hex"))),
    ).rejects.toMatchObject({ code: "import.format_unknown" });
    expect(await count(ctx, "imports")).toBe(1);
  });

  it("runs from a bell through its queue handler", async () => {
    const ctx = await newTenant(database);
    const d = deps();
    const { id } = await createImport(d, ctx, { source: "list" }, stream(mixed));
    const quiet = { info() {}, warn() {}, error() {}, debug() {}, metric() {}, with: () => quiet };
    const host = { ...d, log: quiet, contextFor: () => ctx } as unknown as Host;
    const record = {
      messageId: "m1",
      body: JSON.stringify({ v: 1, tenantId: ctx.tenantId, ids: [id] }),
      attributes: {},
    };
    const answer = await define(host)(
      { Records: [record] } as never,
      { awsRequestId: "r", getRemainingTimeInMillis: () => 600_000 } as never,
    );
    expect(answer).toEqual({ batchItemFailures: [] });
    expect((await getImport(ctx, { id: id })).status).toBe("completed");
  });
});

describe("interrupted", () => {
  /** Chunks of 1,000 rows before the last. */
  const whole = runs(1, 3);

  it.each(Array.from({ length: whole + 1 }, (_, n) => n))(
    "after %i chunks it goes on at the next row: no doubles, equal totals",
    async (chunks) => {
      const ctx = await newTenant(database);
      const d = deps();
      const rows = whole * 1_000 + 500;
      const { id } = await createImport(d, ctx, { source: "list" }, people(1, rows));
      const first = await runImports(d, ctx, [id], limitedTo(chunks + 1));
      if (chunks < whole) expect(first).toEqual([{ id, kind: "paused" }]);
      if (chunks < whole) expect(d.queue.drain()).toEqual([{ kind: "imports", tenantId: ctx.tenantId, ids: [id] }]);
      await runImports(d, ctx, [id], unlimited);
      expect((await getImport(ctx, { id: id })).rows).toEqual({
        read: rows,
        accepted: rows,
        duplicate: 0,
        rejected: 0,
        promoted: rows,
        warned: 0,
      });
      expect(await count(ctx, "intake.raw_loads")).toBe(rows);
      expect(await count(ctx, "leads")).toBe(rows);
    },
  );

  it("by the death of its connections, mid-transaction, it resumes when its lease has run out", async () => {
    const rows = 3_500;
    const ctx = await newTenant(database);
    const d = deps();
    const { id } = await createImport(d, ctx, { source: "list" }, people(1, rows));
    const kill = sql`select pg_terminate_backend(pid) from pg_stat_activity
      where usename = 'outrider_app' and datname = current_database() and state <> 'idle'`;
    for (let kills = 0; kills < runs(1, 3); kills += 1) {
      const [claimed] = await transact(ctx, ({ db }) => claim(db, ctx.tenantId, work.imports, { ids: [id], limit: 1 }));
      if (!claimed) throw new Error("the import cannot be claimed");
      let streamed = 0;
      const dying = {
        ...d.blobs,
        async *stream(key: string) {
          for await (const chunk of people(1, rows)) {
            yield chunk;
            streamed += 1;
            if (streamed === 4 + kills) await kill.execute(database.owner);
            if (streamed > 5 + kills) throw new Error(`the worker of ${key} died`);
          }
        },
      };
      await expect(runImport({ blobs: dying }, ctx, claimed, unlimited)).rejects.toThrow();
      await sql`update imports set status = 'running', lease_until = app_now() - interval '1 second' where id = ${id}`.execute(
        database.owner,
      );
    }
    expect(await runImports(d, ctx, [id], unlimited)).toEqual([{ id, kind: "completed" }]);
    expect((await getImport(ctx, { id: id })).rows).toEqual({
      read: rows,
      accepted: rows,
      duplicate: 0,
      rejected: 0,
      promoted: rows,
      warned: 0,
    });
    expect(await count(ctx, "intake.raw_loads")).toBe(rows);
  });

  it("a worker whose claim was taken over writes nothing", async () => {
    const ctx = await newTenant(database);
    const d = deps();
    const { id } = await createImport(d, ctx, { source: "list" }, people(1, 100));
    const take = () => transact(ctx, ({ db }) => claim(db, ctx.tenantId, work.imports, { ids: [id], limit: 1 }));
    const [old] = await take();
    await sql`update imports set lease_until = app_now() - interval '1 second' where id = ${id}`.execute(
      database.owner,
    );
    const [current] = await take();
    if (!old || !current) throw new Error("the import cannot be claimed");
    expect(await runImport(d, ctx, old, unlimited)).toEqual({ id, kind: "superseded" });
    expect(await count(ctx, "intake.raw_loads")).toBe(0);
    expect(await runImport(d, ctx, current, unlimited)).toEqual({ id, kind: "completed" });
  });
});

describe("duplicates", () => {
  it("are found for 30 days, within a call, and not across tenants", async () => {
    const ctx = await newTenant(database);
    const other = await newTenant(database);
    const row = { email: "ada@acme.example" };
    expect(await load(ctx, [row, { email: "ADA@acme.example" }])).toMatchObject({ accepted: 1, duplicates: 1 });
    expect(await load(ctx, [row])).toMatchObject({ accepted: 0, duplicates: 1 });
    expect(await load(other, [row])).toMatchObject({ accepted: 1, duplicates: 0 });
    await sql`update intake.raw_loads set created_at = created_at - interval '31 days' where tenant_id = ${ctx.tenantId}`.execute(
      database.owner,
    );
    expect(await load(ctx, [row])).toMatchObject({ accepted: 1, updated: 1 });
  });

  it("of two imports at once are accepted once", async () => {
    const ctx = await newTenant(database);
    const d = deps();
    const ids = await Promise.all(
      [1, 2].map(async () => (await createImport(d, ctx, { source: "list" }, people(1, 1_500))).id),
    );
    await Promise.all(ids.map((id) => runImports(d, ctx, [id], unlimited)));
    const views = await Promise.all(ids.map((id) => getImport(ctx, { id: id })));
    expect(views.reduce((sum, { rows }) => sum + rows.accepted, 0)).toBe(1_500);
    expect(views.reduce((sum, { rows }) => sum + rows.duplicate, 0)).toBe(1_500);
    expect(await count(ctx, "leads")).toBe(1_500);
  });

  it("of a refused row are not duplicates", async () => {
    const ctx = await newTenant(database);
    const { rows } = await transact(ctx, ({ db }) =>
      sql<{ message: string }>`select message from intake.f_ingest_rows(
        array['{}', '{}']::jsonb[], array['a@x.example', 'a@x.example'], array['{"problem":"refused"}', '{}']::jsonb[], 's', 'b')`.execute(
        db,
      ),
    );
    expect(rows.map(({ message }) => message).slice(0, 2)).toEqual(["refused", "ingested"]);
  });
});

describe("promotion", () => {
  it("lets the newest value win, except over what a person entered", async () => {
    const ctx = await newTenant(database);
    const again = () =>
      sql`update intake.raw_loads set created_at = created_at - interval '31 days' where tenant_id = ${ctx.tenantId}`.execute(
        database.owner,
      );
    const seen = () =>
      rowsOf(
        ctx,
        "select p.title, p.department, c.name as company from people.master p join company.master c on c.id = p.company_id",
      );
    await load(ctx, [{ email: "a@acme.example", title: "CTO", department: "IT", company: "Acme" }]);
    await again();
    await load(ctx, [{ email: "a@acme.example", title: "CEO", company: "Acme Inc" }], "manual");
    expect(await seen()).toEqual([{ title: "CEO", department: "IT", company: "Acme Inc" }]);
    await again();
    await load(ctx, [{ email: "a@acme.example", title: "Janitor", department: "Facilities", company: "Other" }]);
    expect(await seen()).toEqual([{ title: "CEO", department: "Facilities", company: "Acme Inc" }]);
    expect(await rowsOf(ctx, "select changed_fields, old_values from people.history order by history_id")).toEqual([
      { changed_fields: expect.arrayContaining(["title"]), old_values: expect.objectContaining({ title: "CTO" }) },
      {
        changed_fields: expect.arrayContaining(["department"]),
        old_values: expect.objectContaining({ department: "IT" }),
      },
    ]);
    expect(await count(ctx, "leads")).toBe(1);
    expect(await count(ctx, "contacts")).toBe(1);
  });

  it("gives consent to the number it came with, and makes the number in force primary", async () => {
    const ctx = await newTenant(database);
    await load(ctx, [{ email: "a@acme.example", phone: "+12025550101", sms_consent: "yes" }]);
    await sql`update intake.raw_loads set created_at = created_at - interval '31 days' where tenant_id = ${ctx.tenantId}`.execute(
      database.owner,
    );
    await load(ctx, [{ email: "a@acme.example", phone: "+12025550102" }]);
    expect(
      await rowsOf(ctx, "select address, is_primary from contact_channels where channel = 'sms' order by address"),
    ).toEqual([
      { address: "+12025550101", is_primary: false },
      { address: "+12025550102", is_primary: true },
    ]);
    expect(await rowsOf(ctx, "select address from consents")).toEqual([{ address: "+12025550101" }]);
  });

  it("never gives back a consent that was revoked, and says so in the log", async () => {
    const ctx = await newTenant(database);
    const phone = "+12025550101";
    await load(ctx, [{ email: "a@acme.example", phone, sms_consent: "yes" }]);
    const { data } = await listConsents(ctx, {});
    await revokeConsent(ctx, { id: data[0]?.id as never });
    await load(ctx, [{ email: "b@acme.example", phone, sms_consent: "yes" }]);
    expect(await rowsOf(ctx, "select revoked_at is null as holds from consents")).toEqual([{ holds: false }]);
    expect(
      await rowsOf(ctx, "select details -> 'sms_consent' as said from intake.audit_log where contact_id is not null"),
    ).toEqual([{ said: null }, { said: "not recorded: it was revoked before" }]);
    // By hand, with its evidence, it counts; and then a list says nothing new.
    await grantConsent(ctx, { channel: "sms", address: phone, basis: "express_written", source: "a call" });
    await load(ctx, [{ email: "c@acme.example", phone, sms_consent: "yes" }]);
    expect(await rowsOf(ctx, "select count(*)::int as n from consents")).toEqual([{ n: 2 }]);
  });

  it("leaves a phone number with the lead that has it", async () => {
    const ctx = await newTenant(database);
    await load(ctx, [
      { email: "a@acme.example", phone: "+12025550101" },
      { email: "b@acme.example", phone: "+12025550101" },
    ]);
    await load(ctx, [{ email: "c@acme.example", phone: "+12025550101" }]);
    expect(await rowsOf(ctx, "select email, phone_number from leads order by email")).toEqual([
      { email: "a@acme.example", phone_number: "+12025550101" },
      { email: "b@acme.example", phone_number: null },
      { email: "c@acme.example", phone_number: null },
    ]);
    expect(await count(ctx, "contact_channels", "channel = 'sms'")).toBe(3);
  });

  it("is not stopped by values that no index could hold", async () => {
    const ctx = await newTenant(database);
    const long = "x".repeat(100_000);
    await transact(ctx, ({ db }) =>
      sql`select * from intake.f_ingest_json(array[${JSON.stringify({ email: "a@x.example", name: long, company: long, linkedin_url: long })}::jsonb], 's', 'b')`.execute(
        db,
      ),
    );
    expect(await promote(ctx, {})).toMatchObject({ promoted: 1 });
  });
});

describe("the seeds' own statements", () => {
  it("ingest, promote and read as documented", async () => {
    const ctx = await newTenant(database);
    const ingested = await rowsOf<{ load_id: string | null; status: string; message: string }>(
      ctx,
      `SELECT * FROM intake.f_ingest_json(
         p_rows := ARRAY['{"email":"john@example.com","name":"John Doe"}'::jsonb],
         p_source := 'apollo',
         p_batch_id := 'batch-123'
       );`,
    );
    expect(ingested.map(({ status, message }) => [status, message])).toEqual([
      ["success", "ingested"],
      ["success", "1 inserted, 0 skipped (0 duplicates, 0 refused)"],
    ]);
    expect(
      await rowsOf(
        ctx,
        `SELECT load_id, batch_id, raw_data->>'email' as email, created_at
         FROM intake.raw_loads
         WHERE status = 'pending'
         ORDER BY created_at DESC
         LIMIT 100;`,
      ),
    ).toMatchObject([{ batch_id: "batch-123", email: "john@example.com" }]);
    expect(
      await rowsOf(ctx, `SELECT * FROM vault.f_promote_contacts(p_load_ids := ARRAY['${ingested[0]?.load_id}']);`),
    ).toMatchObject([{ promoted_count: 1, updated_count: 0, failed_count: 0 }]);
    expect(
      await rowsOf(
        ctx,
        `SELECT c.contact_id, c.email, c.name, c.created_at
         FROM vault.contacts c
         WHERE c.created_at > NOW() - INTERVAL '1 day'
         ORDER BY c.created_at DESC;`,
      ),
    ).toMatchObject([{ email: "john@example.com", name: "John Doe" }]);
    expect(
      await rowsOf(
        ctx,
        `SELECT email, name, company, score, status
         FROM vault.contacts
         WHERE score >= 80
           AND status = 'active'
         ORDER BY score DESC
         LIMIT 50;`,
      ),
    ).toEqual([]);
  });

  it.each([
    "insert into intake.raw_loads (tenant_id, batch_id, source, raw_data) values (current_setting('app.tenant_id'), 'b', 's', '{}')",
    "update intake.raw_loads set status = 'promoted'",
    "delete from intake.raw_loads",
    "insert into people.master (tenant_id, email, source) values (current_setting('app.tenant_id'), 'a@x.example', 's')",
    "update people.master set name = 'x'",
    "delete from people.master",
    "select * from intake.store_rows(array['{}'::jsonb], array['a@x.example'], array[null::jsonb], 's', 'b', true)",
    "select * from vault.promote_loads(array['load_1'], true)",
    "select * from intake.loads_to_promote(current_setting('app.tenant_id'), null, false)",
  ])("are the only way in: %s", async (statement) => {
    const ctx = await newTenant(database);
    await expect(rowsOf(ctx, statement)).rejects.toThrow(/permission denied/);
  });
});

it("lets no function make PostgreSQL plan the query of a foreign key once per row", async () => {
  const { rows } = await sql`
    select proname from pg_proc where array_to_string(proconfig, ',') like '%plan_cache_mode%'`.execute(database.owner);
  expect(rows).toEqual([]);
});

describe("two tenants", () => {
  it("cannot see, page through, export or promote each other's rows", async () => {
    const mine = await newTenant(database);
    const theirs = await newTenant(database);
    const { id } = await importText(theirs, mixed, { options: { promote: false } });
    const [pending] = (await listLoads(theirs, { status: "pending" })).data;
    await expect(getImport(mine, { id: id })).rejects.toMatchObject({ code: "import.not_found" });
    expect((await listLoads(mine, {})).data).toEqual([]);
    expect(await promote(mine, { loadIds: pending ? [pending.id] : [] })).toMatchObject({ promoted: 0 });
    let text = "";
    for await (const line of rejectedRows(mine, id)) text += line;
    expect(text.trimEnd().split("\r\n")).toHaveLength(1);
    expect(await runImports(deps(), mine, [id], unlimited)).toEqual([]);
  });
});
