/**
 * The provider simulator: SendGrid and Twilio on one port, with their webhooks, a control panel and a referee.
 *
 * It runs inside the local host in real time, inside tests and the demo under a virtual clock, and alone as a process
 * that a crash rig trusts. It binds to loopback only and follows links only to the system under test.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import * as z from "zod";
import { Settings, type SettingsInput } from "./behaviour.ts";
import { Endpoints, type EndpointsInput } from "./endpoints.ts";
import { type Answer, html, invalid, json, parseJson, problem, readBody, reply } from "./http.ts";
import { Intake } from "./intake.ts";
import { Outbox, type SimulatorClock } from "./outbox.ts";
import { mailboxPage, messagePage } from "./page.ts";
import { batchOf, type Stage } from "./reactions.ts";
import { takeMail, tooLarge } from "./sendgrid.ts";
import { listDomains, listVerifiedSenders } from "./sendgrid-senders.ts";
import { type Accept, State } from "./state.ts";
import { createMessage } from "./twilio.ts";
import { listMessages, showMessage } from "./twilio-read.ts";

export interface SimulatorOptions {
  /** 0 = a free one. */
  readonly port: number;
  /** Keeps the accept log, opt-outs and the signing key. One simulator per directory. */
  readonly dir: string;
  readonly clock: SimulatorClock;
  readonly endpoints?: EndpointsInput;
  readonly behaviour?: SettingsInput;
  /** For a clock that follows `POST /flush` of another process. */
  readonly onFlush?: (upTo: Date) => void;
}

export interface Simulator {
  readonly url: string;
  /** Base64 SPKI, as a channel's `publicKey` setting wants it. */
  readonly publicKeys: { readonly sendgrid: string };
  setEndpoints(endpoints: EndpointsInput): void;
  setBehaviour(settings: SettingsInput): void;
  accepted(): readonly Accept[];
  /** When the next reaction is due; null when nothing is to come. */
  nextDueAt(): Date | null;
  /** Carries out every reaction due by then, in order, and resolves to their number. */
  flush(upTo: Date): Promise<number>;
  stop(): Promise<void>;
}

const FlushRequest = z.strictObject({ upTo: z.iso.datetime({ offset: true }) });

/** @throws when the port is in use, the directory is not writable, or endpoints or behaviour are invalid. */
export async function startSimulator(options: SimulatorOptions): Promise<Simulator> {
  let settings = Settings.parse(options.behaviour ?? {});
  let endpoints = Endpoints.parse(options.endpoints ?? {});
  const state = await State.open(options.dir);
  const stage: Stage = {
    state,
    outbox: new Outbox({
      clock: options.clock,
      batch: (account, events, now) => batchOf(stage, account, events, now),
      batchSize: () => settings.webhooks.batchSize,
      enabled: () => settings.webhooksEnabled,
    }),
    settings: () => settings,
    endpoints: () => endpoints,
    speed: () => (options.clock === "real" ? settings.speed : 1),
  };
  const { outbox } = stage;
  const intake = new Intake(stage);

  const setBehaviour = (next: Settings) => {
    settings = next;
    intake.restartCounting();
  };
  const flush = (upTo: Date) => {
    options.onFlush?.(upTo);
    return outbox.flush(upTo);
  };

  /** Routes that answer with a value; sends are handled before. */
  async function answer(request: IncomingMessage, url: URL, body: Buffer): Promise<Answer> {
    const wantsHtml = request.headers.accept?.includes("text/html") ?? false;
    const [, first = "", second = "", third = "", fourth = ""] = url.pathname.split("/");
    switch (`${request.method} /${first}`) {
      case "GET /":
        return html(200, mailboxPage(state.accepts.entries, outbox.size));
      case "GET /accepted":
        return accepted(state.accepts.entries, url.searchParams, request.headers.accept ?? "");
      case "GET /messages": {
        const found = state.find(decodeURIComponent(second));
        if (found === null) return problem(404, "message.not_found", "No accepted message has this id.");
        if (wantsHtml) return html(200, messagePage(found.accept, found.message));
        const { accept, message } = found;
        return json(200, {
          ...accept,
          text: null,
          html: null,
          headers: {},
          script: [],
          ...message,
          accept: undefined,
          account: undefined,
        });
      }
      case "GET /behaviour":
        return json(200, settings);
      case "PUT /behaviour": {
        const next = Settings.safeParse(parseJson(body));
        if (!next.success) return invalid("behaviour.invalid", next.error);
        setBehaviour(next.data);
        return json(200, settings);
      }
      case "PUT /endpoints": {
        const next = Endpoints.safeParse(parseJson(body));
        if (!next.success) return invalid("endpoints.invalid", next.error);
        endpoints = next.data;
        return json(200, { publicKeys: { sendgrid: state.publicKey } });
      }
      case "GET /next":
        return json(200, { nextDueAt: outbox.nextDueAt(), pending: outbox.size, ...outbox.counts });
      case "POST /flush": {
        const given = FlushRequest.safeParse(parseJson(body));
        if (!given.success) return invalid("flush.invalid", given.error);
        return json(200, { reactions: await flush(new Date(given.data.upTo)), nextDueAt: outbox.nextDueAt() });
      }
      case "POST /reset":
        outbox.clear();
        intake.restartCounting();
        await state.reset();
        return json(200, {});
      case "GET /v3": {
        const { authorization } = request.headers;
        if (second === "verified_senders") return listVerifiedSenders(endpoints, authorization);
        if (second !== "whitelabel" || third !== "domains") break;
        return listDomains(endpoints, authorization, url.searchParams, settings.unprovenDomains);
      }
      case "GET /2010-04-01":
        if (second !== "Accounts") break;
        return fourth === "Messages.json"
          ? listMessages(stage, third, request.headers.authorization, url.searchParams)
          : showMessage(stage, third, request.headers.authorization, url.pathname.split("/")[5] ?? "");
    }
    return problem(404, "route.not_found", `The simulator has no ${request.method} ${url.pathname}.`);
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://simulator");
    const body = await readBody(request);
    if (body === null) return reply(response, { ...tooLarge, headers: { ...tooLarge.headers, connection: "close" } });
    const { authorization } = request.headers;
    // Read when the message is taken, so that two equal requests in flight get two ids.
    const nonce = () => `${settings.seed}|${state.accepts.entries.length}`;
    if (request.method === "POST" && url.pathname === "/v3/mail/send") {
      return intake.handle("sendgrid", request, response, () => takeMail(endpoints, authorization, body, nonce()));
    }
    const accountSid = /^\/2010-04-01\/Accounts\/([^/]+)\/Messages\.json$/.exec(url.pathname)?.[1];
    if (request.method === "POST" && accountSid !== undefined) {
      return intake.handle("twilio", request, response, (at) =>
        createMessage(endpoints, { accountSid, authorization, body, nonce: nonce(), at, isOptedOut: state.isOptedOut }),
      );
    }
    reply(response, await answer(request, url, body));
  }

  const server = createServer((request, response) => {
    serve(request, response).catch((error: unknown) => {
      // A client that hung up is its own affair; anything else must be seen.
      if (request.socket.destroyed) return;
      reply(response, problem(500, "simulator.failed", error instanceof Error ? error.message : String(error)));
    });
  });
  // Senders keep connections in a pool; closing idle ones under them would look like a fault nobody asked for.
  server.keepAliveTimeout = 120_000;
  const listening = new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, "127.0.0.1", resolve);
  });
  await listening.catch(async (error: unknown) => {
    await state.close();
    throw error;
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : options.port;

  return {
    url: `http://127.0.0.1:${port}`,
    publicKeys: { sendgrid: state.publicKey },
    setEndpoints: (next) => {
      endpoints = Endpoints.parse(next);
    },
    setBehaviour: (next) => setBehaviour(Settings.parse(next)),
    accepted: () => state.accepts.entries,
    nextDueAt: () => outbox.nextDueAt(),
    flush,
    async stop() {
      const isClosed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await isClosed;
      await outbox.stop();
      await state.close();
    },
  };
}

/** The referee's view. `?provider=`, `?since=` (ISO instant, inclusive), NDJSON when asked for (`Accept` or `?format=ndjson`). */
function accepted(accepts: readonly Accept[], query: URLSearchParams, accept: string): Answer {
  const provider = query.get("provider");
  const sinceMs = Date.parse(query.get("since") ?? "1970-01-01T00:00:00Z");
  if (Number.isNaN(sinceMs)) return problem(400, "accepted.invalid_since", "since must be an ISO 8601 instant.");
  const data = accepts.filter(
    (one) => (provider === null || one.provider === provider) && Date.parse(one.at) >= sinceMs,
  );
  if (!accept.includes("ndjson") && query.get("format") !== "ndjson") return json(200, { data });
  const headers = { "content-type": "application/x-ndjson" };
  return { status: 200, headers, body: data.map((one) => `${JSON.stringify(one)}\n`).join("") };
}
