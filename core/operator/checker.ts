/**
 * What a checker is: one invariant of the fault catalogue as SQL that shares no code with the engine it checks.
 * Invariant: a checker only reads, and every row it yields is a violation.
 */
import { type RawBuilder, sql } from "kysely";

/** How far back a checker looks. What is due or in flight is always looked at: those rows are few, and indexed. */
export interface Reach {
  /** Rows made since: ids sort by creation, so the primary key serves it. @param column an id of this prefix */
  since(column: string, prefix: string): RawBuilder<boolean>;
  /** Rows changed since. @param column an instant that an index knows */
  changedSince(column: string): RawBuilder<boolean>;
}

export interface Checker {
  readonly id: string;
  readonly title: string;
  /** Yields `tenant_id` and `what` of every violation within reach. */
  readonly within: (reach: Reach) => RawBuilder<unknown>;
}

/** All there is. */
export const everything: Reach = { since: () => sql`true`, changedSince: () => sql`true` };

/** What was made or changed in the last days. */
export const lastDays = (days: number): Reach => ({
  since: (column, prefix) =>
    sql`${sql.ref(column)} >= (select ${`${prefix}_`}::text || ulid_time(app_now() - make_interval(days => ${days})))`,
  changedSince: (column) => sql`${sql.ref(column)} >= app_now() - make_interval(days => ${days})`,
});

/** Enrollments that were made or have moved: no index tells when a row was last changed, and each move leaves its transition. */
export const moved = ({ since }: Reach) => sql`
  (select id from contact_campaigns where ${since("id", "ccmp")}
   union select contact_campaign_id from campaign_transitions where contact_campaign_id is not null and ${since("id", "ctr")})`;
