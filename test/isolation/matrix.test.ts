/** No statement of one tenant reaches a row of another, whatever it is and whoever runs it; and the attacks find a fence that is missing. */
import { Kysely, PostgresDialect, type PostgresPool } from "kysely";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { catalogueViolations } from "../../core/operator/index.ts";
import { testDatabase } from "../support/database.ts";
import { runs } from "../support/runs.ts";
import { visitors } from "./attacks.ts";
import { type Line, matrix, openings, population, verbs } from "./matrix.ts";
import { randomOperations } from "./random.ts";
import { type Party, savepoint } from "./rows.ts";

const database = await testDatabase();
const client = new pg.Client(database.ownerUrl);

beforeAll(() => client.connect());
afterAll(() => client.end());

/** In a transaction that is rolled back, after some statements that plant a fault. */
async function inside<R>(work: () => Promise<R>, planted = ""): Promise<R> {
  await client.query("begin");
  try {
    if (planted !== "") await client.query(planted);
    return await work();
  } finally {
    await client.query("rollback");
  }
}

describe("the matrix of the migrated database", () => {
  let lines: readonly Line[];
  beforeAll(async () => {
    lines = await inside(() => matrix(client));
  }, 120_000);

  test("has a line for every table, partition, view and guarded function as every visitor", async () => {
    const { rows } = await client.query<{ n: number }>(
      `select (select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p', 'v', 'm')
                 and n.nspname in ('public', 'intake', 'vault', 'company', 'people', 'marketing', 'bit', 'ple')
                 and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e'))
            + (select count(*) from pg_proc p join pg_namespace n on n.oid = p.pronamespace
               where p.prosecdef and n.nspname !~ '^pg_')::int as n`,
    );
    expect(lines).toHaveLength(Number(rows[0]?.n) * visitors.length);
  });

  test("has no blank cell: each is fenced, or says why there is nothing to attack", () => {
    for (const { object, visitor, cells } of lines) {
      for (const verb of verbs) expect(cells[verb]?.why, `${object} × ${verb} as ${visitor}`).toMatch(/\w/);
    }
    const fencedCells = lines.flatMap(({ cells }) => verbs.filter((verb) => cells[verb].verdict === "fenced"));
    expect(new Set(fencedCells)).toEqual(new Set(verbs));
  });

  test("has no opening", () => {
    expect(openings(lines)).toEqual([]);
  });
});

const tenantTable = (name: string, columns: string) =>
  `create table ${name} (tenant_id text not null references tenants (id), ${columns}); select protect('${name}', 'select, insert, update, delete');`;

/** What is planted, where, and what the matrix says of it. No line of the attacks knows these names. */
const planted: readonly [what: string, ddl: string, object: string, opening: RegExp][] = [
  [
    "a table that was never protected",
    "create table planted (tenant_id text not null references tenants (id), id text not null, primary key (tenant_id, id)); grant select, insert, update, delete on planted to outrider_app",
    "public.planted",
    /× select as app: 1 rows of another tenant/,
  ],
  [
    "row-level security that is not forced on the owner",
    `set local role outrider_owner; ${tenantTable("planted", "id text not null, primary key (tenant_id, id)")}; alter table planted no force row level security; reset role`,
    "public.planted",
    /× select as owner: 1 rows of another tenant/,
  ],
  [
    "a policy for reading only, and rights to write",
    `${tenantTable("planted", "id text not null, primary key (tenant_id, id)")}; alter policy tenant_isolation_policy on planted with check (true)`,
    "public.planted",
    /× insert as app: a row of another tenant was written/,
  ],
  [
    "a key without the tenant",
    tenantTable("planted", "id text primary key"),
    "public.planted",
    /× unique as app: planted_pkey: 23505/,
  ],
  [
    "a unique index across tenants",
    "create unique index planted on leads (email) where email is not null",
    "public.leads",
    /× unique as app: planted: 23505/,
  ],
  [
    "a unique expression across tenants",
    "create unique index planted on leads (lower(email))",
    "public.leads",
    /× unique as app: planted: 23505/,
  ],
  [
    "a reference that leaves the tenant out",
    "alter table leads add constraint planted_key unique (id); alter table tasks add column other text, add constraint planted foreign key (other) references leads (id)",
    "public.tasks",
    /× foreign key as app: planted: hangs on a row of another tenant/,
  ],
  [
    "a deferred reference that leaves the tenant out",
    "alter table leads add constraint planted_key unique (id); alter table tasks add column other text, add constraint planted foreign key (other) references leads (id) deferrable initially deferred",
    "public.tasks",
    /× foreign key as app: planted: hangs on a row of another tenant/,
  ],
  [
    "a view that asks for its owner",
    "create view planted as select * from leads; grant select on planted to outrider_app",
    "public.planted",
    /× view as app: 1 rows of another tenant/,
  ],
  [
    "a view that lets writes through",
    "create view planted as select * from leads; grant select, update on planted to outrider_app",
    "public.planted",
    /× update as app: 1 rows written/,
  ],
  [
    "a materialized view",
    "create materialized view planted as select tenant_id, status from outbound_messages",
    "public.planted",
    /× view as app: materialized/,
  ],
  [
    "a partition without the function that protects it",
    "create table planted partition of message_events for values from ('1999-01-01') to ('1999-02-01'); grant select on planted to outrider_app",
    "public.planted",
    /× select as app: 1 rows of another tenant/,
  ],
  [
    "an opening in a partition, seen from its parent",
    "alter table message_events_default disable row level security; grant select on message_events_default to outrider_app",
    "public.message_events",
    /× partition as app: \d rows of another tenant/,
  ],
  [
    "a function that returns whatever its owner sees",
    "create function planted(p_id text) returns table (id text, email text) language sql security definer as 'select id, email from people.master'",
    "public.planted",
    /× function as app: tells /,
  ],
  [
    "a function that writes whatever its caller names",
    "create function planted(p_tenant text) returns void language sql security definer as 'update tracked_links set url = ''https://planted.example'' where tenant_id = p_tenant'",
    "public.planted",
    /× function as app: changes rows of another tenant/,
  ],
  [
    "a function of the sweeper that tells more than ids",
    "grant select (name) on tenants to outrider_sweeper; create function planted() returns setof text language sql security definer as 'select name from tenants'; alter function planted() owner to outrider_sweeper",
    "public.planted",
    /× function as app: tells /,
  ],
  [
    "a sweeper that reads an address",
    "grant select (to_address) on outbound_messages to outrider_sweeper",
    "public.outbound_messages",
    /× select as sweeper: may read to_address/,
  ],
  [
    "an application that may truncate",
    "grant truncate on tracked_links to outrider_app",
    "public.tracked_links",
    /× truncate as app: everything is gone/,
  ],
  [
    "a table that nobody's rows are in",
    "create table planted (id int primary key); grant select on planted to outrider_app",
    "public.planted",
    /nobody's: it has no tenant_id/,
  ],
  [
    "a policy that a missing setting passes",
    `${tenantTable("planted", "id text not null, primary key (tenant_id, id)")}; alter policy tenant_isolation_policy on planted using (tenant_id = coalesce(nullif(current_setting('app.tenant_id', true), ''), tenant_id))`,
    "public.planted",
    /× select as nobody: \d rows? of another tenant|× select as nobody: 2 rows/,
  ],
  [
    "an application that may move a tenant to another organization",
    "grant update on tenants to outrider_app",
    "public.tenants",
    /× foreign key as app: tenants_organization_id_fkey: hangs on a row of another tenant/,
  ],
];

/** The same connection, and so the same transaction, for what asks by Kysely. */
const pool = {
  options: {},
  connect: async () => ({ query: client.query.bind(client), release: () => {} }),
  end: async () => {},
};
const shared = new Kysely<unknown>({ dialect: new PostgresDialect({ pool: pool as unknown as PostgresPool }) });

describe("a database with a planted fault", () => {
  let known: readonly [Party, Party];
  beforeAll(async () => {
    await client.query("begin");
    known = await population(client);
  }, 60_000);
  afterAll(() => client.query("rollback"));

  test.each(planted)("is found out: %s; and doctor refuses it", async (_what, ddl, object, opening) => {
    const { found, refused } = await savepoint(
      client,
      async () => {
        await client.query(ddl);
        return {
          refused: await catalogueViolations(shared),
          found: openings(await matrix(client, { only: [object], known })),
        };
      },
      false,
    );
    expect(
      found.some((line) => opening.test(line)),
      found.join("\n"),
    ).toBe(true);
    expect(refused).not.toEqual([]);
  });
});

test("random statements of two tenants never return or change a row of the other", async () => {
  const operations = runs(2_000, 100_000);
  const report = await inside(() => randomOperations(client, { operations, seed: 1 }));
  expect(report.leaks).toEqual([]);
  expect(report.fruitful).toBeGreaterThan(operations / 10);
}, 600_000);

test("random statements find a table that was left open", async () => {
  const report = await inside(
    () => randomOperations(client, { operations: 1_000, seed: 1 }),
    "alter table leads disable row level security",
  );
  expect(report.leaks.length).toBeGreaterThan(0);
});
