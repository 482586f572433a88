/** The migrations can be undone, lose nothing, and agree with the files generated from them. */
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { migrate } from "../../core/db/migrate.ts";
import { dumpSchema } from "../../local/gen/dump.ts";
import { describeDatabase, migrationsFolder, outdated } from "../../local/gen/generate.ts";
import { testDatabase } from "../support/database.ts";
import { arrange, newTenant } from "../support/tenant.ts";

const folder = migrationsFolder;

describe("the migrations of this repository", async () => {
  const database = await testDatabase({ empty: true });
  const { owner } = database;

  test("undone completely and applied again, they give the same schema", async () => {
    const applied = await migrate(owner, { folder });
    const first = await dumpSchema(owner);
    const undone = await migrate(owner, { folder, direction: "down", to: "0000" });
    expect(undone.map(({ name }) => name)).toEqual(applied.map(({ name }) => name).reverse());
    await migrate(owner, { folder });
    expect(await dumpSchema(owner)).toBe(first);
  });

  test("the generated types and schema description are up to date: npm run gen", async () => {
    await migrate(owner, { folder });
    expect(outdated(await describeDatabase(database.ownerUrl))).toEqual([]);
  });

  test("undoing keeps every row in schema archive", async () => {
    await migrate(owner, { folder });
    await fill();
    const kept = [
      "organizations",
      "tenants",
      "actors",
      "company.master",
      "leads",
      "outbound_messages",
      "outbound_messages_walk_node",
      "webhook_deliveries",
      "message_events",
    ];
    await migrate(owner, { folder, direction: "down", to: "0000" });
    const { rows: archived } = await sql<{ name: string }>`
      select c.relname as name from pg_class c
      where c.relnamespace = 'archive'::regnamespace and c.relkind = 'r'
      order by 1`.execute(owner);
    for (const table of kept) {
      const name = table.replace(".", "_");
      const match = archived.filter((found) => found.name.replace(/_\d{20}$/, "") === name);
      expect(match, `${table} in the archive`).toHaveLength(1);
      const { rows } = await sql`select * from ${sql.id("archive", match[0]?.name ?? "")}`.execute(owner);
      expect(rows, table).toHaveLength(1);
    }
  });

  test("what an undone migration left in the archive does not stand in the way of applying it again", async () => {
    await migrate(owner, { folder });
    expect(outdated(await describeDatabase(database.ownerUrl))).toEqual([]);
  });

  async function fill(): Promise<void> {
    const { tenantId, organizationId } = await newTenant(database);
    await arrange(database, tenantId, async (tx) => {
      await sql`insert into company.master (tenant_id, domain) values (${tenantId}, 'example.com')`.execute(tx);
      await sql`insert into leads (tenant_id, organization_id, source_type, email)
      values (${tenantId}, ${organizationId}, 'manual', 'kim@example.com')`.execute(tx);
      await sql`insert into channel_configs (tenant_id, id, channel, provider, name, api_credentials)
      values (${tenantId}, 'chc_1', 'email', 'sendgrid', 'main', 'sealed')`.execute(tx);
      await sql`insert into webhook_deliveries
        (tenant_id, channel_config_id, provider, target, body, body_bytes, body_sha256, correlation_id)
      values (${tenantId}, 'chc_1', 'sendgrid', '/', 'x', 1, sha256('x'), 'corr_1')`.execute(tx);
      await sql`insert into outbound_messages (tenant_id, channel, to_address, suppression_key, dedupe_key, node_id, walk_node_id, expires_at)
      values (${tenantId}, 'email', 'kim@example.com', 'kim@example.com', 'key', 'intro', 'hello', app_now())`.execute(
        tx,
      );
      await sql`insert into message_events (tenant_id, event_at, provider, provider_event_id, event_type, channel)
      values (${tenantId}, app_now(), 'sendgrid', 'e1', 'opened', 'email')`.execute(tx);
    });
  }
});

describe("the migrator", async () => {
  const database = await testDatabase({ empty: true });
  const { owner } = database;
  let folder = "";

  beforeAll(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), "outrider-migrations-"));
    await write("0001_one", "create table one (id int);", "drop table one;");
    await write("0002_two", "create table two (id int);", "drop table two;");
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const write = async (name: string, up: string, down: string): Promise<void> => {
    await writeFile(path.join(folder, `${name}.up.sql`), `-- role: admin\n${up}`);
    await writeFile(path.join(folder, `${name}.down.sql`), `-- role: admin\n${down}`);
  };
  const names = (done: readonly { name: string }[]): readonly string[] => done.map(({ name }) => name);

  test("two migrators at once share the work and both succeed", async () => {
    const [a, b] = await Promise.all([migrate(owner, { folder }), migrate(owner, { folder })]);
    expect([...names(a), ...names(b)].sort()).toEqual(["0001_one", "0002_two"]);
    expect(await migrate(owner, { folder })).toEqual([]);
  });

  test("down without a target undoes only the latest; up to a target stops there", async () => {
    expect(names(await migrate(owner, { folder, direction: "down" }))).toEqual(["0002_two"]);
    expect(names(await migrate(owner, { folder, direction: "down", to: "0000" }))).toEqual(["0001_one"]);
    expect(names(await migrate(owner, { folder, to: "0001" }))).toEqual(["0001_one"]);
    expect(names(await migrate(owner, { folder, to: "0002_two" }))).toEqual(["0002_two"]);
    expect(names(await migrate(owner, { folder, direction: "down", to: "0001" }))).toEqual(["0002_two"]);
    expect(await migrate(owner, { folder, to: "0001" })).toEqual([]);
  });

  test("an older target is no reason to fail when the database is already past it", async () => {
    await migrate(owner, { folder });
    expect(await migrate(owner, { folder, to: "0001" })).toEqual([]);
  });

  test("a refused migration is named with its line, leaves nothing behind and keeps the ones before it", async () => {
    const broken = await mkdtemp(path.join(os.tmpdir(), "outrider-migrations-"));
    await cp(folder, broken, { recursive: true });
    await writeFile(
      path.join(broken, "0003_three.up.sql"),
      "-- role: admin\ncreate table three (id int);\n\nselect nothing;",
    );
    await writeFile(path.join(broken, "0003_three.down.sql"), "drop table three;");
    await migrate(owner, { folder });
    await expect(migrate(owner, { folder: broken })).rejects.toMatchObject({
      kind: "unavailable",
      code: "migrate.failed",
      message: expect.stringMatching(/^0003_three\.up\.sql:4: column "nothing" does not exist/),
      cause: { code: "42703" },
    });
    const { rows } = await sql<{ name: string | null }>`select to_regclass('three')::text as name`.execute(owner);
    expect(rows).toEqual([{ name: null }]);
    expect(await migrate(owner, { folder })).toEqual([]);
    await rm(broken, { recursive: true });
  });

  test("a file without its other half is named", async () => {
    const half = await mkdtemp(path.join(os.tmpdir(), "outrider-migrations-"));
    await writeFile(path.join(half, "0001_one.up.sql"), "select 1;");
    await expect(migrate(owner, { folder: half })).rejects.toMatchObject({
      code: "migrate.incomplete",
      message: expect.stringContaining("0001_one.down.sql"),
    });
    await rm(half, { recursive: true });
  });

  test("a migration gives way when traffic holds the table", async () => {
    await write("0004_four", "alter table one add column more int;", "select 1;");
    const tx = await owner.startTransaction().execute();
    await sql`lock table one in share mode`.execute(tx);
    await expect(migrate(owner, { folder, lockTimeoutMs: 50 })).rejects.toMatchObject({
      code: "migrate.failed",
      cause: { code: "55P03" },
    });
    await tx.rollback().execute();
    expect(names(await migrate(owner, { folder }))).toEqual(["0004_four"]);
  });
});
