/**
 * The fences between tenants, read from the database's own catalogue: what must hold for every table, view, function and role, whoever
 * wrote the migration. Invariant: this module only reads, and a rule that is broken is a sentence that names the object.
 */
import { type Kysely, type RawBuilder, sql } from "kysely";
import { DomainError } from "../kernel/index.ts";

/** Tables that belong to the installation, not to a tenant. */
export const installationTables = [
  "public.deployment",
  "public.sweep_state",
  "public.kysely_migration",
  "public.kysely_migration_lock",
];

/** Whose own id is the key that policies compare. */
const rootTables = ["public.tenants", "public.organizations"];

/** What the application may delete from: bookkeeping without history. */
export const deletableTables = ["public.idempotency_keys", "public.send_rate_windows", "public.doctor_runs"];

/** What only functions and triggers write: the application may read it. */
export const functionWrittenTables = [
  "company.master",
  "company.history",
  "people.master",
  "people.history",
  "intake.raw_loads",
  "intake.audit_log",
  "public.lead_audit_log",
  "public.lead_status_history",
];

/** Unique across tenants on purpose: a slug names one tenant of the installation. */
const globallyUnique = ["tenants_slug_key"];

/** What the role that rings for due work may read of anybody: that there is work, and whose; nothing about whom it concerns. */
const sweeperReads = [
  "tenant_id",
  "id",
  "status",
  "run_at",
  "lease_until",
  "provider",
  "key_hash",
  "revoked_at",
  "expires_at",
  "ran_at",
  "waking",
];

/** Every table of ours with the column that says whose a row is; null where there is none. Partitions are tables of their own here. */
const tables = sql`
  tables as materialized (
    select c.oid, n.nspname || '.' || c.relname as name, c.relrowsecurity, c.relforcerowsecurity, c.relacl, c.relowner,
           n.nspname || '.' || c.relname = any (${rootTables}::text[]) as is_root,
           case when n.nspname || '.' || c.relname = any (${rootTables}::text[]) then 'id'
                when exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and a.attnotnull
                             and not a.attisdropped) then 'tenant_id'
                when exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'organization_id' and a.attnotnull
                             and not a.attisdropped) then 'organization_id' end as key
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema', 'archive')
      and n.nspname not like 'pg\\_%'
      and n.nspname || '.' || c.relname <> all (${installationTables}::text[])
  )`;

const rules: readonly RawBuilder<unknown>[] = [
  sql`select format('table %s has no tenant_id or organization_id that is not null', name) from tables where key is null`,
  sql`select format('table %s: row-level security is %s', name,
        case when not relrowsecurity then 'off' else 'not forced on its owner' end)
      from tables where key is not null and not (relrowsecurity and relforcerowsecurity)`,
  // The fence itself: one policy for every verb and everybody, that compares the key with the transaction's setting, for reads and writes.
  sql`select format('table %s has no policy for all verbs that compares %s with the transaction''s setting', t.name, t.key)
      from tables t where t.key is not null and not exists (
        select from pg_policy p, lateral (values (pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))) e(q, w)
        where p.polrelid = t.oid and p.polcmd = '*' and p.polpermissive and p.polroles = '{0}'
          and e.q = e.w and e.q ~ format('^\\(%s = NULLIF\\(current_setting\\(''app\\.%s_id''::text, true\\), ''''::text\\)\\)$', t.key,
            case when t.key = 'organization_id' or t.name = 'public.organizations' then 'organization' else 'tenant' end))`,
  // Permissive policies add up, so a second one opens what the first one closes.
  sql`select format('table %s: policy %s opens it to %s', t.name, p.polname,
        coalesce((select string_agg(r.rolname, ', ') from pg_roles r where r.oid = any (p.polroles)), 'everybody'))
      from pg_policy p join tables t on t.oid = p.polrelid
      where p.polpermissive and not (p.polcmd = '*' and p.polroles = '{0}' and p.polname in ('tenant_isolation_policy', 'org_dnc_policy'))
        and not (p.polcmd = 'r' and p.polroles = array[(select oid from pg_roles where rolname = 'outrider_sweeper')])`,
  sql`select format('table %s has no primary key', t.name) from tables t
      where not exists (select from pg_index i where i.indrelid = t.oid and i.indisprimary)`,
  sql`select format('unique index %s of %s does not start with %s', c.relname, t.name, t.key)
      from pg_index i join tables t on t.oid = i.indrelid join pg_class c on c.oid = i.indexrelid
           left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
      where i.indisunique and t.key is not null and a.attname is distinct from t.key and c.relname <> all (${globallyUnique}::text[])`,
  // A reference that leaves the owner out lets one tenant's row hang on another's.
  sql`select format('foreign key %s of %s does not carry %s', f.conname, t.name, t.key)
      from pg_constraint f join tables t on t.oid = f.conrelid
      where f.contype = 'f' and t.key is not null and not t.is_root and not exists (
        select from unnest(f.conkey, f.confkey) pair(mine, its)
        join pg_attribute a on a.attrelid = f.conrelid and a.attnum = pair.mine
        join pg_attribute b on b.attrelid = f.confrelid and b.attnum = pair.its
        where a.attname = t.key and b.attname = case when f.confrelid = (case t.key when 'tenant_id' then 'public.tenants' else 'public.organizations' end)::regclass
                                                     then 'id' else t.key end)`,
  // Whoever may write these decides whose the row is: a tenant that joins another organization reads what that one shares.
  sql`select format('role outrider_app may change %s of table %s', a.attname, t.name)
      from tables t join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
      where t.is_root and (a.attname in ('id', 'slug') or exists (
              select from pg_constraint f where f.conrelid = t.oid and f.contype = 'f' and a.attnum = any (f.conkey)))
        and has_column_privilege('outrider_app', t.oid, a.attnum, 'update')`,
  sql`select format('role outrider_sweeper may read %s of table %s', a.attname, t.name)
      from tables t join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
      where has_column_privilege('outrider_sweeper', t.oid, a.attnum, 'select') and a.attname <> all (${sweeperReads}::text[])`,
  sql`select format('role outrider_sweeper may %s table %s', v.verb, t.name)
      from tables t, unnest(array['insert', 'update', 'delete', 'truncate']) v(verb)
      where has_table_privilege('outrider_sweeper', t.oid, v.verb)`,
  sql`select format('role %s %s', rolname, case when rolsuper then 'is a superuser' else 'bypasses row-level security' end)
      from pg_roles where rolname in ('outrider_app', 'outrider_sweeper', 'outrider_owner') and (rolsuper or rolbypassrls)`,
  sql`select format('role outrider_app is a member of %s', r.rolname)
      from pg_auth_members m join pg_roles r on r.oid = m.roleid
      where m.member = (select oid from pg_roles where rolname = 'outrider_app') and r.rolname like 'outrider\\_%'`,
  sql`select format('role outrider_app owns %s', pg_describe_object(o.classid, o.oid, 0))
      from (select 'pg_class'::regclass as classid, oid, relowner as owner from pg_class
            union all select 'pg_proc'::regclass, oid, proowner from pg_proc
            union all select 'pg_namespace'::regclass, oid, nspowner from pg_namespace
            union all select 'pg_type'::regclass, oid, typowner from pg_type) o
      where o.owner = (select oid from pg_roles where rolname = 'outrider_app')`,
  sql`select format('%s may %s %s', case g.grantee when 0 then 'everybody' else 'role outrider_app' end, lower(g.privilege_type), t.name)
      from tables t, aclexplode(t.relacl) g
      where (g.grantee = 0 or g.grantee = (select oid from pg_roles where rolname = 'outrider_app'))
        and (g.grantee = 0 or g.privilege_type in ('TRUNCATE', 'REFERENCES', 'TRIGGER')
             or (g.privilege_type = 'DELETE' and t.name <> all (${deletableTables}::text[]))
             or (g.privilege_type in ('INSERT', 'UPDATE') and t.name = any (${functionWrittenTables}::text[])))`,
  sql`select format('role outrider_app may create objects in schema %s', n.nspname) from pg_namespace n
      where n.nspname not like 'pg\\_%' and has_schema_privilege('outrider_app', n.oid, 'create')`,
  sql`select format('view %s.%s sees more than whoever asks: security_invoker is off', n.nspname, c.relname)
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.relkind = 'v' and n.nspname not in ('pg_catalog', 'information_schema', 'archive')
        and not coalesce(c.reloptions @> '{security_invoker=true}', false)
        and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')`,
  // A materialized view has no row-level security at all.
  sql`select format('%s.%s is a materialized view, which row-level security does not reach', n.nspname, c.relname)
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.relkind = 'm' and n.nspname not in ('pg_catalog', 'information_schema', 'archive')`,
  // Without a fixed path, and pg_temp last in it, whoever calls decides which tables the function's owner reads and writes.
  sql`select format('function %s runs as its owner without a fixed search_path that ends in pg_temp', p.oid::regprocedure)
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where p.prosecdef and n.nspname not in ('pg_catalog', 'information_schema')
        and not exists (select from unnest(p.proconfig) setting where setting ~ '^search_path=pg_catalog, .*pg_temp$')`,
  // Trigger functions cannot be called.
  sql`select format('function %s runs as its owner and may be called by everybody', p.oid::regprocedure)
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where p.prosecdef and n.nspname not in ('pg_catalog', 'information_schema') and p.prorettype <> 'trigger'::regtype
        and (p.proacl is null or exists (select from aclexplode(p.proacl) g where g.grantee = 0))`,
];

/**
 * Refuses a database whose fences do not stand: whoever serves it would serve one tenant's rows to another. Asked by `npm start` and
 * `migrate up`; a deployed function would pay for it at each cold start, so there the schedule `doctor` finds it and raises the alarm.
 * @throws DomainError `database.unsafe` (unavailable), whose message names the first broken rules with their objects and whose fields name all
 */
// biome-ignore lint/suspicious/noExplicitAny: as below
export async function requireFences(db: Kysely<any>): Promise<void> {
  const found = await catalogueViolations(db);
  if (found.length === 0) return;
  const more = found.length > 3 ? `; and ${found.length - 3} more` : "";
  throw new DomainError(
    "unavailable",
    "database.unsafe",
    `The fences between tenants do not stand: ${found.slice(0, 3).join("; ")}${more}. Mend them before anything is served.`,
    { fields: found.map((message) => ({ path: "catalogue", message })) },
  );
}

/**
 * Every broken rule as a sentence, sorted; none when the fences stand.
 * @param db any connection that may read the catalogue, the application's own included
 */
// biome-ignore lint/suspicious/noExplicitAny: the catalogue is in no schema type, and any database handle will do
export async function catalogueViolations(db: Kysely<any>): Promise<string[]> {
  const { rows } = await sql<{ violation: string }>`
    with ${tables}, found(violation) as (${sql.join(rules, sql` union all `)})
    select distinct violation from found order by violation`.execute(db);
  return rows.map(({ violation }) => violation);
}
