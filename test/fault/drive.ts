/**
 * What goes on while processes die: lists come in by pieces, campaigns are activated, paused, resumed and moved to new plans, people say STOP.
 * All of it over HTTP, as a customer and a provider would, to whichever worker lives.
 *
 * Invariant: whoever asks repeats the same request under the same key until it is answered, so a death costs time and no effect twice.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { request } from "undici";
import { uniform } from "../../local/simulator/random.ts";
import { signedForm } from "../../local/simulator/twilio.ts";
import { csvOf, openCountry, person } from "./audience.ts";
import { type FaultTenant, ourNumber } from "./tenants.ts";

/** What was asked for and answered: the referee compares it with what is there. */
export interface Driven {
  readonly pieces: number;
  /** By tenant index: people of pieces that were imported whole. */
  readonly people: readonly number[];
  readonly enrolled: number;
  readonly pauses: number;
  readonly stops: number;
  readonly suppressions: number;
  readonly migrated: number;
  /** Answers that were not what was asked for. */
  readonly refusals: readonly string[];
}

export interface DriveOptions {
  readonly gatewayUrl: string;
  readonly tenants: readonly FaultTenant[];
  readonly messages: number;
  readonly seed: number;
  /** Rows of one list. */
  readonly piece: number;
  /** Rows that could be worked on now, all tenants together. */
  readonly backlog: () => Promise<number>;
  readonly planned: () => Promise<number>;
}

/** Work for about twenty seconds: more would measure how long a queue is, not how soon the dead are replaced. */
const enoughToDo = 1_500;

/** Walks of one channel, three messages long: the second follows a webhook or a minute's silence, the third another minute's. */
const plan = (channel: "email" | "sms", edition: number) => {
  const [a, b, c] = [`${channel}1`, `${channel}2`, `${channel}3`];
  const content = (what: string) =>
    channel === "email"
      ? {
          subject: `${what}, {{ first_name }}`,
          html: `<p>${what} ${edition}, {{ first_name }}: <a href="https://www.outrider.example/guide">read this</a>.</p>`,
        }
      : { text: `${what} ${edition}, {{ first_name }}. Reply STOP to opt out.` };
  const node = (id: string, what: string, transitions: readonly object[]) => ({
    id,
    type: "send",
    channel,
    expiresAfter: "PT12H",
    content: content(what),
    transitions,
  });
  return {
    name: `Fault ${channel}`,
    start: a,
    nodes: [
      node(a, "Hello", [
        { on: "delivered", to: b },
        { on: "no_reply", to: b, after: "PT1M" },
      ]),
      node(b, "Again", [{ on: "no_reply", to: c, after: "PT1M" }]),
      node(c, "Last", []),
    ],
  };
};

interface Campaign {
  readonly id: string;
  readonly channel: "email" | "sms";
  readonly tenant: FaultTenant;
  active: boolean;
}

export function startDriving(options: DriveOptions) {
  const { gatewayUrl, tenants, seed, piece } = options;
  const country = openCountry(new Date());
  const people = tenants.map(() => 0);
  const counts = { pieces: 0, enrolled: 0, pauses: 0, stops: 0, suppressions: 0, migrated: 0 };
  const refusals: string[] = [];
  const campaigns: Campaign[] = [];
  let asked = 0;
  let enough = false;

  /** One request of a customer, until it is answered. @returns the body, or null when it was refused */
  async function api<T>(
    tenant: FaultTenant,
    method: "GET" | "POST",
    target: string,
    body?: string | object,
    accept: readonly number[] = [],
  ): Promise<T | null> {
    asked += 1;
    const headers = {
      authorization: `Bearer ${tenant.apiKey}`,
      "content-type": typeof body === "string" ? "text/csv" : "application/json",
      ...(method === "POST" && { "idempotency-key": `fault-${seed}-${asked}` }),
    };
    const sent = body === undefined ? null : typeof body === "string" ? body : JSON.stringify(body);
    for (let tries = 0; ; tries++) {
      const answer = await request(`${gatewayUrl}${target}`, { method, headers, body: sent }).then(
        async ({ statusCode, body }) => ({ status: statusCode, text: await body.text() }),
        () => null,
      );
      if (answer && answer.status < 300) return (answer.text === "" ? {} : JSON.parse(answer.text)) as T;
      const inFlight = answer?.status === 409 && answer.text.includes("idempotency.in_flight");
      if (answer && answer.status < 500 && answer.status !== 429 && !inFlight) {
        if (!accept.includes(answer.status))
          refusals.push(`${method} ${target}: ${answer.status} ${answer.text.slice(0, 300)}`);
        return null;
      }
      await sleep(Math.min(2_000, 100 * 2 ** tries));
    }
  }

  async function makeCampaigns(): Promise<void> {
    for (const tenant of tenants) {
      for (const channel of ["email", "sms"] as const) {
        const made = await api<{ id: string }>(tenant, "POST", "/v1/campaigns", {
          name: `Fault ${channel}`,
          plan: plan(channel, 1),
          // Lists go on coming in when the first people have walked to the end.
          settings: { evergreen: true },
        });
        if (made) campaigns.push({ id: made.id, channel, tenant, active: false });
      }
    }
  }

  async function activate(campaign: Campaign): Promise<void> {
    if (campaign.active) return;
    await api(campaign.tenant, "POST", `/v1/campaigns/${campaign.id}/activate`, {});
    campaign.active = true;
  }

  /** One list: sent, waited for, and everybody of it enrolled on both channels. */
  async function bringIn(tenant: FaultTenant): Promise<void> {
    const from = people[tenant.index] ?? 0;
    const csv = csvOf(country, tenant.index, from, from + piece);
    const made = await api<{ id: string }>(tenant, "POST", `/v1/imports?source=fair&fileName=piece-${from}.csv`, csv);
    if (!made) return;
    for (;;) {
      const now = await api<{ status: string; rows: { read: number } }>(tenant, "GET", `/v1/imports/${made.id}`);
      if (now?.status === "completed") break;
      if (now?.status === "failed") refusals.push(`import ${made.id} failed`);
      // A list that is still read when enough is planned is not waited for; it comes in all the same.
      if (now?.status === "failed" || enough) return;
      await sleep(300);
    }
    people[tenant.index] = from + piece;
    counts.pieces += 1;
    for (const campaign of campaigns.filter((one) => one.tenant === tenant)) {
      const filter = { op: "eq", field: "lead.importId", value: made.id };
      const report = await api<{ enrolled: number }>(tenant, "POST", `/v1/campaigns/${campaign.id}/enroll`, {
        audience: { filter },
      });
      counts.enrolled += report?.enrolled ?? 0;
      // The second channel of a tenant begins with its second list: enrolled before and after.
      if (campaign.channel === "email" || from > 0) await activate(campaign);
    }
  }

  async function feed(tenant: FaultTenant): Promise<void> {
    while (!enough) {
      await bringIn(tenant);
      enough ||= (await options.planned()) >= options.messages;
      // Lists follow each other as the work is done, so that imports go on while messages are sent.
      while (!enough && (await options.backlog()) > enoughToDo) {
        await sleep(500);
        enough ||= (await options.planned()) >= options.messages;
      }
    }
    for (const campaign of campaigns) if (campaign.tenant === tenant) await activate(campaign);
  }

  /** A text from somebody who has been written to, as Twilio brings it; again until it is taken. */
  async function stop(n: number): Promise<void> {
    const draw = (what: string) => uniform(seed, "stop", n, what);
    const tenant = tenants[Math.floor(draw("tenant") * tenants.length)];
    const known = tenant === undefined ? 0 : (people[tenant.index] ?? 0);
    if (tenant === undefined || known === 0) return;
    // From the latest lists: those who still have messages to come.
    const { phone } = person(country, tenant.index, Math.max(0, known - 1 - Math.floor(draw("who") * 2 * piece)));
    const fields = {
      MessageSid: `SM${String(n).padStart(32, "0")}`,
      AccountSid: tenant.sms.accountSid,
      From: phone,
      To: ourNumber,
      Body: "STOP",
      OptOutType: "STOP",
    };
    const { url, headers, body } = signedForm(tenant.sms.authToken, tenant.sms.webhookUrl, fields, false);
    for (;;) {
      const status = await request(url, { method: "POST", headers, body: String(body) }).then(
        async ({ statusCode, body }) => {
          await body.dump();
          return statusCode;
        },
        () => 0,
      );
      if (status >= 200 && status < 300) break;
      if (status >= 400 && status < 500) return void refusals.push(`STOP of ${phone}: ${status}`);
      await sleep(100);
    }
    counts.stops += 1;
  }

  async function suppress(n: number): Promise<void> {
    const draw = (what: string) => uniform(seed, "suppress", n, what);
    const tenant = tenants[Math.floor(draw("tenant") * tenants.length)];
    const known = tenant === undefined ? 0 : (people[tenant.index] ?? 0);
    if (tenant === undefined || known === 0) return;
    const { email } = person(country, tenant.index, Math.floor(draw("who") * known));
    const entries = [{ channel: "email", address: email, reason: "manual", source: "api" }];
    if (await api(tenant, "POST", "/v1/suppressions", { entries })) counts.suppressions += 1;
  }

  async function pause(n: number): Promise<void> {
    const running = campaigns.filter(({ active }) => active);
    const campaign = running[Math.floor(uniform(seed, "pause", n) * running.length)];
    if (!campaign) return;
    const { tenant, id } = campaign;
    await api(tenant, "POST", `/v1/campaigns/${id}/pause`, {});
    await sleep(500 + uniform(seed, "pause", n, "for") * 2_000);
    await api(tenant, "POST", `/v1/campaigns/${id}/resume`, {});
    counts.pauses += 1;
  }

  /** A new edition of the plan, and everybody on the way moved to it. */
  async function migrate(n: number): Promise<void> {
    const campaign = campaigns[Math.floor(uniform(seed, "migrate", n) * campaigns.length)];
    if (!campaign) return;
    const { tenant, id, channel } = campaign;
    await api(tenant, "POST", `/v1/campaigns/${id}/versions`, { plan: plan(channel, n + 2) });
    for (let cursor: string | null = null, more = true; more; ) {
      type Moved = { readonly migrated: number; readonly nextCursor?: string | null; readonly more: boolean };
      const moved: Moved | null = await api<Moved>(tenant, "POST", `/v1/campaigns/${id}/migrate`, {
        ...(cursor !== null && { cursor }),
      });
      counts.migrated += moved?.migrated ?? 0;
      cursor = moved?.nextCursor ?? null;
      more = moved?.more === true;
    }
  }

  /** Does a thing again and again while lists come in, at intervals of its own. */
  async function meanwhile(everyMs: number, act: (n: number) => Promise<void>): Promise<void> {
    for (let n = 1; !enough; n++) {
      await sleep(everyMs * (0.5 + uniform(seed, "meanwhile", everyMs, n)));
      if (!enough) await act(n);
    }
  }

  const done = (async () => {
    await makeCampaigns();
    const feeding = tenants.map(feed);
    const others = [
      meanwhile(options.messages < 5_000 ? 300 : 700, stop),
      meanwhile(options.messages < 5_000 ? 900 : 2_300, suppress),
      meanwhile(options.messages < 5_000 ? 2_500 : 6_000, pause),
      meanwhile(options.messages < 5_000 ? 3_500 : 11_000, migrate),
    ];
    await Promise.all([...feeding, ...others]);
  })();
  return {
    /** Resolves when enough is planned and every campaign is active. */
    done,
    /** Brings in nothing more. */
    finish() {
      enough = true;
    },
    driven: (): Driven => ({ ...counts, people: [...people], refusals: [...refusals] }),
  };
}
