/**
 * What the world outside knows, and what must therefore be true of the system: checkers that share no code with the engine.
 *
 * Invariant: it is told by the scheduler what really happened (what a provider accepted, what was acknowledged, when something committed),
 * never by the system under test, and it only reads the database.
 */
import { createHash } from "node:crypto";
import { Kysely, PostgresDialect, type PostgresPool, type RawBuilder, sql } from "kysely";
import { checkers } from "../../core/operator/invariants.ts";
import { oracle } from "../core/compliance/oracle.ts";
import { newcomers, people, type SimTenant } from "./base.ts";
import type { Invocation } from "./invocation.ts";
import { type Accept, type Reaction, reactionsTo, type WebRequest } from "./recipients.ts";
import { Rng } from "./rng.ts";
import type { World } from "./world.ts";

export class Violation extends Error {
  readonly checker: string;
  constructor(checker: string, detail: string) {
    super(detail);
    this.checker = checker;
  }
}

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

/** Texts of the checkers, with what they need to be run by name. */
const compiler = new Kysely<unknown>({ dialect: new PostgresDialect({ pool: {} as PostgresPool }) });
const allThereIs = { since: () => sql`true`, changedSince: () => sql`true` };
const compiled = checkers
  .filter((one) => one.id !== "I-08")
  .map(({ id, title, find }) => {
    const query =
      typeof find === "function" ? (find as unknown as (reach: unknown) => RawBuilder<unknown>)(allThereIs) : find;
    const { sql: text, parameters } = (query as RawBuilder<unknown>).compile(compiler);
    return { id, title, sql: text, parameters };
  });

export class Model {
  readonly accepts: Accept[] = [];
  readonly emitted: Emitted[] = [];
  calls = 0;
  readonly #world: World;
  readonly #acceptOf = new Map<string, Accept>();
  readonly #dedupe = new Map<string, string>();
  readonly #claims: { readonly accept: Accept; readonly claimedAt: number; readonly claimedTime: number }[] = [];
  readonly #nos: No[] = [];
  /** Steps between which nothing may be claimed, per campaign or tenant. */
  readonly #silences = new Map<string, { from: number; until: number }[]>();
  readonly #acked = new Map<string, { readonly tenant: SimTenant; readonly request: WebRequest }>();
  readonly #forged = new Set<string>();
  readonly #onLost = new Map<Invocation, () => void>();
  #checkedAt = -1;
  #looks = 0;

  constructor(world: World) {
    this.#world = world;
  }

  #rows<T>(sql: string, params: readonly unknown[] = []): Promise<T[]> {
    return this.#world.parts.database.rows<T>(sql, params);
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
    const claimed = invocation.committedAt;
    if (call.begunAt - invocation.committedTime > 5_000) {
      throw new Violation(
        "a call begins within 5 s",
        `${who}: began ${call.begunAt - invocation.committedTime} ms after its claim`,
      );
    }
    if (invocation.committedTime >= row.expires_at.getTime()) throw new Violation("nothing expired is sent", who);
    for (const key of [keyOf(tenant.tenantId, channel, to), `enrollment ${row.enrollment ?? ""}`]) {
      const no = this.#nos.find((one) => one.key === key && one.since !== null && one.since < claimed);
      if (no)
        throw new Violation(
          "nothing is claimed after a no",
          `${who}: claimed at step ${claimed}, ${key} said no at step ${no.since}`,
        );
    }
    for (const key of [`campaign ${row.campaign ?? ""}`, `tenant ${tenant.tenantId}`]) {
      if (this.#silences.get(key)?.some(({ from, until }) => claimed > from && claimed < until)) {
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
    this.#claims.push({ accept, claimedAt: invocation.committedAt, claimedTime: invocation.committedTime });
    this.#caps(accept, invocation.committedTime, who);
    const rng = new Rng(`${world.script.seed}/recipient/${accept.tenant.name}/${accept.to}/${this.accepts.length}`);
    const faults = world.script.faults.webhooks && !world.calm;
    for (const reaction of reactionsTo(accept, world.parts.base.signingKey, rng, (fault) => world.hit(fault), faults)) {
      const emitted: Emitted = { accept, reaction, acknowledged: false };
      this.emitted.push(emitted);
      for (const late of [0, ...reaction.copies]) {
        world.at(reaction.at + late, reaction.what, () => this.#emit(emitted));
      }
    }
  }

  readonly #made = new Map<Emitted, WebRequest>();

  #emit(emitted: Emitted): void {
    const { accept, reaction } = emitted;
    const world = this.#world;
    // Signed once: a provider repeats itself byte by byte.
    const request = this.#made.get(emitted) ?? reaction.make(world.now);
    this.#made.set(emitted, request);
    world.say(
      `${accept.tenant.name}: the ${accept.channel === "email" ? "mail" : "text"} to ${accept.to} ${reaction.what}`,
    );
    world.deliver(
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
    this.#acked.set(sha256, { tenant, request });
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
    this.#forged.add(hashOf(request));
    // While the database is away nobody can be verified: what is kept then is refused when it is taken in.
    if (status < 400 && !this.#isSpilled(request))
      throw new Violation("a forged webhook is refused", `${tenant.name}: answered ${status}`);
    await this.#noForgery();
  }

  async #noForgery(): Promise<void> {
    if (this.#forged.size === 0) return;
    const [row] = await this.#rows<{ n: number }>(
      "select count(*)::int as n from webhook_deliveries where encode(body_sha256, 'hex') = any($1)",
      [[...this.#forged]],
    );
    if ((row?.n ?? 0) > 0) throw new Violation("a forged webhook is refused", `${row?.n} were archived`);
  }

  /** An address may not be written to any more. */
  closed(tenantId: string, channel: string, address: string, since: number): void {
    this.#nos.push({ key: keyOf(tenantId, channel, address), since, sha256: null });
  }

  quiet(key: string, from: number): void {
    const list = this.#silences.get(key) ?? [];
    list.push({ from, until: Number.POSITIVE_INFINITY });
    this.#silences.set(key, list);
  }

  /** Somebody is about to lift a silence. */
  loud(key: string): void {
    for (const silence of this.#silences.get(key) ?? []) silence.until = Math.min(silence.until, this.#world.step);
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

  #caps(accept: Accept, claimedTime: number, who: string): void {
    const { script, parts } = this.#world;
    const settings = script.settings[parts.base.tenants.indexOf(accept.tenant)];
    const same = this.#claims.filter(
      (one) => one.accept.tenant === accept.tenant && one.accept.channel === accept.channel,
    );
    const toThem = same.filter((one) => one.accept.to === accept.to && one.claimedTime > claimedTime - 86_400_000);
    if (accept.channel === "email" && settings?.caps && toThem.length > settings.caps) {
      throw new Violation("frequency caps hold", `${who}: ${toThem.length} mails within a day`);
    }
    const window = Math.floor(claimedTime / 3_600_000);
    const inWindow = same.filter((one) => Math.floor(one.claimedTime / 3_600_000) === window);
    if (settings && inWindow.length > settings.rate)
      throw new Violation("rate limits hold", `${who}: ${inWindow.length} in one hour, ${settings.rate} allowed`);
  }

  // --- looking -----------------------------------------------------------------------------------------------------------------------------

  /** The whole set of checkers, at moments when nobody works; not at all of them, because they cost more than the work. */
  async whileIdle(): Promise<void> {
    this.#looks++;
    const due = this.#world.step > this.#checkedAt && this.#looks % 12 === 5;
    if (!due) return;
    this.#checkedAt = this.#world.step;
    await this.#nothingWaitsAfterNo();
    await this.#invariants(["I-04", "I-21"]);
  }

  async #invariants(except: readonly string[]): Promise<void> {
    for (const { id, title, sql: text, parameters } of compiled) {
      if (except.includes(id)) continue;
      const [found] = await this.#rows<{ what: string }>(text, parameters);
      if (found) throw new Violation(id, `${title}: ${found.what}`);
    }
  }

  /** A call that was under way then may come back to the queue; the next claim ends it. */
  async #nothingWaitsAfterNo(): Promise<void> {
    const [found] = await this.#rows<{ id: string }>(`
      select m.id from outbound_messages m join communication_suppressions s
        on s.tenant_id = m.tenant_id and s.channel = m.channel and s.address = m.suppression_key and s.released_at is null
      where m.status in ('queued', 'held') and m.generation = 0 and m.created_at < s.suppressed_at`);
    if (found) throw new Violation("a no ends what is queued", `${found.id} still waits`);
  }

  /** Whatever an operator has shut is opened again, so that everything can come to its end. */
  calmDown(): void {
    for (const key of this.#silences.keys()) this.loud(key);
  }

  async atTheEnd(): Promise<void> {
    await this.#invariants([]);
    await this.#nothingWaitsAfterNo();
    await this.#nothingLost();
    await this.#everythingArchived();
    await this.#factsAgree();
    await this.#hours();
    await this.#apart();
    await this.#walksEnd();
    await this.#noForgery();
  }

  async #nothingLost(): Promise<void> {
    const open = await this.#rows<{ what: string }>(`
      select 'message ' || id || ' ' || status as what from outbound_messages where status in ('queued', 'held', 'sending', 'ambiguous')
      union all select 'action ' || id || ' ' || status from scheduled_actions where status in ('pending', 'running')
      union all select 'delivery ' || id || ' ' || status || ' ' || coalesce(last_error, '') from webhook_deliveries where status <> 'completed'
      union all select 'import ' || id || ' ' || status || ' ' || coalesce(last_error, '') from imports where status <> 'completed'
      union all select 'enrollment ' || id || ' ' || status || ' ' || coalesce(exit_reason, '') from contact_campaigns
        where status not in ('completed', 'stopped') and superseded_by is null order by 1`);
    if (open[0]) throw new Violation("nothing is lost", `${open.length} without an end: ${open[0].what}`);
  }

  async #everythingArchived(): Promise<void> {
    const found = await this.#rows<{ sha256: string; tenant_id: string; n: number; body: Buffer | null }>(
      "select encode(body_sha256, 'hex') as sha256, tenant_id, count(*)::int as n, min(body) as body from webhook_deliveries group by 1, 2",
    );
    const archived = new Map(found.map((row) => [row.sha256, row]));
    for (const [sha256, { tenant, request }] of this.#acked) {
      const row = archived.get(sha256);
      if (!row || row.tenant_id !== tenant.tenantId || row.n !== 1 || (row.body && !row.body.equals(request.body))) {
        throw new Violation(
          "what is acknowledged is archived",
          `${tenant.name}: ${row?.n ?? 0} deliveries of one body`,
        );
      }
    }
    const [all] = await this.#rows<{ n: number }>("select count(*)::int as n from webhook_deliveries");
    const sent = new Set(
      [...this.#made.entries()].flatMap(([one, request]) =>
        one.reaction.target === "webhooks" ? [hashOf(request)] : [],
      ),
    );
    if (all && all.n > sent.size + this.#acked.size)
      throw new Violation("one delivery per request", `${all.n} deliveries of ${sent.size} requests`);
  }

  /** What providers and recipients did against what the system made of it. */
  async #factsAgree(): Promise<void> {
    const rows = await this.#rows<{
      id: string;
      status: string;
      opened_at: Date | null;
      clicked_at: Date | null;
      sent_at: Date | null;
    }>("select id, status, opened_at, clicked_at, sent_at from outbound_messages");
    const byId = new Map(rows.map((row) => [row.id, row]));
    for (const accept of this.accepts) {
      const row = byId.get(accept.messageId);
      const facts = new Set(
        this.emitted.filter((one) => one.accept === accept && one.acknowledged).map((one) => one.reaction.fact),
      );
      const expected = facts.has("complained")
        ? ["complained"]
        : facts.has("bounced")
          ? ["bounced"]
          : facts.has("delivered")
            ? ["delivered"]
            : facts.has("failed")
              ? ["failed"]
              : facts.size > [...facts].filter((fact) => fact === "none").length
                ? ["sent"]
                : ["sent", "accepted_unknown"];
      const who = `${accept.tenant.name}, ${accept.channel} to ${accept.to}`;
      if (!row || !expected.includes(row.status)) {
        throw new Violation(
          "the status is what the facts make of it",
          `${who}: ${row?.status ?? "gone"} instead of ${expected.join(" or ")}; facts ${[...facts].sort().join(", ")}`,
        );
      }
      if (!row.sent_at)
        throw new Violation("the status is what the facts make of it", `${who}: accepted and never sent`);
      const opened = facts.has("opened");
      if (opened !== (row.opened_at !== null))
        throw new Violation(
          "people count, machines do not",
          `${who}: opened ${row.opened_at?.toISOString() ?? "never"}, ${opened ? "a person" : "nobody"} did`,
        );
      const clicked = facts.has("clicked");
      if (clicked !== (row.clicked_at !== null))
        throw new Violation(
          "people count, machines do not",
          `${who}: clicked ${row.clicked_at?.toISOString() ?? "never"}`,
        );
    }
    for (const row of rows) {
      if (row.sent_at && row.status !== "accepted_unknown" && !this.#acceptOf.has(row.id)) {
        throw new Violation("nothing counts as sent that nobody took", `${row.id} is ${row.status}`);
      }
    }
    const twice = await this.#rows<{ n: number }>(
      "select count(*)::int as n from message_events where channel_config_id is not null and delivery_id is not null group by tenant_id, channel_config_id, provider_event_id having count(*) > 1",
    );
    if (twice[0]) throw new Violation("one effect per fact", `${twice.length} facts are stored twice`);
  }

  /** Texts by the recipient's wall clocks, everything by the plan's and the tenant's quiet hours, judged by PostgreSQL. */
  async #hours(): Promise<void> {
    const { script, parts } = this.#world;
    const daily = (group: string, start: number, end: number) =>
      [1, 2, 3, 4, 5, 6, 7].map((dow) => ({ group, dow, start, end }));
    const questions = this.#claims.flatMap(({ accept, claimedTime }) => {
      const person = [...people, ...newcomers].find((one) => one.email === accept.to || one.phone === accept.to);
      if (!person) return [];
      const quiet = script.settings[parts.base.tenants.indexOf(accept.tenant)]?.quiet ?? false;
      const spans = [
        ...(accept.channel === "sms" ? daily("law", 480, 1260) : []),
        ...(quiet ? daily("tenant", 540, 1080) : []),
      ];
      return spans.length === 0 ? [] : [{ accept, question: { zones: person.zones, spans, at: claimedTime } }];
    });
    if (questions.length === 0) return;
    const answers = await oracle(
      this.#kysely(),
      questions.map((one) => one.question),
    );
    const wrong = questions.find((_, n) => answers[n] === false);
    if (wrong) {
      const { accept, question } = wrong;
      throw new Violation(
        "nothing leaves in quiet hours",
        `${accept.tenant.name}, ${accept.channel} to ${accept.to} at ${new Date(question.at).toISOString()} in ${question.zones.join(", ")}`,
      );
    }
  }

  #kysely(): Kysely<unknown> {
    const client = {
      query: (sql: string, params: unknown[]) => this.#world.parts.database.side.query(sql, params),
      release: () => {},
    };
    return new Kysely<unknown>({
      dialect: new PostgresDialect({
        pool: { connect: async () => client, end: async () => {} } as unknown as PostgresPool,
      }),
    });
  }

  /** As one tenant, through the application's role: is anything of another one to be seen? */
  async #apart(): Promise<void> {
    const [process] = this.#world.parts.processes;
    if (!process) return;
    const { client } = process.process;
    for (const tenant of this.#world.parts.base.tenants) {
      await client.query("begin");
      await client.query("select set_config('app.tenant_id', $1, true)", [tenant.tenantId]);
      const { rows } = await client.query<{ what: string }>(this.#world.parts.foreignRows, [tenant.tenantId]);
      await client.query("rollback");
      if (rows[0])
        throw new Violation("tenants stay apart", `${tenant.name} sees rows of another tenant in ${rows[0].what}`);
    }
  }

  /** A reply or a no ends the walk; a second event that says the same changes nothing. */
  async #walksEnd(): Promise<void> {
    const repliers = this.emitted.filter(
      (one) =>
        one.acknowledged &&
        (one.reaction.fact === "replied" ||
          one.reaction.fact === "complained" ||
          one.reaction.optOut ||
          one.reaction.hardBounce),
    );
    if (repliers.length === 0) return;
    const rows = await this.#rows<{
      id: string;
      status: string;
      exit_reason: string | null;
      completed_at: Date | null;
      received: Date | null;
    }>(
      `select m.id, e.status, e.exit_reason, e.completed_at from outbound_messages m
       join contact_campaigns e on e.tenant_id = m.tenant_id and e.id = m.contact_campaign_id where m.id = any($1)`,
      [repliers.map((one) => one.accept.messageId)],
    );
    for (const row of rows) {
      if (row.status !== "stopped" && row.status !== "completed")
        throw new Violation("an answer ends the walk", `${row.id}: its enrollment is ${row.status}`);
    }
    const twice = await this.#rows<{ n: number }>(`
      select count(*)::int as n from campaign_transitions where contact_campaign_id is not null and from_node_id is distinct from to_node_id
      group by tenant_id, contact_campaign_id, to_node_id having count(*) > 1 limit 1`);
    if (twice[0]) throw new Violation("nobody walks a step twice", `${twice[0].n} transitions to one node`);
  }
}
