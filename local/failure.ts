/**
 * What goes wrong at the start of a local command, as one line and an exit code. Documented in docs/operating.md.
 *
 * 1 something unforeseen · 2 wrong Node version or setting · 3 the port is taken · 4 the database cannot be used ·
 * 5 the home directory cannot be used, or another Outrider runs in it
 */
import { DomainError } from "../core/kernel/error.ts";

export interface Failure {
  readonly exitCode: 1 | 2 | 3 | 4 | 5;
  readonly line: string;
}

const ofHome = new Set(["home.already_running", "postgres.already_running", "postgres.data_unreachable"]);

/** A setting that cannot be used. */
export class SettingError extends Error {
  override readonly name = "SettingError";
}

export function failureOf(error: unknown): Failure {
  const { code, message } =
    error instanceof Error ? (error as NodeJS.ErrnoException) : { code: "", message: String(error) };
  const line = (message.split("\n")[0] ?? "").slice(0, 500);
  if (error instanceof SettingError) return { exitCode: 2, line };
  if (error instanceof DomainError) {
    if (ofHome.has(error.code)) return { exitCode: 5, line };
    const ofDatabase = /^(postgres|database|migrate)\./.test(error.code);
    return { exitCode: ofDatabase ? 4 : 1, line: `${line} (${error.code})` };
  }
  if (code === "EADDRINUSE") {
    return {
      exitCode: 3,
      line: `The port is taken (${line}). Stop what listens there, or choose another: PORT=0 npm start takes a free one`,
    };
  }
  if (code === "EACCES" && line.includes("listen")) return { exitCode: 3, line: `The port may not be used: ${line}` };
  if (
    code === "EACCES" ||
    code === "EROFS" ||
    code === "ENOSPC" ||
    code === "ENOTDIR" ||
    code === "EEXIST" ||
    code === "EPERM"
  ) {
    return { exitCode: 5, line: `The home directory cannot be used: ${line}` };
  }
  if (line.includes("is not a key file")) return { exitCode: 5, line };
  return { exitCode: 1, line: `Outrider did not start: ${line}` };
}
