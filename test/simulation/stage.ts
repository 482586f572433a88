/**
 * Where worlds take place: a prepared database, processes with the real handlers in them, and one world after the other.
 * Invariant: a world leaves nothing behind that the next one could notice.
 */
import { connect } from "../../core/db/connect.ts";
import { cachedKeys } from "../../core/kernel/index.ts";
import { catalogueViolations } from "../../core/operator/catalogue.ts";
import type { Queue } from "../../core/ports/index.ts";
import { memoryBlobs, memoryKeys } from "../../core/providers/memory/index.ts";
import { twilio } from "../../core/providers/twilio/index.ts";
import * as actions from "../../functions/actions.ts";
import * as deliveries from "../../functions/deliveries.ts";
import * as drain from "../../functions/drain.ts";
import * as imports from "../../functions/imports.ts";
import { createLog } from "../../functions/lib/log.ts";
import { createHost, type Host, providerAdapters } from "../../functions/lib/runtime.ts";
import * as maintain from "../../functions/maintain.ts";
import * as reconcile from "../../functions/reconcile.ts";
import * as send from "../../functions/send.ts";
import * as sweep from "../../functions/sweep.ts";
import * as tracking from "../../functions/tracking.ts";
import * as webhooks from "../../functions/webhooks.ts";
import { type Base, makeBase, publicUrl, start } from "./base.ts";
import { setVirtualNow } from "./clock.ts";
import { SimulationDatabase } from "./database.ts";
import { Process } from "./invocation.ts";
import type { Booted, Handlers, Outcome, WorldParts } from "./parts.ts";
import type { Script } from "./script.ts";
import { withLookup } from "./wire.ts";
import { World } from "./world.ts";

export interface Stage {
  play(script: Script, keepTrace?: boolean): Promise<Outcome>;
  /** Broken fences, found before any world. */
  readonly fences: readonly string[];
  close(): Promise<void>;
}

export interface StageOptions {
  readonly url: string;
  readonly ownerUrl: string;
  /** SQL that breaks something on purpose, run after the base was made. */
  readonly sabotage?: string | undefined;
}

const processes = 3;

const defined: Readonly<Record<keyof Handlers, (host: Host) => unknown>> = {
  sweep: sweep.define,
  reconcile: reconcile.define,
  maintain: maintain.define,
  drain: drain.define,
  actions: actions.define,
  send: send.define,
  deliveries: deliveries.define,
  imports: imports.define,
  webhooks: webhooks.define,
  tracking: tracking.define,
};

export async function openStage({ url, ownerUrl, sabotage }: StageOptions): Promise<Stage> {
  setVirtualNow(start);
  const database = await SimulationDatabase.open(ownerUrl);
  await database.setClock(start);
  const owner = connect({ url: ownerUrl, driver: "pg", max: 1 });
  const plain = connect({ url, driver: "pg", max: 2 });
  const spills: Uint8Array[] = [];
  let blobs = memoryBlobs();
  const keys = memoryKeys();
  const log = createLog({ write: () => {}, level: "error", metrics: false, now: () => new Date() });
  const hostWith = (db: Host["db"], queue: Queue): Host =>
    createHost({
      db,
      queue,
      blobs,
      keys: cachedKeys(keys, { now: () => new Date() }),
      ...providerAdapters,
      senders: { ...providerAdapters.senders, twilio: withLookup(twilio) },
      publicUrl,
      signingKeys: [new Uint8Array(32).fill(7)],
      log,
    });
  const base: Base = await makeBase(hostWith(plain, { ring: async () => {} }), owner, blobs, keys);
  await database.save();
  // What the simulation itself brings along belongs to no tenant.
  const own = new Set(await catalogueViolations(owner));
  if (sabotage !== undefined) await database.side.query(sabotage);
  const fences = (await catalogueViolations(owner)).filter((one) => !own.has(one));
  const foreign = await database.rows<{ sql: string }>(`
    select string_agg(format('select %L as what from %s where tenant_id <> $1', c.oid::regclass, c.oid::regclass), ' union all ' order by c.oid::regclass::text) || ' limit 1' as sql
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
    where c.relkind in ('r', 'p') and not c.relispartition and has_table_privilege('outrider_app', c.oid, 'select')`);
  await plain.destroy();
  await owner.destroy();
  const booted: Booted[] = [];
  for (let number = 1; number <= processes; number++) {
    const process = await Process.open(number, url);
    booted.push({ process, host: hostWith(process.database(), { ring: async () => {} }), handlers: {} as Handlers });
  }
  const parts: WorldParts = {
    database,
    base,
    processes: booted,
    boot: (process, queue) => {
      const host = hostWith(process.database(), queue);
      const handlers = Object.fromEntries(Object.entries(defined).map(([name, define]) => [name, define(host)]));
      return { host, handlers: handlers as unknown as Handlers };
    },
    clearBlobs: () => {
      spills.length = 0;
      const fresh = memoryBlobs();
      blobs = {
        ...fresh,
        put: async (key, body, contentType) => {
          if (key.startsWith("spill/") && body instanceof Uint8Array) spills.push(body);
          await fresh.put(key, body, contentType);
        },
      };
    },
    spills,
    foreignRows: foreign[0]?.sql ?? "",
  };
  return {
    play: (script, keepTrace = false) => new World(parts, script, keepTrace).run(),
    fences,
    close: async () => {
      for (const { process } of booted) await process.client.end();
      await database.close();
    },
  };
}
