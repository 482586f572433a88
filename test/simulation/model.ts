/**
 * What the world outside knows, and what must therefore be true of the system: checkers that share no code with the engine.
 *
 * Invariant: it is told by the scheduler what really happened (what a provider accepted, what was acknowledged, when something committed),
 * never by the system under test, and it only reads the database.
 */
import { createHash } from "node:crypto";
import type { SimTenant } from "./base.ts";
import type { Invocation } from "./invocation.ts";
import { deliver } from "./outside.ts";
import { type Accept, type Reaction, reactionsTo, type WebRequest } from "./recipients.ts";
import { Rng } from "./rng.ts";
import { Violation } from "./violation.ts";
import type { World } from "./world.ts";

interface Called {
  readonly tenant: SimTenant;
  readonly messageId: string;
  readonly to: string;
  readonly channel: "email" | "sms";
  readonly text: string;
  /** When the caller began; a process may freeze with the request in its hands, and nothing can be done about that. */
  readonly begunAt: number;
}

/** Somebody's no, and the step from which on it counts; null while nobody can have heard of it. */
interface No {
  readonly key: string;
  since: number | null;
  /** The body of the webhook that brings it. */
  readonly sha256: string | null;
}

interface Emitted {
  readonly accept: Accept;
  readonly reaction: Reaction;
  acknowledged: boolean;
}

const keyOf = (tenantId: string, channel: string, address: string): string => `${tenantId} ${channel} ${address}`;

export const hashOf = ({ path, body }: WebRequest): string =>
  createHash("sha256").update(path).update("\0").update(body).digest("hex");

export class Model {
  readonly accepts: Accept[] = [];
  readonly emitted: Emitted[] = [];
  calls = 0;
  readonly #world: World;
  readonly #acceptOf = new Map<string, Accept>();
  readonly #dedupe = new Map<string, string>();
  /** `decidedAt`: what the clock said where the claim's transaction began. */
  readonly claims: { readonly accept: Accept; readonly decidedAt: number }[] = [];
  readonly #nos: No[] = [];
  /** From which step on nothing may be claimed, per campaign or tenant, and between which steps somebody took that back. */
  readonly #silences: { readonly key: string; readonly from: number }[] = [];
  readonly #lifts: { readonly key: string; readonly from: number; until: number }[] = [];
  readonly acked = new Map<string, { readonly tenant: SimTenant; readonly request: WebRequest }>();
  readonly forged = new Set<string>();
  readonly #onLost = new Map<Invocation, () => void>();

  constructor(world: World) {
    this.#world = world;
  }

  #rows<T>(sql: string, params: readonly unknown[] = []): Promise<T[]> {
    return this.#world.parts.database.rows<T>(sql, params);
  }

  acceptOf(messageId: string): Accept | undefined {
    return this.#acceptOf.get(messageId);
  }

  // --- what happens ----------------------------------------------------------------------------------------------------------------------

  /** A request reaches a provider: may it? */
  async called(invocation: Invocation, call: Called): Promise<void> {
    this.calls++;
    const { tenant, messageId, to, channel, text } = call;
    const [row] = await this.#rows<{
      tenant_id: string;
      enrollment: string | null;
      campaign: string | null;
      expires_at: Date;
      dedupe_key: string;
      open: boolean;
    }>(
      `select m.tenant_id, m.contact_campaign_id as enrollment, m.campaign_id as campaign, m.expires_at, m.dedupe_key,
         exists (select from send_attempts a where a.tenant_id = m.tenant_id and a.message_id = m.id and a.generation = m.generation) as open
       from outbound_messages m where m.id = $1`,
      [messageId],
    );
    const who = `${tenant.name}, ${channel} to ${to}`;
    if (!row) throw new Violation("every call has a message", `${who}: ${messageId} is not committed`);
    if (row.tenant_id !== tenant.tenantId)
      throw new Violation("tenants stay apart", `${who}: the message is another tenant's`);
    if (!row.open) throw new Violation("an attempt precedes its call", `${who}: no attempt is committed`);
    const claim = invocation.commits.get(tenant.tenantId);
    if (!claim) throw new Violation("an attempt precedes its call", `${who}: nothing is claimed`);
    const claimed = claim.step;
    if (call.begunAt - claim.at > 5_000)
      throw new Violation("a call begins within 5 s", `${who}: began ${call.begunAt - claim.at} ms after its claim`);
    if (claim.decidedAt >= row.expires_at.getTime()) throw new Violation("nothing expired is sent", who);
    for (const key of [keyOf(tenant.tenantId, channel, to), `enrollment ${row.enrollment ?? ""}`]) {
      const no = this.#nos.find((one) => one.key === key && one.since !== null && one.since < claimed);
      if (no)
        throw new Violation(
          "nothing is claimed after a no",
          `${who}: claimed at step ${claimed}, ${key} said no at step ${no.since}`,
        );
    }
    for (const key of [`campaign ${row.campaign ?? ""}`, `tenant ${tenant.tenantId}`]) {
      if (this.#isSilent(key, claimed)) {
        throw new Violation("nothing is claimed while paused", `${who}: ${key} is paused or suspended`);
      }
    }
    if (/hello\s*[,!.<]/i.test(text) || /^hello\s*$/im.test(text))
      throw new Violation("no blank where a name belongs", `${who}: ${text.slice(0, 60)}`);
    this.#dedupe.set(messageId, `${tenant.tenantId} ${row.dedupe_key}`);
  }

  async accepted(accept: Accept, invocation: Invocation): Promise<void> {
    const world = this.#world;
    const who = `${accept.tenant.name}, ${accept.channel} to ${accept.to}`;
    if (this.#acceptOf.has(accept.messageId))
      throw new Violation("at most one accept", `${who}: ${accept.messageId} was accepted twice`);
    const dedupe = this.#dedupe.get(accept.messageId);
    if (this.accepts.some((one) => this.#dedupe.get(one.messageId) === dedupe)) {
      throw new Violation("at most one accept", `${who}: two messages of one dedupe key`);
    }
    this.#acceptOf.set(accept.messageId, accept);
    this.accepts.push(accept);
    const decidedAt = invocation.commits.get(accept.tenant.tenantId)?.decidedAt ?? 0;
    this.claims.push({ accept, decidedAt });
    this.#caps(accept, decidedAt, who);
    const rng = new Rng(`${world.script.seed}/recipient/${accept.tenant.name}/${accept.to}/${this.accepts.length}`);
    const faults = world.script.faults.webhooks && !world.calm;
    const sick = world.script.settings[world.parts.base.tenants.indexOf(accept.tenant)]?.sick ?? false;
    const hit = (fault: string) => world.hit(fault);
    for (const reaction of reactionsTo(accept, world.parts.base.signingKey, rng, hit, { faults, sick })) {
      const emitted: Emitted = { accept, reaction, acknowledged: false };
      this.emitted.push(emitted);
      world.at(reaction.at, reaction.what, () => this.#emit(emitted, reaction.make));
      for (const { after, make } of reaction.copies)
        world.at(reaction.at + after, reaction.what, () => this.#emit(emitted, make));
    }
  }

  readonly #made = new Map<Reaction["make"], WebRequest>();
  readonly sent = new Set<string>();

  #emit(emitted: Emitted, make: Reaction["make"]): void {
    const { accept, reaction } = emitted;
    const world = this.#world;
    // Signed once: a provider repeats itself byte by byte.
    const request = this.#made.get(make) ?? make(world.now);
    this.#made.set(make, request);
    if (reaction.target === "webhooks") this.sent.add(hashOf(request));
    world.say(
      `${accept.tenant.name}: the ${accept.channel === "email" ? "mail" : "text"} to ${accept.to} ${reaction.what}`,
    );
    deliver(
      world,
      accept.tenant,
      { ...reaction, request },
      async (status, invocation) => {
        if (reaction.target === "webhooks") await this.acknowledged(accept.tenant, request, status);
        if (status >= 500) return;
        if (reaction.target === "webhooks") emitted.acknowledged = true;
        if (
          reaction.target === "tracking" &&
          request.method === "GET" &&
          request.path.startsWith("/u/") &&
          invocation.writes > 0
        ) {
          throw new Violation(
            "a GET changes nothing",
            `${request.method} ${request.path.slice(0, 8)}… wrote ${invocation.writes} times`,
          );
        }
        const sha256 = reaction.target === "webhooks" ? hashOf(request) : null;
        const since = sha256 === null ? world.step : null;
        if (reaction.optOut)
          this.#nos.push({ key: keyOf(accept.tenant.tenantId, accept.channel, accept.to), since, sha256 });
        if (reaction.hardBounce)
          this.#nos.push({ key: keyOf(accept.tenant.tenantId, accept.channel, accept.to), since, sha256 });
        if (reaction.fact === "replied") {
          const [row] = await this.#rows<{ id: string | null }>(
            "select contact_campaign_id as id from outbound_messages where id = $1",
            [accept.messageId],
          );
          if (row?.id) this.#nos.push({ key: `enrollment ${row.id}`, since, sha256 });
        }
      },
      (invocation) => {
        if (reaction.target === "tracking") this.#tracking.set(invocation, emitted);
      },
    );
  }

  /** Our own links: what a reader does is a fact when it was written down, whatever became of the answer. */
  readonly #tracking = new Map<Invocation, Emitted>();

  async acknowledged(tenant: SimTenant, request: WebRequest, status: number): Promise<void> {
    if (status >= 500) return;
    if (status !== 200) throw new Violation("a genuine webhook is taken", `${tenant.name}: answered ${status}`);
    const sha256 = hashOf(request);
    this.acked.set(sha256, { tenant, request });
    const [row] = await this.#rows<{ n: number }>(
      "select count(*)::int as n from webhook_deliveries where tenant_id = $1 and body_sha256 = $2",
      [tenant.tenantId, Buffer.from(sha256, "hex")],
    );
    if (row?.n !== 1 && !this.#isSpilled(request)) {
      throw new Violation(
        "what is acknowledged is archived",
        `${tenant.name}: ${row?.n ?? 0} copies of an acknowledged webhook`,
      );
    }
  }

  #isSpilled({ body }: WebRequest): boolean {
    return this.#world.parts.spills.some((bytes) => Buffer.from(bytes.subarray(-body.length)).equals(body));
  }

  async refused(tenant: SimTenant, request: WebRequest, status: number): Promise<void> {
    this.forged.add(hashOf(request));
    // While the database is away nobody can be verified: what is kept then is refused when it is taken in.
    if (status < 400 && !this.#isSpilled(request))
      throw new Violation("a forged webhook is refused", `${tenant.name}: answered ${status}`);
    await this.noForgery();
  }

  async noForgery(): Promise<void> {
    if (this.forged.size === 0) return;
    const [row] = await this.#rows<{ n: number }>(
      "select count(*)::int as n from webhook_deliveries where encode(body_sha256, 'hex') = any($1)",
      [[...this.forged]],
    );
    if ((row?.n ?? 0) > 0) throw new Violation("a forged webhook is refused", `${row?.n} were archived`);
  }

  /** An address may not be written to any more. */
  closed(tenantId: string, channel: string, address: string, since: number): void {
    this.#nos.push({ key: keyOf(tenantId, channel, address), since, sha256: null });
  }

  /** A pause or suspension that committed at this step. */
  quiet(key: string, from: number): void {
    this.#silences.push({ key, from });
  }

  /** Somebody begins to lift a silence; without a key every one. @returns is called when that has ended, however it did */
  loud(key = ""): () => void {
    const lift = { key, from: this.#world.step, until: Number.POSITIVE_INFINITY };
    this.#lifts.push(lift);
    return () => {
      lift.until = this.#world.step;
    };
  }

  /** Is a claim at this step forbidden? Not when somebody has begun to lift it before, and had not ended when it began. */
  #isSilent(key: string, claimed: number): boolean {
    const lifts = this.#lifts.filter((lift) => (lift.key === key || lift.key === "") && lift.from < claimed);
    return this.#silences.some(
      (one) => one.key === key && one.from < claimed && lifts.every((lift) => lift.until < one.from),
    );
  }

  /** What becomes of a request whose handler dies. */
  watch(invocation: Invocation, onLost: () => void): void {
    this.#onLost.set(invocation, onLost);
  }

  killed(invocation: Invocation): void {
    this.#onLost.get(invocation)?.();
  }

  /** After a commit: which noes have been heard? */
  async committed(invocation: Invocation): Promise<void> {
    const tracked = invocation.writes > 0 ? this.#tracking.get(invocation) : undefined;
    if (tracked) tracked.acknowledged = true;
    if (invocation.name !== "deliveries") return;
    const open = this.#nos.filter((one) => one.since === null && one.sha256 !== null);
    if (open.length === 0) return;
    const found = await this.#rows<{ sha256: string }>(
      "select encode(body_sha256, 'hex') as sha256 from webhook_deliveries where status = 'completed' and encode(body_sha256, 'hex') = any($1)",
      [open.map((one) => one.sha256)],
    );
    for (const no of open) if (found.some((row) => row.sha256 === no.sha256)) no.since = this.#world.step;
  }

  #caps(accept: Accept, decidedAt: number, who: string): void {
    const { script, parts } = this.#world;
    const settings = script.settings[parts.base.tenants.indexOf(accept.tenant)];
    if (!settings) return;
    const same = this.claims.filter(
      (one) => one.accept.tenant === accept.tenant && one.accept.channel === accept.channel,
    );
    // Providers tell whole seconds, so a message may count as sent up to a second before it was.
    const toThem = same.filter(
      (one) => one.accept.to === accept.to && Math.abs(one.decidedAt - decidedAt) < 86_400_000 - 1_000,
    );
    if (accept.channel === "email" && settings.caps && toThem.length > settings.caps) {
      throw new Violation("frequency caps hold", `${who}: ${toThem.length} mails within a day`);
    }
    const { count, seconds } = settings.rate;
    const windowOf = (at: number): number => Math.floor(at / (seconds * 1_000));
    const inWindow = same.filter((one) => windowOf(one.decidedAt) === windowOf(decidedAt));
    if (inWindow.length > count)
      throw new Violation("rate limits hold", `${who}: ${inWindow.length} within ${seconds} s, ${count} allowed`);
  }
}
