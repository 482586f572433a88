/**
 * Prefixed, monotonic ULIDs: `lead_01J…`. They sort by creation time, also within one millisecond of one process.
 * An id is a name, never a permission: whoever knows one still needs the tenant it belongs to.
 */
import { monotonicFactory } from "ulid";
import * as z from "zod";

/** One prefix per entity. The SQL function `new_id(prefix)` makes the same shape. */
export const idPrefixes = {
  organization: "org",
  tenant: "tenant",
  actor: "actor",
  apiKey: "key",
  lead: "lead",
  contact: "contact",
  contactChannel: "chn",
  company: "com",
  person: "per",
  rawLoad: "load",
  import: "imp",
  artifact: "art",
  correlation: "corr",
  segment: "seg",
  campaign: "mcmp",
  planVersion: "cpv",
  enrollment: "ccmp",
  transition: "ctr",
  action: "sact",
  template: "tmpl",
  sender: "esi",
  channelConfig: "chc",
  message: "omsg",
  attempt: "att",
  event: "mev",
  inbound: "imsg",
  conversation: "conv",
  rateLimit: "srl",
  suppression: "sup",
  dnc: "dnc",
  consent: "cons",
  delivery: "whd",
  link: "lnk",
  task: "task",
  simulation: "sim",
  idempotency: "idem",
  config: "cfg",
} as const;
export type Entity = keyof typeof idPrefixes;
export type Id<E extends Entity> = `${(typeof idPrefixes)[E]}_${string}`;

let next = monotonicFactory();

/** Starts over with ids from this source of randomness (uniform in [0, 1)), so that a simulation makes the same ones in every run. */
export function seedIds(random: () => number): void {
  next = monotonicFactory(random);
}

/** @param at the instant the id should sort at: `ctx.now`. */
export const newId = <E extends Entity>(entity: E, at: Date): Id<E> =>
  `${idPrefixes[entity]}_${next(at.getTime())}` as Id<E>;

const ulidPattern = "[0-9A-HJKMNP-TV-Z]{26}";

/** The zod schema of one entity's id. Its message names the expected prefix. */
export const idOf = <E extends Entity>(entity: E): z.ZodType<Id<E>, string> =>
  z.string().regex(new RegExp(`^${idPrefixes[entity]}_${ulidPattern}$`), {
    error: `expected an id like ${idPrefixes[entity]}_01J…`,
  }) as unknown as z.ZodType<Id<E>, string>;
