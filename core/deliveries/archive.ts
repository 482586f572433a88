/**
 * The archive of deliveries. Invariant: when `add` resolves, the bytes are committed; nothing of them has been parsed.
 *
 * Requests that arrive while an INSERT is under way share the next one: what costs is the commit, not the row. A request that is
 * alone waits for nobody.
 */
import { createHash } from "node:crypto";
import { type Kysely, sql } from "kysely";
import type { DB } from "../db/types.gen.ts";
import { isRefused } from "../kernel/index.ts";

export interface NewDelivery {
  readonly tenantId: string;
  readonly id: string;
  readonly channelConfigId: string;
  readonly provider: string;
  /** Path and query as called. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  /** null: it is in object storage under `bodyKey`. */
  readonly body: Uint8Array | null;
  /** `br`: `body` is compressed with Brotli. Default: as it came. */
  readonly bodyEncoding?: "br" | undefined;
  readonly bodyKey: string | null;
  readonly bodyBytes: number;
  readonly bodySha256: Uint8Array;
  readonly signature: string | null;
  readonly correlationId: string;
  /** When it came, for what is archived later than that; default: now. Facts without a time of their own are ordered by it. */
  readonly receivedAt?: Date | undefined;
}

export interface Kept {
  readonly id: string;
  /** false: the same request had come before; only its counter moved. */
  readonly fresh: boolean;
}

export interface ArchiveOptions {
  readonly db: Kysely<DB>;
  /** Rows of one INSERT. */
  readonly maxRows?: number;
  /** INSERTs under way at the same time. */
  readonly maxInFlight?: number;
}

interface Waiting {
  readonly row: NewDelivery;
  readonly resolve: (kept: Kept) => void;
  readonly reject: (error: unknown) => void;
}

/** What makes two requests the same one. */
export const sha256Of = (target: string, body: Uint8Array): Buffer =>
  createHash("sha256").update(target).update("\0").update(body).digest();

/** One per process and database. */
export class Archive {
  readonly #db: Kysely<DB>;
  readonly #maxRows: number;
  readonly #maxInFlight: number;
  #waiting: Waiting[] = [];
  #inFlight = 0;
  #scheduled = false;

  constructor({ db, maxRows = 64, maxInFlight = 2 }: ArchiveOptions) {
    this.#db = db;
    this.#maxRows = maxRows;
    this.#maxInFlight = maxInFlight;
  }

  add(row: NewDelivery): Promise<Kept> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ row, resolve, reject });
      // After the requests that arrived in the same turn of the event loop have said what they want.
      if (!this.#scheduled) {
        this.#scheduled = true;
        setImmediate(() => {
          this.#scheduled = false;
          this.#start();
        });
      }
    });
  }

  #start(): void {
    while (this.#waiting.length > 0 && this.#inFlight < this.#maxInFlight) {
      const batch = this.#waiting.splice(0, this.#maxRows);
      this.#inFlight++;
      void this.#write(batch).finally(() => {
        this.#inFlight--;
        this.#start();
      });
    }
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    try {
      const kept = await insert(
        this.#db,
        batch.map(({ row }) => row),
      );
      batch.forEach(({ resolve }, n) => {
        const one = kept[n];
        if (one) resolve(one);
      });
    } catch (error) {
      if (batch.length <= 1 || !isRefused(error)) for (const { reject } of batch) reject(error);
      // One row's fault (its channel is gone) must not be its neighbours'.
      else for (const one of batch) await this.#write([one]);
    }
  }
}

const nameOf = (row: NewDelivery): string =>
  `${row.tenantId} ${row.channelConfigId} ${Buffer.from(row.bodySha256).toString("base64")}`;

/**
 * One statement, which is its own transaction: it names the tenant of each row as it inserts it, so that row-level security holds without
 * the round trips of BEGIN and COMMIT, and rows of several tenants can share it.
 */
async function insert(db: Kysely<DB>, rows: readonly NewDelivery[]): Promise<Kept[]> {
  const copies = Map.groupBy(rows, nameOf);
  // In one order everywhere, so that two processes with the same redeliveries wait for each other instead of deadlocking.
  const unique = [...copies].toSorted(([a], [b]) => (a < b ? -1 : 1)).flatMap(([, group]) => group.slice(0, 1));
  const of = <T>(read: (row: NewDelivery) => T): T[] => unique.map(read);
  const { rows: stored } = await sql<{
    id: string;
    tenant: string;
    channel: string;
    sha256: Uint8Array;
    fresh: boolean;
  }>`
    insert into webhook_deliveries (tenant_id, id, channel_config_id, provider, target, headers, body, body_encoding, body_key, body_bytes,
      body_sha256, signature, duplicates, correlation_id, received_at)
    select set_config('app.tenant_id', r.tenant_id, true), r.id, r.channel_config_id, r.provider, r.target, r.headers, r.body, r.body_encoding,
           r.body_key, r.body_bytes, r.body_sha256, r.signature, r.duplicates, r.correlation_id,
           coalesce(r.received_at, app_now())
    from unnest(
      ${of((r) => r.tenantId)}::text[], ${of((r) => r.id)}::text[], ${of((r) => r.channelConfigId)}::text[], ${of((r) => r.provider)}::text[],
      ${of((r) => r.target)}::text[], ${of((r) => JSON.stringify(r.headers))}::jsonb[], ${of((r) => bytes(r.body))}::bytea[],
      ${of((r) => r.bodyEncoding ?? "identity")}::text[],
      ${of((r) => r.bodyKey)}::text[], ${of((r) => r.bodyBytes)}::int[], ${of((r) => bytes(r.bodySha256))}::bytea[],
      ${of((r) => r.signature)}::text[], ${of((r) => (copies.get(nameOf(r))?.length ?? 1) - 1)}::int[], ${of((r) => r.correlationId)}::text[],
      ${of((r) => r.receivedAt?.toISOString() ?? null)}::timestamptz[]
    ) as r(tenant_id, id, channel_config_id, provider, target, headers, body, body_encoding, body_key, body_bytes, body_sha256, signature,
      duplicates, correlation_id, received_at)
    on conflict (tenant_id, channel_config_id, body_sha256) do update set duplicates = webhook_deliveries.duplicates + excluded.duplicates + 1
    returning id, tenant_id as tenant, channel_config_id as channel, body_sha256 as sha256, xmax = 0 as fresh`.execute(
    db,
  );
  const found = new Map(
    stored.map((row) => [`${row.tenant} ${row.channel} ${Buffer.from(row.sha256).toString("base64")}`, row]),
  );
  return rows.map((row) => {
    const kept = found.get(nameOf(row));
    if (!kept) throw new Error("a delivery was neither inserted nor found");
    return { id: kept.id, fresh: kept.fresh && kept.id === row.id };
  });
}

/** The drivers' array encoding takes Buffers for bytea and nothing else. */
const bytes = (value: Uint8Array | null): Buffer | null =>
  value === null ? null : Buffer.from(value.buffer, value.byteOffset, value.byteLength);

/** Counts a refused request and stores nothing of it: a forger must not be able to fill a table. */
export async function countRefusal(
  db: Kysely<DB>,
  tenantId: string,
  channelConfigId: string,
  reason: string,
): Promise<void> {
  await sql`
    insert into webhook_refusals (tenant_id, channel_config_id, day, reason)
    select set_config('app.tenant_id', ${tenantId}, true), ${channelConfigId}, app_now()::date, ${reason}
    on conflict (tenant_id, channel_config_id, day, reason) do update set count = webhook_refusals.count + 1, last_at = app_now()`.execute(
    db,
  );
}
