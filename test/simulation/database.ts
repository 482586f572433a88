/**
 * The database of a simulation: a clone of the migrated template that gives every seed exactly the same start.
 *
 * Invariant: what a seed finds does not depend on the seeds before it. Tables are emptied down to their files; ids that SQL makes come
 * from a sequence; nothing in the background (vacuum, statistics) changes the order in which rows are found, and plans, which are kept
 * because planning costs more than the work, are kept for one seed only.
 */
import { createHash } from "node:crypto";
import pg from "pg";

const tables = `
  select c.oid::regclass as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind = 'r' and n.nspname in ('public', 'intake', 'vault', 'company', 'people', 'marketing')
    and c.relname not in ('deployment', 'kysely_migration', 'kysely_migration_lock')`;

const preparation = `
  create sequence public.sim_ids;
  grant usage on sequence public.sim_ids to public;
  -- Whoever makes ids in SQL asks this function for chance.
  set allow_system_table_mods = on;
  create or replace function pg_catalog.gen_random_uuid() returns uuid language sql volatile parallel unsafe as $$
    select md5(nextval('public.sim_ids')::text)::uuid
  $$;
  reset allow_system_table_mods;
  do $$ declare t regclass; begin
    for t in ${tables} loop execute format('alter table %s set (autovacuum_enabled = false)', t); end loop;
    execute format('alter database %I set plan_cache_mode = force_generic_plan', current_database());
    execute format('alter database %I set jit = off', current_database());
    execute format('alter database %I set max_parallel_workers_per_gather = 0', current_database());
    execute format('alter database %I set deadlock_timeout = ''1ms''', current_database());
    execute format('alter database %I set synchronous_commit = off', current_database());
  end $$;
  create schema sim;
  create table sim.sim_base (n serial primary key, name regclass, columns text, rows jsonb);
  create function public.sim_save() returns void language plpgsql as $$
  declare t regclass; found jsonb; cols text;
  begin
    for t in ${tables} loop
      execute format('select jsonb_agg(to_jsonb(x)) from %s x', t) into found;
      if found is null then continue; end if;
      select string_agg(quote_ident(attname), ', ' order by attnum) into cols
      from pg_attribute where attrelid = t and attnum > 0 and not attisdropped and attgenerated = '';
      insert into sim.sim_base (name, columns, rows) values (t, cols, found);
    end loop;
    insert into sim.sim_base (name, columns, rows)
    select null, quote_ident(schemaname) || '.' || quote_ident(sequencename), to_jsonb(coalesce(last_value, 0)) from pg_sequences
    where schemaname in ('public', 'intake', 'vault', 'company', 'people', 'marketing');
  end $$;
  create function public.sim_empty() returns text[] language plpgsql as $$
  declare t regclass; n bigint; filled text[] := '{}';
  begin
    set local session_replication_role = replica;
    for t in ${tables} and pg_relation_size(c.oid) > 0 loop
      execute format('delete from %s', t);
      get diagnostics n = row_count;
      if n > 0 then filled := filled || t::text; end if;
    end loop;
    return filled;
  end $$;
  create function public.sim_fill() returns void language plpgsql as $$
  declare base record;
  begin
    set local session_replication_role = replica;
    for base in select * from sim.sim_base order by n loop
      if base.name is null then
        perform setval(base.columns::regclass, greatest((base.rows #>> '{}')::bigint, 1), (base.rows #>> '{}')::bigint > 0);
      else
        execute format('insert into %s (%s) overriding system value select %s from jsonb_populate_recordset(null::%s, $1)',
                       base.name, base.columns, base.columns, base.name) using base.rows;
      end if;
    end loop;
  end $$;
  create function public.sim_digest() returns table (name text, digest text) language plpgsql as $$
  declare t regclass;
  begin
    for t in ${tables} and pg_relation_size(c.oid) > 0 loop
      name := t::text;
      execute format('select md5(string_agg(x, chr(10) order by x)) from (select (to_jsonb(r) - $1)::text as x from %s r) s', t)
        using array['signature', 'headers', 'api_credentials', 'key_hash', 'prefix'] into digest;
      if digest is not null then return next; end if;
    end loop;
  end $$;`;

/** Names for statements, so that a connection reads and plans each of them once. */
export class Statements {
  readonly #names = new Map<string, string>();
  named(text: string, values: readonly unknown[]): pg.QueryConfig {
    let name = this.#names.get(text);
    if (name === undefined) {
      name = `s${this.#names.size}`;
      this.#names.set(text, name);
    }
    return { name, text, values: values as unknown[] };
  }
}

export class SimulationDatabase {
  /** Past row-level security, and never part of a simulated process: sets the clock, looks, checks. */
  readonly side: pg.Client;
  readonly #statements = new Statements();

  private constructor(side: pg.Client) {
    this.side = side;
  }

  static async open(ownerUrl: string): Promise<SimulationDatabase> {
    const first = new pg.Client({ connectionString: ownerUrl });
    await first.connect();
    await first.query(preparation);
    await first.end();
    // Settings of the database hold from the next connection on.
    const side = new pg.Client({ connectionString: ownerUrl });
    await side.connect();
    return new SimulationDatabase(side);
  }

  async setClock(at: number): Promise<void> {
    await this.rows("select set_app_clock($1)", [new Date(at)]);
  }

  /** Makes what is there now the start of every seed. */
  async save(): Promise<void> {
    await this.side.query("select sim_save()");
  }

  /** Emptied and vacuumed, so that new rows lie where they would in a new table; faster than TRUNCATE, which makes new files. */
  async restore(): Promise<void> {
    const [row] = await this.rows<{ filled: string[] }>("select sim_empty() as filled");
    if (row && row.filled.length > 0)
      await this.side.query(`vacuum (truncate, skip_locked false) ${row.filled.join(", ")}`);
    await this.side.query("select sim_fill()");
    await this.side.query("discard plans");
  }

  async rows<T>(sql: string, params: readonly unknown[] = []): Promise<T[]> {
    return (await this.side.query(this.#statements.named(sql, params))).rows as T[];
  }

  /** One hash over everything that is committed, in an order of its own. */
  async digest(): Promise<string> {
    const found = await this.rows<{ name: string; digest: string }>("select * from sim_digest() order by name");
    return createHash("sha256").update(JSON.stringify(found)).digest("hex");
  }

  async blockers(pid: number): Promise<number> {
    const [row] = await this.rows<{ n: number }>("select cardinality(pg_blocking_pids($1)) as n", [pid]);
    return row?.n ?? 0;
  }

  close(): Promise<void> {
    return this.side.end();
  }
}
