/**
 * An independent answer to "is this instant inside every window?": PostgreSQL's `AT TIME ZONE` and plain SQL. It shares data rows with the
 * engine, never code.
 */
import { type Kysely, sql } from "kysely";

/** One weekly opening: ISO weekday and minutes from local midnight, exclusive end. */
export interface OracleSpan {
  /** Spans of one group are alternatives; all groups of a question must have an open one. */
  readonly group: string;
  readonly dow: number;
  readonly start: number;
  readonly end: number;
}

export interface OracleQuestion {
  readonly zones: readonly string[];
  readonly spans: readonly OracleSpan[];
  readonly at: number;
}

/** True when the wall clocks of all zones read an open time at the instant and 59.999 seconds later. */
export async function oracle(db: Kysely<unknown>, questions: readonly OracleQuestion[]): Promise<boolean[]> {
  const out: boolean[] = [];
  for (let from = 0; from < questions.length; from += 2_000) {
    const batch = JSON.stringify(questions.slice(from, from + 2_000).map((question, n) => ({ n, ...question })));
    const { rows } = await sql<{ open: boolean }>`
      with q as (select * from jsonb_to_recordset(${batch}::jsonb) as r(n int, zones jsonb, spans jsonb, at bigint)),
      probe as (
        select n, spans, to_timestamp((at + late) / 1000.0) at time zone zone as wall
        from q, jsonb_array_elements_text(zones) zone, (values (0), (59999)) t(late)
      ),
      verdict as (
        select p.n, s.group, bool_or(
          extract(isodow from wall) = s.dow
          and wall::time >= make_time(0, 0, 0) + make_interval(mins => s.start)
          and (s.end = 1440 or wall::time < make_time(0, 0, 0) + make_interval(mins => s.end))
        ) as open
        from probe p, jsonb_to_recordset(spans) as s("group" text, dow int, start int, "end" int)
        group by p.n, p.wall, s.group
      )
      select q.n, coalesce(bool_and(v.open), true) as open from q left join verdict v using (n) group by q.n order by q.n`.execute(
      db,
    );
    out.push(...rows.map((row) => row.open));
  }
  return out;
}
