/** Worker threads that share a list of jobs, so that a long run uses every core. Invariant: a job that fails fails the run. */
import { availableParallelism } from "node:os";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

/** Runs all jobs. `file` calls `serve`. Results come in the order in which they are finished. */
export async function runPool<J, R>(
  file: URL,
  setup: unknown,
  jobs: readonly J[],
  onResult: (result: R) => void,
  workers = Math.min(availableParallelism(), 8),
): Promise<void> {
  const waiting = [...jobs];
  const one = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const worker = new Worker(file, { workerData: setup });
      const next = () => {
        const job = waiting.shift();
        if (job === undefined) worker.postMessage({ end: true });
        else worker.postMessage({ job });
      };
      worker.once("error", reject);
      worker.once("exit", (code) => (code === 0 ? resolve() : reject(new Error(`a worker ended with ${code}`))));
      worker.on("message", (message: { readonly ready?: true; readonly result?: R }) => {
        if (message.ready === undefined) onResult(message.result as R);
        next();
      });
    });
  await Promise.all(Array.from({ length: Math.min(workers, jobs.length) }, one));
}

/** The other side: what a worker does with its jobs. `open` prepares it once; what it returns is closed at the end. */
export function serve<S, J, R>(
  open: (setup: S) => Promise<{ readonly run: (job: J) => Promise<R>; readonly close: () => Promise<void> }>,
): void {
  if (isMainThread || parentPort === null) return;
  const port = parentPort;
  const opened = open(workerData as S);
  port.on("message", (message: { readonly job?: J; readonly end?: true }) => {
    void opened.then(async ({ run, close }) => {
      if (message.end) {
        await close();
        port.close();
      } else port.postMessage({ result: await run(message.job as J) });
    });
  });
  void opened.then(() => port.postMessage({ ready: true }));
}
