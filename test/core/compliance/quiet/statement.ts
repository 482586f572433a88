/**
 * Quiet hours once more, in SQL: PostgreSQL's `AT TIME ZONE`, its calendar and its arithmetic. Shares data rows with the engine (hours of
 * states), never code: which rows apply is spelled out here by hand, holidays are computed by the server.
 */
import { type Kysely, sql } from "kysely";

/** Open on `days` from minute `start` to minute `end`; windows of one group are alternatives, all groups of a place must be open. */
export interface Window {
  readonly g: string;
  readonly days: readonly number[];
  readonly start: number;
  readonly end: number;
  /** Closed on federal holidays and on the weekday on which a weekend one is observed. */
  readonly holidays?: boolean;
}

export interface Place {
  readonly zone: string;
  readonly windows: readonly Window[];
}

export interface Question {
  readonly places: readonly Place[];
  /** Milliseconds. */
  readonly at: number;
}

/** Federal holidays by 5 U.S.C. 6103, computed by the server. Run once per connection. */
export async function prepare(db: Kysely<unknown>): Promise<void> {
  await sql`create table if not exists quiet_holidays (day date primary key)`.execute(db);
  await sql`
    insert into quiet_holidays
    with fixed as (
      select make_date(y, m, d) as day from generate_series(2022, 2033) y,
        (values (1, 1), (6, 19), (7, 4), (11, 11), (12, 25)) as f(m, d)
    ), moving as (
      -- The nth such weekday of a month: the first one, plus weeks.
      select first + ((dow - extract(isodow from first)::int + 7) % 7) + 7 * (n - 1) as day
      from generate_series(2022, 2033) y, (values (1, 1, 3), (2, 1, 3), (9, 1, 1), (10, 1, 2), (11, 4, 4)) as r(m, dow, n),
        lateral (select make_date(y, m, 1) as first) f
      union all
      select max(d::date) from generate_series(2022, 2033) y,
        lateral generate_series(make_date(y, 5, 1), make_date(y, 5, 31), interval '1 day') d
      where extract(isodow from d) = 1 group by y
    )
    select day from fixed union select day from moving
    union select day - 1 from fixed where extract(isodow from day) = 6
    union select day + 1 from fixed where extract(isodow from day) = 7
    on conflict do nothing`.execute(db);
}

/** Whether all places read an open time at the instant and 59.999 seconds later. */
export async function ask(db: Kysely<unknown>, questions: readonly Question[]): Promise<boolean[]> {
  // Places of one question mostly share their windows; each set is sent once.
  const sets = new Map<readonly Window[], number>();
  const places = questions.flatMap((question, n) =>
    question.places.map(({ zone, windows }) => {
      const set = sets.get(windows) ?? sets.size;
      sets.set(windows, set);
      return { n, zone, set, at: question.at };
    }),
  );
  const rules = [...sets].flatMap(([windows, set]) => windows.map((window) => ({ set, ...window })));
  const { rows } = await sql<{ open: boolean }>`
    with probe as materialized (
      select row_number() over () as id, p.n, p.set,
        extract(isodow from wall)::int as dow, extract(hour from wall)::int * 60 + extract(minute from wall)::int as minute,
        exists (select from quiet_holidays h where h.day = wall::date) as holiday
      from unnest(${places.map((p) => p.n)}::int[], ${places.map((p) => p.zone)}::text[], ${places.map((p) => p.set)}::int[],
          ${places.map((p) => p.at)}::float8[]) as p(n, zone, set, at),
        (values (0), (59999)) t(late),
        lateral (select to_timestamp((p.at + t.late) / 1000) at time zone p.zone as wall) w
    ), rule as materialized (
      select * from unnest(${rules.map((r) => r.set)}::int[], ${rules.map((r) => r.g)}::text[],
        ${rules.map((r) => r.days.join(""))}::text[], ${rules.map((r) => r.start)}::int[], ${rules.map((r) => r.end)}::int[],
        ${rules.map((r) => r.holidays ?? false)}::boolean[]) as r(set, g, days, opens, closes, holidays)
    ), verdict as (
      select p.n, bool_or(
        strpos(r.days, p.dow::text) > 0 and p.minute >= r.opens and p.minute < r.closes and not (r.holidays and p.holiday)
      ) as open
      from probe p join rule r using (set) group by p.n, p.id, r.g
    ), whole as (select n, bool_and(open) as open from verdict group by n)
    select coalesce(w.open, true) as open from generate_series(0, ${questions.length - 1}::int) q(n) left join whole w using (n) order by q.n`.execute(
    db,
  );
  return rows.map((row) => row.open);
}

/** Seconds east of Greenwich of zones at instants, by the server's time zone data. */
export async function offsets(db: Kysely<unknown>, zone: string, ats: readonly number[]): Promise<number[]> {
  const { rows } = await sql<{ seconds: number }>`
    select extract(epoch from (to_timestamp(at / 1000.0) at time zone ${zone}) - (to_timestamp(at / 1000.0) at time zone 'UTC'))::float8 as seconds
    from unnest(${ats as number[]}::float8[]) with ordinality as u(at, n) order by n`.execute(db);
  return rows.map((row) => row.seconds);
}

/** Names of the IANA database that the server knows, without its own inventions (`posix/…`, abbreviations). */
export async function serverZones(db: Kysely<unknown>): Promise<string[]> {
  const { rows } = await sql<{ name: string }>`
    select name from pg_timezone_names where name !~ '^(posix|right)/' and name not in ('Factory', 'localtime', 'posixrules') order by name`.execute(
    db,
  );
  return rows.map((row) => row.name);
}

export interface Transition {
  readonly zone: string;
  /** The first instant of the new offset, milliseconds. */
  readonly at: number;
  readonly before: number;
  readonly after: number;
}

/** Every change of offset of a zone between two years, found by the server by looking at each day and then at each minute of those that differ. */
export async function transitions(db: Kysely<unknown>, zone: string, from: number, to: number): Promise<Transition[]> {
  const { rows } = await sql<{ at: number; before: number; after: number }>`
    with days as (
      select d, extract(epoch from (d at time zone ${zone}) - (d at time zone 'UTC'))::int as off
      from generate_series(make_timestamptz(${from}, 1, 1, 0, 0, 0, 'UTC'), make_timestamptz(${to}, 1, 1, 0, 0, 0, 'UTC'), interval '6 hours') d
    ), changed as (
      select lag(d) over w as since, d as until, off, lag(off) over w as was from days window w as (order by d)
    ), minutes as (
      select m, extract(epoch from (m at time zone ${zone}) - (m at time zone 'UTC'))::int as off
      from changed, generate_series(since, until, interval '1 minute') m where off <> was
    ), steps as (select m, off, lag(off) over (order by m) as was from minutes)
    select distinct extract(epoch from m)::float8 * 1000 as at, was as before, off as after from steps
    where was is not null and off <> was order by at`.execute(db);
  return rows.map((row) => ({ zone, ...row }));
}
