/**
 * What there is to attack, read from PostgreSQL's catalogue: tables with their keys, views, functions that run as their owner.
 * Invariant: nothing is listed by hand but the four tables of the installation, so what a migration adds is attacked the next time.
 */
import type pg from "pg";

export interface Column {
  readonly name: string;
  readonly type: string;
  readonly required: boolean;
  readonly hasDefault: boolean;
}

export interface Rule {
  readonly name: string;
  readonly columns: readonly string[];
  /** SQL over the table's columns; null: always holds. */
  readonly expression: string | null;
}

export interface ForeignKey {
  readonly name: string;
  readonly columns: readonly string[];
  readonly target: string;
  readonly targetColumns: readonly string[];
}

export interface Table {
  readonly name: string;
  readonly kind: "table" | "partitioned" | "partition";
  /** The column that says whose a row is; null: nobody's. */
  readonly key: "id" | "tenant_id" | "organization_id" | null;
  /** Whose value the key holds. */
  readonly owner: "tenant" | "organization" | null;
  readonly columns: readonly Column[];
  readonly primaryKey: readonly string[];
  readonly checks: readonly Rule[];
  /** Unique indexes; `expression` is the predicate of a partial one. */
  readonly uniques: readonly Rule[];
  readonly foreignKeys: readonly ForeignKey[];
  readonly partitions: readonly string[];
  /** Of a partition: where its range begins; null for the default one. */
  readonly from: string | null;
  readonly partitionColumn: string | null;
}

export interface View {
  readonly name: string;
  readonly key: "tenant_id" | "organization_id" | null;
  readonly isMaterialized: boolean;
}

export interface Routine {
  readonly name: string;
  readonly signature: string;
  readonly owner: string;
  readonly argTypes: readonly string[];
  readonly returns: "trigger" | "something";
  /** Words that its body compares with: candidates for its arguments. */
  readonly words: readonly string[];
}

export interface Catalogue {
  readonly tables: readonly Table[];
  readonly views: readonly View[];
  readonly routines: readonly Routine[];
}

/** Tables without a tenant: the clock, the sweep's memory and the migrator's two. */
export const installation: readonly string[] = [
  "public.deployment",
  "public.sweep_state",
  "public.kysely_migration",
  "public.kysely_migration_lock",
];

const roots: Readonly<Record<string, "tenant" | "organization">> = {
  "public.tenants": "tenant",
  "public.organizations": "organization",
};

const ours = `n.nspname not in ('pg_catalog', 'information_schema', 'archive') and n.nspname not like 'pg\\_%'`;
const nameOf = (relation: string) =>
  `(select nn.nspname || '.' || cc.relname from pg_class cc join pg_namespace nn on nn.oid = cc.relnamespace where cc.oid = ${relation})`;
const columnNames = (relation: string, numbers: string) =>
  `array(select aa.attname::text from unnest(${numbers}) with ordinality u(num, pos) join pg_attribute aa on aa.attrelid = ${relation} and aa.attnum = u.num order by u.pos)`;

const tablesQuery = `
  select n.nspname || '.' || c.relname as name,
    case when c.relispartition then 'partition' when c.relkind = 'p' then 'partitioned' else 'table' end as kind,
    (select coalesce(json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, null), 'required', a.attnotnull,
       'hasDefault', a.atthasdef or a.attidentity <> '') order by a.attnum), '[]')
     from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '') as columns,
    coalesce((select ${columnNames("c.oid", "i.indkey")} from pg_index i where i.indrelid = c.oid and i.indisprimary), '{}') as "primaryKey",
    (select coalesce(json_agg(json_build_object('name', k.conname, 'columns', ${columnNames("c.oid", "k.conkey")},
       'expression', pg_get_expr(k.conbin, k.conrelid))), '[]') from pg_constraint k where k.conrelid = c.oid and k.contype = 'c') as checks,
    (select coalesce(json_agg(json_build_object('name', x.relname, 'expression', pg_get_expr(i.indpred, i.indrelid), 'columns',
       array(select distinct a.attname::text from pg_attribute a
             where a.attrelid = c.oid and (a.attnum = any (i.indkey) or exists (select from pg_depend d where d.classid = 'pg_class'::regclass
               and d.objid = i.indexrelid and d.refobjid = c.oid and d.refobjsubid = a.attnum))))), '[]')
     from pg_index i join pg_class x on x.oid = i.indexrelid where i.indrelid = c.oid and i.indisunique) as uniques,
    (select coalesce(json_agg(json_build_object('name', k.conname, 'columns', ${columnNames("c.oid", "k.conkey")},
       'target', ${nameOf("k.confrelid")}, 'targetColumns', ${columnNames("k.confrelid", "k.confkey")})), '[]')
     from pg_constraint k where k.conrelid = c.oid and k.contype = 'f') as "foreignKeys",
    array(select ${nameOf("i.inhrelid")} from pg_inherits i where i.inhparent = c.oid order by 1) as partitions,
    substring(pg_get_expr(c.relpartbound, c.oid) from 'FROM \\(''([^'']*)''') as "from",
    (select ${columnNames("p.partrelid", "p.partattrs")} from pg_inherits i join pg_partitioned_table p on p.partrelid = i.inhparent
     where i.inhrelid = c.oid) as "partitionColumns"
  from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p') and ${ours} order by 1`;

const viewsQuery = `
  select n.nspname || '.' || c.relname as name,
    (select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attname in ('tenant_id', 'organization_id')
     order by a.attname desc limit 1) as key, c.relkind = 'm' as "isMaterialized"
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('v', 'm') and ${ours} and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e') order by 1`;

const routinesQuery = `
  select n.nspname || '.' || p.proname as name, p.oid::regprocedure::text as signature, pg_get_userbyid(p.proowner) as owner,
    array(select format_type(t, null) from unnest(p.proargtypes) t) as "argTypes",
    case when p.prorettype = 'trigger'::regtype then 'trigger' else 'something' end as returns,
    array(select distinct m[1] from regexp_matches(p.prosrc, '''([a-z_]{2,30})''', 'g') m) as words
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace where p.prosecdef and ${ours} order by 1`;

type FoundTable = Omit<Table, "key" | "owner" | "partitionColumn"> & {
  readonly partitionColumns: readonly string[] | null;
};

function withOwner({ partitionColumns, ...table }: FoundTable): Table {
  const has = (name: string) => table.columns.some((column) => column.name === name && column.required);
  const root = roots[table.name];
  const key = root ? "id" : has("tenant_id") ? "tenant_id" : has("organization_id") ? "organization_id" : null;
  const owner = root ?? (key === "tenant_id" ? "tenant" : key === "organization_id" ? "organization" : null);
  return { ...table, key, owner, partitionColumn: partitionColumns?.[0] ?? null };
}

export async function readCatalogue(client: pg.ClientBase): Promise<Catalogue> {
  const tables = await client.query<FoundTable>(tablesQuery);
  const views = await client.query<View>(viewsQuery);
  const routines = await client.query<Routine>(routinesQuery);
  return { tables: tables.rows.map(withOwner), views: views.rows, routines: routines.rows };
}
