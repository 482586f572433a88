/** The fences between tenants stand in the migrated database, and every rule that watches them bites. */
import { sql } from "kysely";
import { expect, test } from "vitest";
import { catalogueViolations } from "../../core/operator/catalogue.ts";
import { testDatabase } from "../support/database.ts";

const database = await testDatabase();

test("the migrated database keeps every rule", async () => {
  expect(await catalogueViolations(database.db)).toEqual([]);
});

const fenced = (name: string, columns: string) =>
  `create table ${name} (tenant_id text not null references tenants (id), ${columns}); select protect('${name}', 'select');`;

const planted: readonly [string, string, string][] = [
  [
    "a table that nobody owns rows of",
    "create table planted (id int primary key)",
    "table public.planted has no tenant_id or organization_id that is not null",
  ],
  [
    "a tenant table that was not protected",
    "create table planted (tenant_id text not null, id text, primary key (tenant_id, id))",
    "table public.planted: row-level security is off",
  ],
  [
    "security that the owner skips",
    "alter table leads no force row level security",
    "table public.leads: row-level security is not forced on its owner",
  ],
  [
    "an unprotected partition",
    "alter table message_events_default disable row level security",
    "table public.message_events_default: row-level security is off",
  ],
  [
    "a partition made without the function",
    "create table planted partition of message_events for values from ('1999-01-01') to ('1999-02-01')",
    "table public.planted: row-level security is off",
  ],
  [
    "a policy for reading only",
    "drop policy tenant_isolation_policy on leads; create policy tenant_isolation_policy on leads for select using (tenant_id = nullif(current_setting('app.tenant_id', true), ''))",
    "table public.leads has no policy for all verbs that compares tenant_id with the transaction's setting",
  ],
  [
    "a policy that lets everything be written",
    "alter policy tenant_isolation_policy on leads with check (true)",
    "table public.leads has no policy for all verbs that compares tenant_id with the transaction's setting",
  ],
  [
    "a policy that an empty setting passes",
    "alter policy tenant_isolation_policy on leads using (tenant_id = current_setting('app.tenant_id', true) or true)",
    "table public.leads has no policy for all verbs that compares tenant_id with the transaction's setting",
  ],
  [
    "a second policy",
    "create policy wide on leads for select to outrider_app using (true)",
    "table public.leads: policy wide opens it to outrider_app",
  ],
  [
    "a second policy for everybody",
    "create policy wide on leads using (true)",
    "table public.leads: policy wide opens it to everybody",
  ],
  [
    "a key without the tenant",
    fenced("planted", "id text primary key"),
    "unique index planted_pkey of public.planted does not start with tenant_id",
  ],
  [
    "a unique index across tenants",
    "create unique index planted on leads (email)",
    "unique index planted of public.leads does not start with tenant_id",
  ],
  [
    "a unique index across organizations",
    "create unique index planted on dnc_list (phone_number)",
    "unique index planted of public.dnc_list does not start with organization_id",
  ],
  ["no primary key", fenced("planted", "id text"), "table public.planted has no primary key"],
  [
    "a reference that leaves the tenant out",
    "alter table tasks add column other text; alter table leads add constraint planted_key unique (id); alter table tasks add constraint planted foreign key (other) references leads (id)",
    "foreign key planted of public.tasks does not carry tenant_id",
  ],
  [
    "a reference of an organization's row that leaves the organization out",
    "alter table dnc_list add constraint planted foreign key (tenant_id) references tenants (id)",
    "foreign key planted of public.dnc_list does not carry organization_id",
  ],
  [
    "a tenant that may move to another organization",
    "grant update (organization_id) on tenants to outrider_app",
    "role outrider_app may change organization_id of table public.tenants",
  ],
  [
    "a sweeper that reads addresses",
    "grant select (to_address) on outbound_messages to outrider_sweeper",
    "role outrider_sweeper may read to_address of table public.outbound_messages",
  ],
  [
    "a sweeper that writes",
    "grant update on leads to outrider_sweeper",
    "role outrider_sweeper may update table public.leads",
  ],
  [
    "an application that may delete",
    "grant delete on leads to outrider_app",
    "role outrider_app may delete public.leads",
  ],
  [
    "an application that may truncate",
    "grant truncate on leads to outrider_app",
    "role outrider_app may truncate public.leads",
  ],
  [
    "an application that may refer",
    "grant references on leads to outrider_app",
    "role outrider_app may references public.leads",
  ],
  [
    "an application that writes golden records",
    "grant update on people.master to outrider_app",
    "role outrider_app may update people.master",
  ],
  ["a grant to everybody", "grant select on leads to public", "everybody may select public.leads"],
  [
    "an application that owns something",
    "create function planted() returns int language sql as 'select 1'; alter function planted() owner to outrider_app",
    "role outrider_app owns function planted()",
  ],
  [
    "an application that may create",
    "grant create on schema marketing to outrider_app",
    "role outrider_app may create objects in schema marketing",
  ],
  [
    "a view that asks for its owner",
    "create view planted as select * from leads",
    "view public.planted sees more than whoever asks: security_invoker is off",
  ],
  [
    "a materialized view",
    "create materialized view planted as select 1 as x",
    "public.planted is a materialized view, which row-level security does not reach",
  ],
  [
    "a function whose caller chooses the tables",
    "create function planted() returns int language sql security definer as 'select 1'; revoke execute on function planted() from public",
    "function planted() runs as its owner without a fixed search_path that ends in pg_temp",
  ],
  [
    "a path that temporary tables come first in",
    "alter function endpoint_tenant(text, text) set search_path = pg_catalog, public",
    "function endpoint_tenant(text,text) runs as its owner without a fixed search_path that ends in pg_temp",
  ],
  [
    "a powerful function for everybody",
    "grant execute on function api_key_tenant(bytea) to public",
    "function api_key_tenant(bytea) runs as its owner and may be called by everybody",
  ],
  [
    "an application role that is not bound",
    "alter role outrider_app bypassrls",
    "role outrider_app bypasses row-level security",
  ],
  [
    "an application role that can become the owner",
    "grant outrider_owner to outrider_app",
    "role outrider_app is a member of outrider_owner",
  ],
];

test.each(planted)("reported: %s", async (_, ddl, violation) => {
  const tx = await database.owner.startTransaction().execute();
  try {
    for (const statement of ddl.split(/;\s*/).filter(Boolean)) await sql.raw(statement).execute(tx);
    expect(await catalogueViolations(tx)).toContain(violation);
  } finally {
    await tx.rollback().execute();
  }
});

test("nothing planted stayed", async () => {
  expect(await catalogueViolations(database.db)).toEqual([]);
});
