/**
 * A readable description of a database's schema, from PostgreSQL's own catalogue: what a reviewer of a migration wants to see
 * change, and nothing else.
 *
 * Invariant: two databases with the same schema give the same text, whatever order their objects were made in. Partitions made
 * by the calendar, archived tables, extensions' objects and Kysely's own tables are left out.
 */
import { type Kysely, type RawBuilder, sql } from "kysely";

/** The whole description, ending in a newline. */
export async function dumpSchema<DB>(db: Kysely<DB>): Promise<string> {
  const sections: string[] = [];
  for (const [title, query] of catalogue) {
    const { rows } = await query.execute(db);
    if (rows.length > 0) sections.push(`-- ${title}\n\n${rows.map(({ text }) => text.trimEnd()).join("\n\n")}`);
  }
  return `${sections.join("\n\n\n")}\n`;
}

type Section = readonly [title: string, query: RawBuilder<{ text: string }>];

/** Schemas that are ours: not PostgreSQL's, and not the one that holds what undone migrations left behind. */
const ours = sql`n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'archive')`;

const notExtension = (catalog: string, oid: string): RawBuilder<boolean> => sql`not exists (
  select from pg_depend d
  where d.classid = ${sql.lit(catalog)}::regclass and d.objid = ${sql.raw(oid)} and d.deptype = 'e')`;

/** A table, view or sequence that belongs in the description. */
const described = sql`${ours} and c.relname !~ '^kysely_' 
  and (not c.relispartition or pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT') and ${notExtension("pg_class", "c.oid")}`;

/** Who may do what, one line per role; the owner's own rights go without saying. */
const grants = (acl: string, kind: string, owner: string): RawBuilder<string> => sql`(
  select coalesce(string_agg(line, e'\n' order by line collate "C"), '')
  from (
    select format('grant %s to %s;', string_agg(lower(a.privilege_type), ', ' order by a.privilege_type collate "C"),
      coalesce(r.rolname, 'public')) as line
    from aclexplode(coalesce(${sql.raw(acl)}, acldefault(${sql.lit(kind)}::"char", ${sql.raw(owner)}))) a
    left join pg_roles r on r.oid = a.grantee
    where a.grantee <> ${sql.raw(owner)}
    group by r.rolname, a.grantee
  ) granted)`;

/** Joins the parts that are not empty, one per line. */
const lines = (...parts: RawBuilder<unknown>[]): RawBuilder<string> =>
  sql`array_to_string(array_remove(array[${sql.join(parts.map((part) => sql`nullif(${part}, '')`))}], null), e'\n')`;

const comment = (oid: string, catalog: string): RawBuilder<string> =>
  sql`'-- ' || replace(obj_description(${sql.raw(oid)}, ${sql.lit(catalog)}), e'\n', e'\n-- ')`;

const roles = sql<{ text: string }>`
  select concat_ws(' ', 'role', r.rolname,
      case when r.rolcanlogin then 'login' else 'nologin' end,
      case when r.rolinherit then 'inherit' else 'noinherit' end,
      case when r.rolbypassrls then 'bypassrls' else 'nobypassrls' end,
      case when r.rolsuper then 'superuser' end,
      case when r.rolcreatedb then 'createdb' end,
      case when r.rolcreaterole then 'createrole' end,
      (select 'in ' || string_agg(g.rolname, ', ' order by g.rolname collate "C")
       from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = r.oid),
      'set ' || array_to_string(r.rolconfig, ', ')) || ';' as text
  from pg_roles r where r.rolname ~ '^outrider_' order by r.rolname collate "C"`;

const extensions = sql<{ text: string }>`
  select format('extension %s in %s;', e.extname, n.nspname) as text
  from pg_extension e join pg_namespace n on n.oid = e.extnamespace
  where e.extname <> 'plpgsql' order by e.extname collate "C"`;

const schemas = sql<{ text: string }>`
  select ${lines(sql`format('schema %I owner %I;', n.nspname, pg_get_userbyid(n.nspowner))`, comment("n.oid", "pg_namespace"), grants("n.nspacl", "n", "n.nspowner"))} as text
  from pg_namespace n where ${ours} order by n.nspname collate "C"`;

const defaultPrivileges = sql<{ text: string }>`
  select ${lines(
    sql`format('default privileges of %I in %s for %s:', pg_get_userbyid(dp.defaclrole), coalesce(n.nspname, 'every schema'),
      case dp.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types'
        else 'schemas' end)`,
    grants("dp.defaclacl", "r", "dp.defaclrole"),
  )} as text
  from pg_default_acl dp left join pg_namespace n on n.oid = dp.defaclnamespace
  order by pg_get_userbyid(dp.defaclrole), n.nspname collate "C", dp.defaclobjtype`;

const types = sql<{ text: string }>`
  select case t.typtype
      when 'e' then format('enum %I.%I (%s);', n.nspname, t.typname,
        (select string_agg(quote_literal(e.enumlabel), ', ' order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid))
      when 'd' then format('domain %I.%I as %s%s%s;', n.nspname, t.typname, format_type(t.typbasetype, t.typtypmod),
        case when t.typnotnull then ' not null' else '' end,
        (select coalesce(string_agg(' ' || pg_get_constraintdef(k.oid), '' order by k.conname), '')
         from pg_constraint k where k.contypid = t.oid))
      else format('type %I.%I (%s);', n.nspname, t.typname,
        (select string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' order by a.attnum)
         from pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped))
    end as text
  from pg_type t join pg_namespace n on n.oid = t.typnamespace left join pg_class c on c.oid = t.typrelid
  where ${ours} and (t.typtype in ('e', 'd') or (t.typtype = 'c' and c.relkind = 'c')) and ${notExtension("pg_type", "t.oid")}
  order by n.nspname collate "C", t.typname collate "C"`;

const sequences = sql<{ text: string }>`
  select ${lines(
    sql`format('sequence %I.%I as %s start %s increment %s;', n.nspname, c.relname, format_type(s.seqtypid, null), s.seqstart,
      s.seqincrement)`,
    grants("c.relacl", "s", "c.relowner"),
  )} as text
  from pg_sequence s join pg_class c on c.oid = s.seqrelid join pg_namespace n on n.oid = c.relnamespace
  where ${described} order by n.nspname collate "C", c.relname collate "C"`;

const columns = sql`(
  select string_agg('  ' || concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
      case when a.attnotnull then 'not null' end,
      case when co.collname <> 'default' and co.oid <> ty.typcollation then 'collate ' || quote_ident(co.collname) end,
      case a.attidentity when 'a' then 'generated always as identity' when 'd' then 'generated by default as identity' end,
      case when a.attgenerated <> '' then 'generated always as (' || pg_get_expr(d.adbin, d.adrelid) || ') '
          || case a.attgenerated when 's' then 'stored' else 'virtual' end
        else 'default ' || pg_get_expr(d.adbin, d.adrelid) end,
      '-- ' || replace(col_description(c.oid, a.attnum), e'\n', ' ')), e'\n' order by a.attnum)
  from pg_attribute a
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  left join pg_collation co on co.oid = a.attcollation
  join pg_type ty on ty.oid = a.atttypid
  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)`;

/** NOT NULL stands beside its column already. */
const constraints = sql`(
  select string_agg(format('  constraint %I %s', k.conname, pg_get_constraintdef(k.oid)), e'\n'
    order by array_position('{p,u,x,f,c}'::"char"[], k.contype), k.conname collate "C")
  from pg_constraint k where k.conrelid = c.oid and k.contype in ('p', 'u', 'x', 'f', 'c'))`;

const indexes = sql`(
  select string_agg(pg_get_indexdef(i.indexrelid) || ';', e'\n'
    order by ic.relname collate "C")
  from pg_index i join pg_class ic on ic.oid = i.indexrelid
  where i.indrelid = c.oid and not exists (select from pg_constraint k where k.conindid = i.indexrelid and k.conrelid = c.oid))`;

const triggers = sql`(
  select string_agg(pg_get_triggerdef(t.oid) || ';'
      || case t.tgenabled when 'O' then '' else ' -- enabled: ' || t.tgenabled::text end, e'\n' order by t.tgname collate "C")
  from pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal)`;

const policies = sql`(
  select string_agg(concat_ws(' ', 'policy', quote_ident(p.polname), case when p.polpermissive then 'permissive' else 'restrictive' end,
      'for', case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end,
      'to', (select string_agg(coalesce(r.rolname, 'public'), ', ' order by r.rolname collate "C")
        from unnest(p.polroles) as role_oid left join pg_roles r on r.oid = role_oid),
      'using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
      'with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')') || ';', e'\n' order by p.polname collate "C")
  from pg_policy p where p.polrelid = c.oid)`;

const columnGrants = sql`(
  select string_agg(line, e'\n' order by line collate "C")
  from (
    select format('grant %s (%s) to %s;', lower(g.privilege_type), string_agg(quote_ident(a.attname), ', ' order by a.attnum),
      coalesce(r.rolname, 'public')) as line
    from pg_attribute a, aclexplode(a.attacl) g left join pg_roles r on r.oid = g.grantee
    where a.attrelid = c.oid and not a.attisdropped
    group by g.privilege_type, r.rolname
  ) granted)`;

const tables = sql<{ text: string }>`
  select ${lines(
    comment("c.oid", "pg_class"),
    sql`concat_ws(' ', format('table %I.%I', n.nspname, c.relname), 'owner', pg_get_userbyid(c.relowner),
      case c.relpersistence when 'u' then 'unlogged' end,
      'partition by ' || pg_get_partkeydef(c.oid),
      (select 'default partition of ' || i.inhparent::regclass from pg_inherits i where c.relispartition and i.inhrelid = c.oid), 'with ' || array_to_string(c.reloptions, ', ')) || ' ('`,
    columns,
    constraints,
    sql`');'`,
    indexes,
    sql`case when c.relrowsecurity then 'row security enabled' || case when c.relforcerowsecurity then ' and forced' else '' end || ';'
      else '-- no row security' end`,
    policies,
    triggers,
    grants("c.relacl", "r", "c.relowner"),
    columnGrants,
  )} as text
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p') and ${described} order by n.nspname collate "C", c.relname collate "C"`;

const views = sql<{ text: string }>`
  select ${lines(
    comment("c.oid", "pg_class"),
    sql`concat_ws(' ', case c.relkind when 'm' then 'materialized view' else 'view' end, format('%I.%I', n.nspname, c.relname),
      'owner', pg_get_userbyid(c.relowner), 'with ' || array_to_string(c.reloptions, ', '), 'as')`,
    sql`pg_get_viewdef(c.oid, true)`,
    indexes,
    triggers,
    grants("c.relacl", "r", "c.relowner"),
    columnGrants,
  )} as text
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('v', 'm') and ${described} order by n.nspname collate "C", c.relname collate "C"`;

const functions = sql<{ text: string }>`
  select ${lines(
    comment("p.oid", "pg_proc"),
    sql`'-- owner ' || pg_get_userbyid(p.proowner)`,
    sql`case when p.prokind = 'a' then format('aggregate %I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid))
      else rtrim(pg_get_functiondef(p.oid), e'\n') end || ';'`,
    grants("p.proacl", "f", "p.proowner"),
  )} as text
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
  where ${ours} and ${notExtension("pg_proc", "p.oid")}
  order by n.nspname collate "C", p.proname collate "C", pg_get_function_identity_arguments(p.oid) collate "C"`;

const catalogue: readonly Section[] = [
  ["Roles", roles],
  ["Extensions", extensions],
  ["Schemas", schemas],
  ["Default privileges", defaultPrivileges],
  ["Types", types],
  ["Sequences", sequences],
  ["Tables", tables],
  ["Views", views],
  ["Functions", functions],
];
