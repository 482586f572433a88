/** A limit on waiting. Invariant: what was begun goes on; only whoever waits for it is told. */

/**
 * @param limit real milliseconds, or the signal of a limit that is running already
 * @param late makes the error of a wait that took longer; its argument is what the clock says about it
 * @throws whatever `work` throws, or `late` at the limit
 */
export async function within<T>(
  limit: number | AbortSignal,
  work: Promise<T>,
  late: (reason: unknown) => Error,
): Promise<T> {
  const signal = typeof limit === "number" ? AbortSignal.timeout(limit) : limit;
  return Promise.race([
    work,
    new Promise<never>((_resolve, reject) => {
      const stop = () => reject(late(signal.reason));
      if (signal.aborted) stop();
      else signal.addEventListener("abort", stop, { once: true });
    }),
  ]);
}
