/**
 * A child process that plays worlds. It reads jobs from its parent, one at a time, and answers each.
 * Invariant: clocks and network are replaced here, in a process of its own, and nowhere else.
 */
import "./hooks.ts";
import type { Script } from "./script.ts";

export interface WorkerSetup {
  readonly url: string;
  readonly ownerUrl: string;
  readonly sabotage?: string | undefined;
}

export interface Job {
  readonly script: Script;
  readonly trace?: boolean;
}

const { openStage } = await import("./stage.ts");

async function main(): Promise<void> {
  const setup = JSON.parse(process.argv[2] ?? "{}") as WorkerSetup;
  const stage = await openStage(setup);
  // Without its parent it has nobody to play for, whatever it is doing.
  process.once("disconnect", () => process.exit());
  process.send?.({ ready: true, fences: stage.fences });
  process.on("message", (message: Job | { readonly end: true }) => {
    if ("end" in message) {
      void stage.close().then(() => process.disconnect());
      return;
    }
    stage.play(message.script, message.trace).then(
      (outcome) => process.send?.({ outcome }),
      (error: unknown) =>
        process.send?.({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
    );
  });
}

await main();
