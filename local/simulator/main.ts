/**
 * The simulator as its own process: `node local/simulator/main.ts --dir DIR [--port N] [--clock real|virtual] [--at ISO]`.
 * Prints one JSON line `{url, publicKeys}` when it is ready. With a virtual clock, time stands at `--at` and follows `POST /flush`.
 */
import { Command, Option } from "commander";
import { startSimulator } from "./server.ts";

const { port, dir, clock, at } = new Command()
  .requiredOption("--dir <dir>", "where the accept log, opt-outs and signing key are kept")
  .option<number>("--port <port>", "0 = a free one", Number, 0)
  .addOption(
    new Option("--clock <kind>", "real, or virtual (driven by POST /flush)")
      .choices(["real", "virtual"])
      .default("real"),
  )
  .option("--at <instant>", "where a virtual clock starts", "2026-01-05T09:00:00Z")
  .parse()
  .opts<{ port: number; dir: string; clock: "real" | "virtual"; at: string }>();

let now = new Date(at);
const simulator = await startSimulator({
  port,
  dir,
  clock: clock === "real" ? "real" : { now: () => now },
  onFlush: (upTo) => {
    if (upTo > now) now = upTo;
  },
});
console.log(JSON.stringify({ url: simulator.url, publicKeys: simulator.publicKeys }));

let isStopping = false;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    if (isStopping) process.exit(1);
    isStopping = true;
    void simulator.stop();
  });
}
