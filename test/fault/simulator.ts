/** The provider simulator in a process of its own: unwell in every way it knows, and the keeper of the accept log. */
import { spawn } from "node:child_process";
import path from "node:path";
import { request } from "undici";
import { rateLimitVariants, type SettingsInput } from "../../local/simulator/behaviour.ts";
import type { FaultTenant } from "./tenants.ts";

export interface FaultSimulator {
  readonly url: string;
  readonly publicKey: string;
  connect(tenants: readonly FaultTenant[]): Promise<void>;
  behave(settings: SettingsInput): Promise<void>;
  /** Reactions that are still to come. */
  pending(): Promise<number>;
  /** Lets everything happen now that would happen within ten days. */
  flush(): Promise<void>;
  stop(): Promise<void>;
}

/** A virtual month of reactions in a run of minutes: what takes two days takes a minute and a half. */
const speed = 2_000;

export const unwell = (seed: number): SettingsInput => ({
  seed,
  speed,
  // What falls due within two seconds arrives together, as SendGrid posts it: many events in a request.
  gridSeconds: 2,
  rates: { reply: 0.03, stop: 0.02, unsubscribe: 0.02, hardBounce: 0.015, asyncBounce: 0.005, open: 0.3, click: 0.05 },
  latencyMs: { min: 1, max: 30 },
  errors: {
    http400: 0.002,
    http500: 0.005,
    rateLimit429: 0.01,
    resetBeforeAccept: 0.003,
    // Each holds up a whole batch for the ten seconds that a call may take.
    hang: 0.0002,
    http500AfterAccept: 0.01,
    timeoutAfterAccept: 0.01,
    malformed2xx: 0.005,
  },
  hangSeconds: 15,
  rateLimitVariants: [...rateLimitVariants],
  webhooks: { duplicateRate: 0.1, reorder: 0.1, early: 0.1, dropRate: 0.01, batchSize: 300 },
  attachments: { share: 0.1, bytes: 150_000 },
});

export async function startFaultSimulator(dir: string): Promise<FaultSimulator> {
  const program = path.resolve(import.meta.dirname, "../../local/simulator/main.ts");
  const child = spawn(process.execPath, ["--max-old-space-size=8192", program, "--dir", dir], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const onExit = () => void child.kill("SIGKILL");
  process.once("exit", onExit);
  const { url, publicKeys } = await new Promise<{ url: string; publicKeys: { sendgrid: string } }>(
    (resolve, reject) => {
      let said = "";
      child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
        said += chunk;
        if (said.includes("\n")) resolve(JSON.parse(said));
      });
      child.once("exit", (code) => reject(new Error(`the simulator ended with ${code}`)));
    },
  );
  async function ask<T>(method: "GET" | "PUT" | "POST", target: string, body?: unknown): Promise<T> {
    const answer = await request(`${url}${target}`, {
      method,
      ...(body !== undefined && { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
      // A flush answers when everything has happened, which takes as long as the workers take for a hundred thousand webhooks.
      headersTimeout: 0,
    });
    const text = await answer.body.text();
    if (answer.statusCode !== 200) throw new Error(`${method} ${target}: ${answer.statusCode} ${text}`);
    return JSON.parse(text) as T;
  }
  return {
    url,
    publicKey: publicKeys.sendgrid,
    connect: (tenants) =>
      ask("PUT", "/endpoints", {
        sendgrid: tenants.map(({ email }) => ({ ...email, inboundMode: "mixed" })),
        twilio: tenants.map(({ sms }) => sms),
      }),
    behave: (settings) => ask("PUT", "/behaviour", settings),
    pending: async () => (await ask<{ pending: number }>("GET", "/next")).pending,
    flush: () => ask("POST", "/flush", { upTo: new Date(Date.now() + 10 * 86_400_000).toISOString() }),
    async stop() {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      await ended;
      process.off("exit", onExit);
    },
  };
}
