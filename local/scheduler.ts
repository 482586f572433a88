/**
 * Runs schedules on this machine. Invariant: a schedule never overlaps itself; the next run starts one interval after the last one began,
 * or as soon as that one has ended.
 */
import { setTimeout as sleep } from "node:timers/promises";

export interface Schedule {
  readonly name: string;
  readonly everySeconds: number;
  run(): Promise<void>;
}

export interface Scheduler {
  /** Starts nothing more and waits for what runs, at most this long. */
  stop(limitMs: number): Promise<void>;
}

/** Each schedule runs at once and then at its interval. A failed run is reported and the next one comes as usual. */
export function startScheduler(schedules: readonly Schedule[], onError: (error: unknown) => void): Scheduler {
  const stopped = new AbortController();
  const { signal } = stopped;
  async function keep({ everySeconds, run }: Schedule): Promise<void> {
    while (!signal.aborted) {
      const began = performance.now();
      await run().catch(onError);
      const restMs = everySeconds * 1_000 - (performance.now() - began);
      await sleep(Math.max(0, restMs), undefined, { signal }).catch(() => {});
    }
  }
  const running = schedules.map(keep);
  return {
    async stop(limitMs) {
      stopped.abort();
      await Promise.race([Promise.all(running), sleep(limitMs, undefined, { ref: false })]);
    },
  };
}
