/** `npm start`: the whole system on this machine, until Ctrl-C. Exit codes: `local/failure.ts`. */
import { createLog } from "../functions/lib/log.ts";
import { readAccess, writeAccess } from "./access.ts";
import { failureOf } from "./failure.ts";
import { type LocalHost, startHost } from "./host.ts";
import { provision } from "./provision.ts";
import { readSettings } from "./settings.ts";

/** A second Ctrl-C, or a stop that takes longer than this, ends the process at once: nothing acknowledged is lost by that. */
const stopLimitMs = 8_000;

function stopOn(signals: readonly NodeJS.Signals[], local: LocalHost): void {
  let stopping = false;
  for (const signal of signals) {
    process.on(signal, () => {
      if (stopping) process.exit(130);
      stopping = true;
      process.stderr.write("\nStopping …\n");
      setTimeout(() => process.exit(130), stopLimitMs).unref();
      void local.stop().then(() => process.exit(0));
    });
  }
}

async function main(): Promise<void> {
  const began = performance.now();
  const settings = readSettings(process.env);
  const log = createLog({
    write: (line) => process.stderr.write(`${line}\n`),
    level: "warn",
    now: () => new Date(),
  });
  const local = await startHost({ ...settings, log });
  stopOn(["SIGINT", "SIGTERM"], local);
  const { tenantId, organizationId, apiKey, channels } = await provision(local, await readAccess(local.home));
  await writeAccess(local.home, { baseUrl: local.url, apiKey, organizationId, tenantId, channels, simulatorUrl: null });

  const rows = [
    ["API", `${local.url}/v1`],
    ["OpenAPI", `${local.url}/openapi.json`],
    ["API key", apiKey],
    ["Tenant", tenantId],
    ["Home", local.home],
  ];
  const seconds = ((performance.now() - began) / 1_000).toFixed(1);
  console.log(`Outrider is up at ${local.url} after ${seconds} s. Ctrl-C stops it; everything is kept.`);
  for (const [name, value] of rows) console.log(`  ${name?.padEnd(8)} ${value}`);
}

main().catch((error: unknown) => {
  const { line, exitCode } = failureOf(error);
  console.error(line);
  process.exit(exitCode);
});
