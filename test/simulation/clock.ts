/**
 * The clocks of simulated processes: `Date` and `performance.now()` of this process read virtual time, plus the skew of whoever asks.
 *
 * Invariant: nothing that runs inside a simulated process can see real time, so no run depends on how fast the machine is.
 */
import { AsyncLocalStorage } from "node:async_hooks";

/** Whose code is running: each simulated process has a clock that is a little off. */
export const running = new AsyncLocalStorage<{ readonly skewMs: number }>();

const time = { now: 0 };
/** Virtual milliseconds since 1970. */
export const virtualNow = (): number => time.now;
export const setVirtualNow = (at: number): void => {
  time.now = at;
};

/** Real milliseconds, for measuring the simulation itself. */
export const realNow: () => number = performance.now.bind(performance);

/** Call it once, before any module that reads the time is loaded. */
export function installClock(): void {
  const RealDate = globalThis.Date;
  const now = (): number => time.now + (running.getStore()?.skewMs ?? 0);
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, args, newTarget) =>
      args.length === 0
        ? new RealDate(now())
        : Reflect.construct(target, args, newTarget === globalThis.Date ? target : newTarget),
    get: (target, name) => (name === "now" ? now : Reflect.get(target, name)),
  });
  // Monotonic: the skew of a wall clock is not part of it.
  performance.now = () => time.now;
  // A limit in real time would make a run depend on the machine: core/deliveries/intake.ts spills a webhook after 2 s.
  AbortSignal.timeout = () => new AbortController().signal;
}
