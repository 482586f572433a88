/** A simulator on a temporary directory, an endpoint that records what it is sent, and the requests senders make. */
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Simulator, type SimulatorOptions, startSimulator } from "../../../local/simulator/server.ts";

export interface Received {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export interface Endpoint {
  readonly origin: string;
  readonly received: Received[];
  /** Status of the nth answer; 200 after the end. */
  answers: number[];
  stop(): Promise<void>;
}

export async function recordingEndpoint(): Promise<Endpoint> {
  const received: Received[] = [];
  const endpoint = { answers: [] as number[] };
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const headers = request.headers as Record<string, string>;
      received.push({ method: request.method ?? "", url: request.url ?? "", headers, body: Buffer.concat(chunks) });
      response.writeHead(endpoint.answers.shift() ?? 200).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the endpoint has no port");
  return Object.assign(endpoint, {
    origin: `http://127.0.0.1:${address.port}`,
    received,
    stop: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  });
}

export const start = new Date("2026-03-02T10:00:00Z");
export const accountSid = `AC${"a".repeat(32)}`;
export const authToken = "test-auth-token-0001";
export const apiKey = "SG.test.key";

export interface Rig {
  readonly simulator: Simulator;
  readonly endpoint: Endpoint;
  readonly clock: { at: Date };
  readonly dir: string;
  /** Moves the clock to each due reaction in turn until none is left before `until`. */
  run(until?: Date): Promise<number>;
  stop(): Promise<void>;
}

/** Under a virtual clock that starts at `start`. */
export async function rig(options: Partial<SimulatorOptions> = {}): Promise<Rig> {
  const dir = await mkdtemp(join(tmpdir(), "simulator-"));
  const endpoint = await recordingEndpoint();
  const clock = { at: start };
  const simulator = await startSimulator({
    port: 0,
    dir,
    clock: { now: () => clock.at },
    endpoints: {
      sendgrid: {
        webhookUrl: `${endpoint.origin}/webhooks/sendgrid/chc_1`,
        apiKey,
        inboundUrl: `${endpoint.origin}/parse`,
      },
      twilio: { webhookUrl: `${endpoint.origin}/webhooks/twilio/chc_2`, accountSid, authToken },
    },
    ...options,
  });
  return {
    simulator,
    endpoint,
    clock,
    dir,
    async run(until = new Date("2026-06-01T00:00:00Z")) {
      let done = 0;
      for (let due = simulator.nextDueAt(); due !== null && due <= until; due = simulator.nextDueAt()) {
        clock.at = due > clock.at ? due : clock.at;
        done += await simulator.flush(due);
      }
      return done;
    },
    async stop() {
      await simulator.stop();
      await endpoint.stop();
      await rm(dir, { recursive: true });
    },
  };
}

/** What SendGrid's API takes, with parts replaced. */
export const mail = (to: string, parts: Readonly<Record<string, unknown>> = {}) => ({
  personalizations: [{ to: [{ email: to }], custom_args: { oe_mid: ourId(to) } }],
  from: { email: "ada@sender.example", name: "Ada" },
  reply_to: { email: "reply+1@in.sender.example" },
  subject: "Hello",
  content: [
    { type: "text/plain", value: "Hello there." },
    { type: "text/html", value: "<p>Hello there.</p>" },
  ],
  ...parts,
});

/** A message id of ours that names its address. */
export const ourId = (to: string) => `omsg_${to.replace(/[^a-z0-9]/gi, "")}`;

export const sendMail = (simulator: Simulator, body: unknown, key = apiKey): Promise<Response> =>
  fetch(`${simulator.url}/v3/mail/send`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });

export const sendSms = (
  simulator: Simulator,
  form: Readonly<Record<string, string>>,
  account = accountSid,
  token = authToken,
): Promise<Response> =>
  fetch(`${simulator.url}/2010-04-01/Accounts/${account}/Messages.json`, {
    method: "POST",
    headers: { authorization: `Basic ${Buffer.from(`${account}:${token}`).toString("base64")}` },
    body: new URLSearchParams(form),
  });

export const putBehaviour = (simulator: Simulator, settings: unknown): Promise<Response> =>
  fetch(`${simulator.url}/behaviour`, { method: "PUT", body: JSON.stringify(settings) });

/** The JSON of an answer, as the test expects it to be. */
export const jsonOf = async <T>(response: Response | Promise<Response>): Promise<T> =>
  (await (await response).json()) as T;
