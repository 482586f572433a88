/**
 * How long to wait before the next try. Full jitter: uniform in [0, delay], so that a provider's recovery is not met by
 * everyone at once (AWS Architecture Blog, "Exponential Backoff and Jitter").
 */
export interface BackoffOptions {
  readonly baseSeconds: number;
  readonly factor: number;
  readonly maxSeconds: number;
}

export const defaultBackoff: BackoffOptions = { baseSeconds: 1, factor: 5, maxSeconds: 600 };

/** @param attempt 1 for the first failure. @param random uniform in [0, 1). */
export function backoffSeconds(attempt: number, random: number, options = defaultBackoff): number {
  const ceiling = Math.min(options.maxSeconds, options.baseSeconds * options.factor ** (attempt - 1));
  return ceiling * random;
}

/** Reads `Retry-After` (seconds or HTTP date), clamped to 1 s … 1 h; `null` when it says nothing usable. */
export function retryAfterSeconds(header: string | undefined, now: Date): number | null {
  if (header === undefined) return null;
  const text = header.trim();
  const seconds = /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : (Date.parse(text) - now.getTime()) / 1000;
  if (!Number.isFinite(seconds)) return null;
  return Math.min(3600, Math.max(1, seconds));
}
