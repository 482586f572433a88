/**
 * What must be true of the system, asked while nobody works and in the end: the engine's own examination, and checkers that know what
 * really happened.
 *
 * Invariant: they only read the database, and share no code with what they judge.
 */
import { Kysely, PostgresDialect, type PostgresPool } from "kysely";
import { checkers } from "../../core/operator/invariants.ts";
import { oracle } from "../core/compliance/oracle.ts";
import { newcomers, people } from "./base.ts";
import type { Model } from "./model.ts";
import { Violation } from "./violation.ts";
import type { World } from "./world.ts";

/** Texts of the checkers, with what they need to be run by name; that tenants are apart is asked in another way. */
const compiler = new Kysely<unknown>({ dialect: new PostgresDialect({ pool: {} as PostgresPool }) });
const compiled = checkers
  .filter((one) => one.id !== "I-08")
  .map(({ id, title, find }) => {
    const { sql: text, parameters } = find.compile(compiler);
    return { id, title, sql: text, parameters };
  });

export class Examination {
  readonly #world: World;
  readonly #model: Model;
  #checkedAt = -1;
  #looks = 0;

  constructor(world: World, model: Model) {
    this.#world = world;
    this.#model = model;
  }

  #rows<T>(sql: string, params: readonly unknown[] = []): Promise<T[]> {
    return this.#world.parts.database.rows<T>(sql, params);
  }

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

  /**
   * A call that was under way then may come back to the queue, and a transaction that had begun before, which takes a second at most, may
   * plan a message after it; the next claim ends both.
   */
  async #nothingWaitsAfterNo(): Promise<void> {
    const [found] = await this.#rows<{ id: string }>(`
      select m.id from outbound_messages m join communication_suppressions s
        on s.tenant_id = m.tenant_id and s.channel = m.channel and s.address = m.suppression_key and s.released_at is null
      where m.status in ('queued', 'held') and m.generation = 0 and m.created_at < s.suppressed_at - interval '2 seconds'`);
    if (found) throw new Violation("a no ends what is queued", `${found.id} still waits`);
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
    await this.#model.noForgery();
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
    for (const [sha256, { tenant, request }] of this.#model.acked) {
      const row = archived.get(sha256);
      if (!row || row.tenant_id !== tenant.tenantId || row.n !== 1 || (row.body && !row.body.equals(request.body))) {
        throw new Violation(
          "what is acknowledged is archived",
          `${tenant.name}: ${row?.n ?? 0} deliveries of one body`,
        );
      }
    }
    const [all] = await this.#rows<{ n: number }>("select count(*)::int as n from webhook_deliveries");
    if (all && all.n > this.#model.sent.size + this.#model.acked.size)
      throw new Violation("one delivery per request", `${all.n} deliveries of ${this.#model.sent.size} requests`);
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
    for (const accept of this.#model.accepts) {
      const row = byId.get(accept.messageId);
      const facts = new Set(
        this.#model.emitted.filter((one) => one.accept === accept && one.acknowledged).map((one) => one.reaction.fact),
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
      if (row.sent_at && row.status !== "accepted_unknown" && !this.#model.acceptOf(row.id)) {
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
    const questions = this.#model.claims.flatMap(({ accept, decidedAt }) => {
      const person = [...people, ...newcomers].find((one) => one.email === accept.to || one.phone === accept.to);
      if (!person) return [];
      const quiet = script.settings[parts.base.tenants.indexOf(accept.tenant)]?.quiet ?? false;
      const spans = [
        ...(accept.channel === "sms" ? daily("law", 480, 1260) : []),
        ...(quiet ? daily("tenant", 540, 1080) : []),
      ];
      return spans.length === 0 ? [] : [{ accept, question: { zones: person.zones, spans, at: decidedAt } }];
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
    const repliers = this.#model.emitted.filter(
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
