/** `status` and `open`: how the system is, and where it is. */
import type { Command } from "commander";
import { type HttpSpec, http } from "../../functions/topology.ts";
import type { Row } from "../client.ts";
import { type GlobalOptions, localAccess, serverOf } from "../config.ts";
import type { Output } from "../output.ts";
import { verbOf } from "../verb.ts";
import { tree } from "./campaigns.ts";

/** Of the answer, in the order they are shown. */
const parts = ["campaigns", "queued", "held", "ambiguous", "queues"] as const;

export function status(program: Command): void {
  program
    .command("status")
    .description("health, work that waits, what is held and why, sends without a known end")
    .action(async (_options, command: Command) => {
      const { out, client: connect } = verbOf(command);
      const client = await connect();
      const health = await client.get("/health");
      const { contacts, leads, examined, ...counts } = await client.get("/v1/status");
      const part = (name: string): Row => (counts[name] ?? {}) as Row;
      const report = {
        server: { url: client.url, ...health },
        has: { leads, contacts },
        ...Object.fromEntries(parts.map((name) => [name, part(name)])),
        examined: (examined ?? {}) as Row,
      };
      await out.value(report, () => show(out, report));
    });
}

const headings: Readonly<Record<string, string>> = {
  queued: "messages that wait, by channel",
  held: "messages held back, by reason",
  ambiguous: "sends without a known end, by provider",
  queues: "work",
  examined: "last examination",
};

async function show(out: Output, report: Readonly<Record<string, Row>>): Promise<void> {
  for (const [name, counts] of Object.entries(report)) {
    await out.line(out.bold(headings[name] ?? name));
    if (Object.keys(counts).length === 0) await out.line("  none");
    await tree(out, counts, 1);
  }
}

/** Whether this version serves one. */
const hasConsole = Object.values<HttpSpec>(http).some(({ routes }) =>
  routes.some((route) => route.includes(" /console")),
);

export function open(program: Command): void {
  program
    .command("open")
    .description("the addresses of this system")
    .action(async (_options, command: Command) => {
      const { out } = verbOf(command);
      const { url } = await serverOf(command.optsWithGlobals<GlobalOptions>(), process.env);
      const local = await localAccess(process.env);
      const isLocal = local !== undefined && new URL(local.baseUrl).origin === new URL(url).origin;
      const addresses = {
        api: `${url}/v1`,
        openapi: `${url}/openapi.json`,
        health: `${url}/health`,
        ...(hasConsole ? { console: `${url}/console` } : {}),
        ...(isLocal && local.simulatorUrl !== null ? { simulator: local.simulatorUrl } : {}),
        ...(isLocal
          ? {
              webhooks: Object.fromEntries(
                Object.entries(local.channels).map(([name, { webhookUrl }]) => [name, webhookUrl]),
              ),
            }
          : {}),
      };
      await out.value(addresses, () => tree(out, addresses));
    });
}
