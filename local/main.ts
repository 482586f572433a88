/** `npm start`: the whole system on this machine, until Ctrl-C. Exit codes: `local/failure.ts`. */
import { armFault } from "../core/kernel/fault.ts";
import { createLog } from "../functions/lib/log.ts";
import { failureOf } from "./failure.ts";
import { refuseSecond, runningAt } from "./running.ts";
import { readSettings } from "./settings.ts";
import { type System, startSystem } from "./system.ts";

/** A second Ctrl-C, or a stop that takes longer than this, ends the process at once: nothing acknowledged is lost by that. */
const stopLimitMs = 8_000;

function stopOn(signals: readonly NodeJS.Signals[], system: System): void {
  let stopping = false;
  for (const signal of signals) {
    process.on(signal, () => {
      if (stopping) process.exit(130);
      stopping = true;
      process.stderr.write("\nStopping …\n");
      setTimeout(() => process.exit(130), stopLimitMs).unref();
      void system.stop().then(() => process.exit(0));
    });
  }
}

async function main(): Promise<void> {
  const began = performance.now();
  const settings = readSettings(process.env);
  await refuseSecond(settings.home);
  if (settings.fault) armFault(settings.fault.point, settings.fault.nth, () => process.kill(process.pid, "SIGKILL"));
  const log = createLog({
    write: (line) => process.stderr.write(`${line}\n`),
    level: "warn",
    metrics: false,
    now: () => new Date(),
  });
  const system = await startSystem({ ...settings, log });
  stopOn(["SIGINT", "SIGTERM"], system);
  const { local, access } = system;

  const rows = [
    ["API", `${local.url}/v1`],
    ["OpenAPI", `${local.url}/openapi.json`],
    ["API key", access.apiKey],
    ["Tenant", access.tenantId],
    ...Object.entries(access.channels).map(([provider, { webhookUrl }]) => [provider, webhookUrl]),
    ["Simulator", access.simulatorUrl ?? "off: messages go to the real providers"],
    ["Home", local.home],
  ];
  const seconds = ((performance.now() - began) / 1_000).toFixed(1);
  console.log(`Outrider is up at ${local.url} after ${seconds} s. Ctrl-C stops it; everything is kept.`);
  for (const [name, value] of rows) console.log(`  ${name?.padEnd(9)} ${value}`);
}

main().catch(async (error: unknown) => {
  const { line, exitCode } = failureOf(error);
  const there = exitCode === 3 ? await runningAt(readSettings(process.env).port) : undefined;
  console.error(there ?? line);
  process.exit(exitCode);
});
