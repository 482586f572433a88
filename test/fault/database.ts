/**
 * The rig's own PostgreSQL: durable, pulled the plug on now and then, and watched by triggers that the engine knows nothing of.
 *
 * Invariant: what the triggers write commits with what they watched, so the referee's diary of claims is exact.
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { type Postgres, startPostgres } from "../../local/postgres.ts";
import { hasEnded } from "../../local/postgres-owner.ts";
import { type MigrateTask, taskVariable } from "./processes.ts";

const name = "fault";
const role = "outrider_app";
/** A restart replays the log since the last checkpoint. */
const endLimitMs = 30_000;

export interface FaultDatabase {
  /** As the application's role. */
  readonly url: string;
  readonly ownerUrl: string;
  readonly port: number;
  /** Rows of a query past row-level security. Repeated while the server is away. */
  query<T>(text: string, values?: readonly unknown[]): Promise<T[]>;
  /** `pg_ctl restart -m immediate`: no checkpoint, no goodbye; the next start recovers from the log. */
  restart(): Promise<void>;
  /** Vacuums and analyses what grows: autovacuum forgets with every restart what it has counted, and would never come. */
  tidy(): Promise<void>;
  /** How often it was restarted, and how long it was away each time. */
  readonly restarts: { readonly at: number; readonly awayMs: number }[];
  stop(): Promise<void>;
}

const grown = [
  "outbound_messages",
  "send_attempts",
  "scheduled_actions",
  "contact_campaigns",
  "webhook_deliveries",
  "message_events",
  "event_keys",
  "contacts",
  "leads",
  "contact_channels",
  "people.master",
  "company.master",
  "intake.raw_loads",
  "campaign_transitions",
  "idempotency_keys",
  "sweep_state",
];

/** Connection lost, refused, shutting down, starting up. */
const away = /ECONN|EPIPE|terminat|57P0\d|08\d{3}|starting up|shutting down|recovery|timeout/i;

export async function openFaultDatabase(dir: string, log: (line: string) => void): Promise<FaultDatabase> {
  let server: Postgres = await startPostgres({ dir, mode: "durable", log });
  const { port } = server;
  const admin = new pg.Client({ connectionString: server.url() });
  await admin.connect();
  await admin.query(`create database ${name}`);
  await admin.end();
  const ownerUrl = server.url(name);
  const pool = new pg.Pool({ connectionString: ownerUrl, max: 4, connectionTimeoutMillis: 5_000 });
  pool.on("error", () => {});
  pool.on("connect", (client) => client.on("error", () => {}));
  const restarts: FaultDatabase["restarts"] = [];

  return {
    url: server.url(name, role),
    ownerUrl,
    port,
    restarts,
    async query<T>(text: string, values: readonly unknown[] = []): Promise<T[]> {
      for (;;) {
        try {
          return (await pool.query(text, [...values])).rows as T[];
        } catch (error) {
          const code = error instanceof Error && "code" in error ? String(error.code) : "";
          if (!away.test(`${code} ${String(error)}`)) throw error;
          await sleep(200);
        }
      }
    },
    async restart() {
      const at = Date.now();
      const { pid } = server;
      server.kill();
      if (!(await hasEnded(pid, endLimitMs))) throw new Error(`PostgreSQL ${pid} did not end`);
      server = await startPostgres({ dir, mode: "durable", port, log });
      restarts.push({ at, awayMs: Date.now() - at });
    },
    async tidy() {
      // Away in the middle of it: the next time will do.
      for (const table of grown) await pool.query(`vacuum (analyze, skip_locked) ${table}`).catch(() => {});
    },
    async stop() {
      await pool.end();
      await server.stop();
    },
  };
}

/** Migrates in a process that is killed between two migrations, and then in one that is not. @returns whether it was killed there */
export async function migrateKilled(database: FaultDatabase, faultLog: string, nth: number): Promise<boolean> {
  const run = async (armed: MigrateTask["armed"]): Promise<NodeJS.Signals | number | null> => {
    const task: MigrateTask = { databaseUrl: database.ownerUrl, armed, faultLog };
    const child = spawn(process.execPath, [path.resolve(import.meta.dirname, "migrator.ts")], {
      env: { PATH: process.env["PATH"], [taskVariable]: JSON.stringify(task) },
      stdio: ["ignore", "ignore", "inherit"],
    });
    return new Promise((resolve) => child.once("exit", (code, signal) => resolve(signal ?? code)));
  };
  const first = await run([{ point: "schema.migrating", nth }]);
  const second = await run([]);
  if (second !== 0) throw new Error(`migrating ended with ${second}`);
  return first === "SIGKILL";
}

/**
 * The referee's diary: every move of a work row into, inside and out of a lease, with the connection that made it. In schema `archive`,
 * the only one that the catalogue's rules leave out.
 */
export const diary = `
  create schema if not exists archive;
  create table archive.referee_moves (
    n bigint generated always as identity primary key, kind text not null, tenant text not null, row_id text not null, generation int not null,
    from_status text not null, to_status text not null, worker text not null, at timestamptz not null
  );
  create index referee_moves_row on archive.referee_moves (kind, tenant, row_id, n);
  create function archive.referee_note() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
  begin
    insert into archive.referee_moves (kind, tenant, row_id, generation, from_status, to_status, worker, at)
    values (tg_argv[0], new.tenant_id, new.id, new.generation, old.status,
      case when new.status = 'pending' and new.lease_until is not null then 'running' else new.status end,
      current_setting('application_name'), clock_timestamp());
    return null;
  end $$;
  create trigger referee after update on webhook_deliveries for each row
    when ((old.status = 'running' or new.status = 'running') and (old.status <> new.status or old.generation <> new.generation))
    execute function archive.referee_note('deliveries');
  -- A claimed action stays pending, with a lease.
  create trigger referee after update on scheduled_actions for each row
    when (old.lease_until is not null or new.lease_until is not null) execute function archive.referee_note('actions');
  create trigger referee after update on imports for each row
    when ((old.status = 'running' or new.status = 'running') and (old.status <> new.status or old.generation <> new.generation))
    execute function archive.referee_note('imports');
  create trigger referee after update on outbound_messages for each row
    when ((old.status = 'sending' or new.status = 'sending') and (old.status <> new.status or old.generation <> new.generation))
    execute function archive.referee_note('messages');
  update deployment set environment = 'test';
`;

/** Lines of a log that is still being written to. */
export function linesOf<T>(file: string): T[] {
  if (!existsSync(file)) return [];
  const text = readFileSync(file, "utf8");
  return text
    .slice(0, text.lastIndexOf("\n") + 1)
    .split("\n")
    .filter((line) => line !== "")
    .map((line): T => JSON.parse(line));
}
