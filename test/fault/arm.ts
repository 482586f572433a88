/** Arms fault points in this process. Invariant: a kill by a point is on disk before it happens, so the coverage table counts exactly. */
import { openSync, writeSync } from "node:fs";
import { armFault } from "../../core/kernel/fault.ts";
import type { ArmedPoint, FaultLine } from "./processes.ts";

export function arm(worker: string, faultLog: string, armed: readonly ArmedPoint[]): void {
  if (armed.length === 0) return;
  const log = openSync(faultLog, "a");
  for (const { point, nth } of armed) {
    armFault(point, nth, () => {
      const line: FaultLine = { worker, point, at: Date.now() };
      writeSync(log, `${JSON.stringify(line)}\n`);
      process.kill(process.pid, "SIGKILL");
    });
  }
}
