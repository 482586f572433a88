/** The environment of local commands, read once and checked: the contract is in the README. */
import * as z from "zod";
import { type FaultPoint, faultPoints } from "../core/kernel/fault.ts";
import { SettingError } from "./failure.ts";

const Environment = z.object({
  OUTRIDER_HOME: z.string().min(1).default(".outrider"),
  PORT: z.coerce.number({ error: "expected a port number" }).int().min(0).max(65_535).default(8787),
  DATABASE_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\/./, { error: "expected postgres://user@host/database" })
    .refine((url) => URL.canParse(url), { error: "expected postgres://user@host/database" })
    .optional(),
  MIGRATION_URL: z.string().optional(),
  OUTRIDER_SIMULATOR: z.enum(["on", "off"]).default("on"),
  PUBLIC_URL: z.url().optional(),
  FAULT_POINT: z
    .string()
    .regex(new RegExp(`^(${faultPoints.map((point) => point.replace(".", "\\.")).join("|")}):[1-9][0-9]*$`), {
      error: `expected point:n with one of ${faultPoints.join(", ")}`,
    })
    .optional(),
});

export interface Settings {
  readonly home: string;
  readonly port: number;
  readonly databaseUrl: string | undefined;
  readonly migrationUrl: string | undefined;
  readonly simulator: boolean;
  readonly publicUrl: string | undefined;
  /** The process kills itself at the nth time this point is reached: how the crash tests kill it where it hurts. */
  readonly fault: { readonly point: FaultPoint; readonly nth: number } | undefined;
}

/** @throws SettingError naming the variable and what it may hold */
export function readSettings(environment: Readonly<Record<string, string | undefined>>): Settings {
  // An empty variable is how a shell says "not set".
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ""));
  const parsed = Environment.safeParse(given);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new SettingError(`${String(issue?.path[0])}: ${issue?.message}`);
  }
  const { OUTRIDER_HOME, PORT, DATABASE_URL, MIGRATION_URL, OUTRIDER_SIMULATOR, PUBLIC_URL, FAULT_POINT } = parsed.data;
  const [point, nth] = FAULT_POINT?.split(":") ?? [];
  return {
    home: OUTRIDER_HOME,
    port: PORT,
    databaseUrl: DATABASE_URL,
    migrationUrl: MIGRATION_URL,
    simulator: OUTRIDER_SIMULATOR === "on",
    publicUrl: PUBLIC_URL,
    fault: point === undefined ? undefined : { point: point as FaultPoint, nth: Number(nth) },
  };
}
