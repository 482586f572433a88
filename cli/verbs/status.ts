/** `status` and `open`: how the system is, and where it is. */
import type { Command } from "commander";
import { type HttpSpec, http } from "../../functions/topology.ts";
import { type GlobalOptions, localAccess, serverOf } from "../config.ts";
import { verbOf } from "../verb.ts";
import { tree } from "./campaigns.ts";

export function status(program: Command): void {
  program
    .command("status")
    .description("health, work that is due, what is held and why, sends without a known end")
    .action(async (_options, command: Command) => {
      const { out, client: connect } = verbOf(command);
      const client = await connect();
      const [health, work] = await Promise.all([client.get("/health"), client.get("/v1/status")]);
      const report = { url: client.url, health, ...work };
      await out.value(report, () => tree(out, report));
    });
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
