/**
 * What must be true of the data at any moment. The numbers are those of the fault catalogue; what only a log outside of the database can
 * tell (what a provider accepted, what a gateway answered) is asked by the tests that own such a log.
 *
 * Invariant: a checker only reads, and every row it names is a violation. Run inside a tenant's transaction it sees that tenant, run as
 * an administrator all of them.
 */
import { type Kysely, type RawBuilder, sql } from "kysely";
import { DateTime } from "luxon";
import type { DB } from "../db/types.gen.ts";
import { type Context, DomainError, transact } from "../kernel/index.ts";
import { catalogueViolations } from "./catalogue.ts";
import { type Checker, everything, lastDays, type Reach } from "./checker.ts";
import { factCheckers } from "./facts.ts";
import { isTimeout, limitStatements } from "./limit.ts";
import { sendCheckers } from "./sends.ts";

export interface InvariantResult {
  readonly id: string;
  readonly title: string;
  readonly violations: number;
  /** The first few, by tenant and id. */
  readonly sample: readonly string[];
}

/** `find` is the checker over all there is. */
export const checkers: readonly (Checker & { readonly find: RawBuilder<unknown> })[] = [
  ...factCheckers,
  ...sendCheckers,
]
  .toSorted((a, b) => (a.id < b.id ? -1 : 1))
  .map((checker) => ({ ...checker, find: checker.within(everything) }));

const sampleSize = 5;

async function check(db: Kysely<DB>, { id, title, within }: Checker, reach: Reach): Promise<InvariantResult> {
  const { rows } = await sql<{ tenant_id: string; what: string; n: number }>`
    with found as materialized (${within(reach)})
    select tenant_id, what, (select count(*)::int from found) as n from found order by tenant_id, what limit ${sampleSize}`.execute(
    db,
  );
  return {
    id,
    title,
    violations: rows[0]?.n ?? 0,
    sample: rows.map((row) => `${row.tenant_id}: ${row.what}`),
  };
}

const result = (id: string, title: string, problems: readonly string[]): InvariantResult => ({
  id,
  title,
  violations: problems.length,
  sample: problems.slice(0, sampleSize),
});

/**
 * What concerns the installation and no single tenant: the catalogue's fences and the clocks.
 * @param wall this process's own clock, never the virtual one; undefined: not compared
 */
export async function checkInstallation(db: Kysely<DB>, wall?: Date): Promise<InvariantResult[]> {
  return [
    result("I-22", "the fences between tenants stand", await catalogueViolations(db)),
    result("I-28", "PostgreSQL and this process tell the same time, in every zone", [
      ...(wall === undefined ? [] : await clockProblems(db, wall)),
      ...(await zoneProblems(db)),
    ]),
  ];
}

/**
 * Whom row-level security binds sees no rows without a tenant, and would be told that nothing is wrong with them.
 * @throws DomainError `doctor.blind`
 */
export async function requireSight(db: Kysely<DB>): Promise<void> {
  const { rows } = await sql<{ name: string; bound: boolean | null }>`
    select current_user as name, row_security_active(to_regclass('public.tenants')::oid) as bound`.execute(db);
  const [user] = rows;
  if (!user?.bound) return;
  const message = `The database user ${user.name} sees no tenant's rows: connect as a superuser or a role with BYPASSRLS.`;
  throw new DomainError("forbidden", "doctor.blind", message);
}

/** Every tenant's data, the catalogue's fences and the clocks. @param db an administrator's connection, past row-level security (`requireSight`) */
export async function checkInvariants(db: Kysely<DB>, wall?: Date): Promise<InvariantResult[]> {
  const results: InvariantResult[] = [];
  for (const checker of checkers) results.push(await check(db, checker, everything));
  return [...results, ...(await checkInstallation(db, wall))].toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** The same checkers for one tenant, as the application's role. */
export const checkTenantInvariants = (ctx: Context): Promise<InvariantResult[]> =>
  transact(ctx, async ({ db }) => {
    const results: InvariantResult[] = [];
    for (const checker of checkers) results.push(await check(db, checker, everything));
    return results;
  });

/** How far back the schedule looks, and how long a single checker may take in it. */
const scheduledDays = 7;
const scheduledLimitMs = 2_000;

/** The most that the examination of one tenant takes. */
export const examinationMs = checkers.length * scheduledLimitMs;

export interface Examination {
  readonly results: readonly InvariantResult[];
  /** Checkers that would have taken too long: `npx outrider doctor` takes the time. */
  readonly skipped: readonly string[];
}

/**
 * The same for a schedule: bounded on tables of any size. Looks at what was made or changed in the last seven days and at all that is due or in
 * flight; a checker that takes longer than two seconds is ended by the server, skipped and named.
 */
export async function examineTenant(ctx: Context, limitMs: number = scheduledLimitMs): Promise<Examination> {
  const results: InvariantResult[] = [];
  const skipped: string[] = [];
  const reach = lastDays(scheduledDays);
  for (const checker of checkers) {
    try {
      const found = await transact(ctx, async ({ db }) => {
        await limitStatements(db, limitMs);
        return check(db, checker, reach);
      });
      results.push(found);
    } catch (error) {
      if (!isTimeout(error)) throw error;
      skipped.push(checker.id);
    }
  }
  return { results, skipped };
}

const tenantTables = [
  "leads",
  "contacts",
  "contact_campaigns",
  "outbound_messages",
  "message_events",
  "inbound_messages",
];

/**
 * In the name of a tenant that does not exist, nothing is seen: whatever is seen is somebody's. Once for all tenants, since the fence is the
 * same for all, and one row of each table is enough.
 * @param db as the application's role: an administrator sees everything
 */
export const checkSeclusion = (db: Kysely<DB>): Promise<InvariantResult> =>
  db.transaction().execute(async (tx) => {
    // By index: reading past the rows of others is what takes time, and the fence's own condition leads to them.
    await sql`select set_config('app.tenant_id', 'tenant_nobody', true), set_config('enable_seqscan', 'off', true)`.execute(
      tx,
    );
    await limitStatements(tx, scheduledLimitMs);
    const first = tenantTables.map(
      (name) => sql`(select tenant_id, ${name} || ' ' || id as what from ${sql.table(name)} limit 1)`,
    );
    const { rows } = await sql<{ tenant_id: string; what: string }>`${sql.join(first, sql` union all `)}`.execute(tx);
    return result(
      "I-08",
      "a tenant sees its own rows only",
      rows.map((row) => `${row.tenant_id}: ${row.what}`),
    );
  });

/** Zones whose rules have changed lately or change oddly, at both sides of their transitions. */
const probeZones = [
  "America/New_York",
  "America/Los_Angeles",
  "America/Phoenix",
  "America/Indiana/Indianapolis",
  "America/Mexico_City",
  "America/Toronto",
  "Pacific/Honolulu",
  "America/Anchorage",
  "Europe/London",
  "Europe/Berlin",
  "Asia/Kolkata",
  "Australia/Lord_Howe",
] as const;
const probeInstants = [
  "2026-01-15T12:00:00Z",
  "2026-03-08T06:59:59Z",
  "2026-03-08T07:00:00Z",
  "2026-03-29T01:00:00Z",
  "2026-07-15T12:00:00Z",
  "2026-10-25T01:00:00Z",
  "2026-11-01T06:00:00Z",
] as const;

/** Two tables of zones that disagree would let a message out an hour early. */
async function zoneProblems(db: Kysely<DB>): Promise<string[]> {
  const { rows } = await sql<{ zone: string; instant: string; wall: string }>`
    select z as zone, i as instant, to_char(i::timestamptz at time zone z, 'YYYY-MM-DD"T"HH24:MI:SS') as wall
    from unnest(${probeZones as unknown as string[]}::text[]) z, unnest(${probeInstants as unknown as string[]}::text[]) i`.execute(
    db,
  );
  return rows.flatMap(({ zone, instant, wall }) => {
    const here = DateTime.fromISO(instant, { zone }).toFormat("yyyy-MM-dd'T'HH:mm:ss");
    return here === wall ? [] : [`${zone} at ${instant}: ${wall} in PostgreSQL, ${here} here`];
  });
}

/** Clocks further apart than this put quiet hours, leases and signatures' ages at risk. */
const maxSkewMs = 30_000;

async function clockProblems(db: Kysely<DB>, wall: Date): Promise<string[]> {
  const { rows } = await sql<{ ahead: number }>`
    select extract(epoch from clock_timestamp() - ${wall}::timestamptz)::float8 * 1000 as ahead`.execute(db);
  const ahead = rows[0]?.ahead ?? 0;
  return Math.abs(ahead) < maxSkewMs
    ? []
    : [`PostgreSQL's clock is ${(ahead / 1000).toFixed(1)} s ahead of this process's`];
}
