/**
 * One send request from socket to answer: latency, fault, acceptance, first webhook, response.
 *
 * Invariant: nobody is told 2xx, 500-after-accept or nothing-after-accept before the accept is on disk; and a fault
 * that refuses leaves no trace in the log.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as wait } from "node:timers/promises";
import { type Fault, faultOf, latencyOf, rateLimitHeaders } from "./behaviour.ts";
import { type Answer, html, reply } from "./http.ts";
import { uniform } from "./random.ts";
import { type Stage, schedule } from "./reactions.ts";
import { behaviourOf } from "./script.ts";
import * as sendgrid from "./sendgrid.ts";
import type { Accept, Message } from "./state.ts";
import * as twilio from "./twilio.ts";

const apis = { sendgrid, twilio };
type ProviderName = Accept["provider"];

export class Intake {
  readonly #stage: Stage;
  /** Requests per provider since the settings were last put. */
  #counts = { sendgrid: 0, twilio: 0 };

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  restartCounting(): void {
    this.#counts = { sendgrid: 0, twilio: 0 };
  }

  /** Answers one send. @param take reads the request; called only if it gets that far. */
  async handle(
    provider: ProviderName,
    request: IncomingMessage,
    response: ServerResponse,
    take: (now: Date) => sendgrid.Verdict,
  ): Promise<void> {
    this.#counts[provider] += 1;
    const nth = this.#counts[provider];
    const settings = this.#stage.settings();
    const fault = faultOf(settings, provider, nth);
    const latencyMs = latencyOf(settings, provider, nth);
    if (latencyMs > 0) await wait(latencyMs);

    const refusal = this.#refusal(provider, nth, fault);
    if (refusal !== null) return reply(response, refusal);
    if (fault === "resetBeforeAccept") return void request.socket.resetAndDestroy();
    if (fault === "hang") {
      await Promise.race([wait(settings.hangSeconds * 1000, undefined, { ref: false }), closed(response)]);
      return void request.socket.destroy();
    }

    const { answer, messages } = take(this.#stage.outbox.now());
    if (messages.length > 0) await this.#accept(messages);
    if (messages.length === 0 || fault === null) return reply(response, answer);
    if (fault === "timeoutAfterAccept") return void request.socket.destroy();
    reply(response, fault === "malformed2xx" ? apis[provider].malformed : apis[provider].failure(500));
  }

  async #accept(taken: readonly sendgrid.Taken[]): Promise<void> {
    const { state, outbox } = this.#stage;
    const settings = this.#stage.settings();
    const at = outbox.now().toISOString();
    const messages = taken.map((one): Message => {
      const ordinal = state.nextOrdinal(one.accept.provider, one.accept.to);
      const channel = one.accept.provider === "sendgrid" ? "email" : "sms";
      const key = { address: one.accept.to, channel, ordinal } as const;
      const script = behaviourOf(settings.seed, settings.rates, key, settings.overrides);
      return { ...one, accept: { ...one.accept, at, ordinal }, script };
    });
    await Promise.all(messages.map((message) => state.accept(message)));
    const early = messages.map((message) => schedule(this.#stage, message)).filter((first) => first !== null);
    await Promise.all(early.map((first) => outbox.deliverNow(first)));
  }

  /** The answer of a fault that refuses the message over HTTP. */
  #refusal(provider: ProviderName, nth: number, fault: Fault | null): Answer | null {
    const api = apis[provider];
    const settings = this.#stage.settings();
    if (fault === "http400") return api.failure(400);
    if (fault === "http401") return api.failure(401);
    if (fault === "rateLimit429") {
      const answer = api.failure(429);
      const extra = rateLimitHeaders(settings, provider, nth, this.#stage.outbox.now());
      return { ...answer, headers: { ...answer.headers, ...extra } };
    }
    if (fault !== "http500") return null;
    // Some gateways in front of the API answer in HTML.
    return uniform(settings.seed, provider, nth, "gateway") < 0.25
      ? html(500, "<html><body><h1>500 Internal Server Error</h1></body></html>")
      : api.failure(500);
  }
}

const closed = (response: ServerResponse) => new Promise<void>((resolve) => response.once("close", () => resolve()));
