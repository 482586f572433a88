/** A limit on waiting. Invariant: what was begun goes on; only whoever waits for it is told. */

/**
 * @param late makes the error of a wait that took longer; its argument is what the clock says about it
 * @throws whatever `work` throws, or `late` after `ms` real milliseconds
 */
export async function within<T>(ms: number, work: Promise<T>, late: (reason: unknown) => Error): Promise<T> {
  const limit = AbortSignal.timeout(ms);
  return Promise.race([
    work,
    new Promise<never>((_resolve, reject) => {
      limit.addEventListener("abort", () => reject(late(limit.reason)), { once: true });
    }),
  ]);
}
