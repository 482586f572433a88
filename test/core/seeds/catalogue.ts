/**
 * What the live database has, in the words a seed's item asks for. Invariant: read from PostgreSQL's own catalogue, past row-level
 * security, never from the migrations' text.
 */
import { type Kysely, sql } from "kysely";
import type { DB } from "../../../core/db/types.gen.ts";

export interface Column {
  readonly type: string;
  readonly notNull: boolean;
  readonly default: string | null;
}

export interface ForeignKey {
  readonly columns: readonly string[];
  readonly target: string;
  /** a: no action, r: restrict, c: cascade, n: set null */
  readonly onDelete: string;
}

export interface Index {
  readonly name: string;
  readonly method: string;
  readonly unique: boolean;
  readonly primary: boolean;
  /** Key columns or expressions, `desc` included. */
  readonly keys: readonly string[];
  readonly where: string | null;
}

export interface Policy {
  readonly name: string;
  readonly using: string | null;
  readonly check: string | null;
}

export interface Relation {
  readonly name: string;
  readonly kind: "table" | "view";
  readonly columns: ReadonlyMap<string, Column>;
  readonly checks: readonly string[];
  readonly foreignKeys: readonly ForeignKey[];
  readonly indexes: readonly Index[];
  readonly policies: readonly Policy[];
  readonly triggers: readonly string[];
  readonly isProtected: boolean;
  /** Of a view. */
  readonly definition: string | null;
  /** What outrider_app may do: SELECT, INSERT, … */
  readonly rights: readonly string[];
}

export interface Routine {
  readonly arguments: string;
  readonly result: string;
  readonly definition: string;
}

export interface Catalogue {
  readonly relations: ReadonlyMap<string, Relation>;
  readonly routines: ReadonlyMap<string, Routine>;
  readonly schemas: ReadonlySet<string>;
  /** Everything a deviation may point at: `table`, `table.column`, `index x`, `function x`, `trigger x`, `policy x`, `table.column -> target`. */
  readonly places: ReadonlySet<string>;
}

const name = sql`case when n.nspname = 'public' then '' else n.nspname || '.' end || c.relname`;

export async function readCatalogue(db: Kysely<DB>): Promise<Catalogue> {
  const relations = await readRelations(db);
  const { rows: functions } = await sql<Routine & { name: string }>`
    select case when n.nspname = 'public' then '' else n.nspname || '.' end || p.proname as name,
      pg_get_function_arguments(p.oid) as arguments, pg_get_function_result(p.oid) as result, pg_get_functiondef(p.oid) as definition
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and p.prokind = 'f'
      and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')`.execute(
    db,
  );
  const { rows: schemas } = await sql<{ name: string }>`select nspname as name from pg_namespace`.execute(db);
  const routines = new Map(functions.map(({ name, ...routine }) => [name, routine]));
  const places = new Set<string>([...routines.keys()].map((name) => `function ${name}`));
  for (const relation of relations) for (const place of placesOf(relation)) places.add(place);
  return {
    relations: new Map(relations.map((relation) => [relation.name, relation])),
    routines,
    schemas: new Set(schemas.map(({ name }) => name)),
    places,
  };
}

function placesOf(relation: Relation): readonly string[] {
  return [
    relation.name,
    ...[...relation.columns.keys()].map((column) => `${relation.name}.${column}`),
    ...relation.indexes.map((index) => `index ${index.name}`),
    ...relation.policies.map((policy) => `policy ${policy.name} on ${relation.name}`),
    ...relation.triggers.map((trigger) => `trigger ${trigger} on ${relation.name}`),
    ...relation.foreignKeys.flatMap((key) =>
      key.columns.map((column) => `${relation.name}.${column} -> ${key.target}`),
    ),
  ];
}

async function readRelations(db: Kysely<DB>): Promise<readonly Relation[]> {
  const { rows } = await sql<
    Omit<Relation, "columns"> & { columns: readonly (Column & { name: string })[] }
  >`select ${name} as name, case when c.relkind = 'v' then 'view' else 'table' end as kind,
      c.relrowsecurity and c.relforcerowsecurity as "isProtected",
      case when c.relkind = 'v' then pg_get_viewdef(c.oid) end as definition,
      (select jsonb_agg(jsonb_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'notNull', a.attnotnull,
          'default', pg_get_expr(d.adbin, d.adrelid)) order by a.attnum)
        from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
      (select coalesce(jsonb_agg(pg_get_constraintdef(k.oid)), '[]') from pg_constraint k where k.conrelid = c.oid and k.contype = 'c') as checks,
      (select coalesce(jsonb_agg(jsonb_build_object('target', case when tn.nspname = 'public' then '' else tn.nspname || '.' end || t.relname,
          'onDelete', k.confdeltype, 'columns', (select jsonb_agg(a.attname) from pg_attribute a
            where a.attrelid = c.oid and a.attnum = any (k.conkey)))), '[]')
        from pg_constraint k join pg_class t on t.oid = k.confrelid join pg_namespace tn on tn.oid = t.relnamespace
        where k.conrelid = c.oid and k.contype = 'f') as "foreignKeys",
      (select coalesce(jsonb_agg(jsonb_build_object('name', ic.relname, 'method', am.amname, 'unique', i.indisunique, 'primary', i.indisprimary,
          'where', pg_get_expr(i.indpred, i.indrelid),
          'keys', (select jsonb_agg(pg_get_indexdef(i.indexrelid, g, true)
              || case when i.indoption[g - 1] & 1 = 1 then ' desc' else '' end order by g) from generate_series(1, i.indnkeyatts) g))), '[]')
        from pg_index i join pg_class ic on ic.oid = i.indexrelid join pg_am am on am.oid = ic.relam where i.indrelid = c.oid) as indexes,
      (select coalesce(jsonb_agg(jsonb_build_object('name', p.polname, 'using', pg_get_expr(p.polqual, p.polrelid),
          'check', pg_get_expr(p.polwithcheck, p.polrelid))), '[]') from pg_policy p where p.polrelid = c.oid) as policies,
      (select coalesce(jsonb_agg(t.tgname), '[]') from pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal) as triggers,
      (select coalesce(jsonb_agg(distinct x.privilege_type), '[]') from aclexplode(c.relacl) x join pg_roles r on r.oid = x.grantee
        where r.rolname = 'outrider_app') as rights
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v') and not c.relispartition and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'archive')
      and c.relname !~ '^kysely_'`.execute(db);
  return rows.map((row) => ({
    ...row,
    columns: new Map(row.columns.map(({ name, ...column }) => [name, column])),
  }));
}
