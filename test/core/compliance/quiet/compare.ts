/**
 * The engine's answers against PostgreSQL's, in batches. Server and process each bring time zone data of their own; where the two read a
 * clock differently they cannot agree, and the question is set aside under the name of its zone instead of being counted as a fault.
 */
import type { Kysely } from "kysely";
import { allowedAt } from "../../../../core/compliance/index.ts";
import { clockOf } from "../../../../core/compliance/walltime.ts";
import { type Asked, spelledOut } from "./questions.ts";
import { ask, offsets } from "./statement.ts";

/** Enough for one round trip to cost nothing, few enough for the server's memory. */
const batchSize = 1_000;

export interface Compared {
  readonly asked: number;
  /** In words. */
  readonly disagreements: readonly string[];
  /** Answers that differ because the clocks do: how many, by zone. */
  readonly aside: Readonly<Record<string, number>>;
}

export async function compare(db: Kysely<unknown>, asked: readonly Asked[]): Promise<Compared> {
  const disagreements: string[] = [];
  const aside: Record<string, number> = {};
  for (let from = 0; from < asked.length; from += batchSize) {
    const batch = asked.slice(from, from + batchSize);
    const questions = batch.map(spelledOut);
    const theirs = await ask(db, questions);
    if (theirs.length !== batch.length) throw new Error(`${theirs.length} answers to ${batch.length} questions`);
    for (const [n, { facts, at }] of batch.entries()) {
      const ours = allowedAt(facts, new Date(at)).allowed;
      if (ours === theirs[n]) continue;
      const zone = await otherClock(db, questions[n]?.places.map((place) => place.zone) ?? [], at);
      if (zone === undefined)
        disagreements.push(`${JSON.stringify(facts)} at ${new Date(at).toISOString()}: ours ${ours}`);
      else aside[zone] = (aside[zone] ?? 0) + 1;
    }
  }
  return { asked: asked.length, disagreements, aside };
}

async function otherClock(db: Kysely<unknown>, zones: readonly string[], at: number): Promise<string | undefined> {
  for (const zone of zones) if ((await differences(db, zone, [at, at + 59_999])).length > 0) return zone;
  return undefined;
}

/** Instants at which server and process read a zone's clock differently, by their time zone data. */
export async function differences(db: Kysely<unknown>, zone: string, ats: readonly number[]): Promise<number[]> {
  const theirs = await offsets(db, zone, ats);
  const clock = clockOf(zone);
  return ats.filter((at, n) => clock.offset(at) !== (theirs[n] ?? Number.NaN) * 1_000);
}
