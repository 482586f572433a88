/** Tells a database that did not answer from one that refused. Invariant: a refusal of the server's own is never taken for its absence. */

/** The connection broke, or the driver gave it up: whether the statement was done is not known. */
export class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";
}

/** Connection exceptions; too many connections; ended by an administrator, by a crash, starting up (PostgreSQL's appendix A). */
const awayStates = /^(08...|53300|57P0[123])$/;
const networkCodes = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
]);
/** What node-postgres and Neon's driver, which is made of it, say without a code. */
const driversWords =
  /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error)/;

/** Could the database not be asked in time, or did it not live to answer? A COMMIT may have been done all the same. */
export function isAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error instanceof ConnectionLost) return true;
  const { code } = error as { readonly code?: unknown };
  if (typeof code === "string") return awayStates.test(code) || networkCodes.has(code);
  // Every address of a host name was tried.
  if (error instanceof AggregateError) return error.errors.some(isAway);
  return driversWords.test(error.message);
}

/** Does the server refuse this data (SQLSTATE classes 22 and 23)? The same will be refused the next time, too. */
export const isRefused = (error: unknown): error is Error =>
  error instanceof Error && "code" in error && /^2[23]...$/.test(String(error.code));
