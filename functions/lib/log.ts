/**
 * One JSON object per line, on stdout: what happened, to which tenant, caused by what.
 *
 * Invariant: no address, phone number or secret is ever written. Fields are let through by name (`loggable`); every string is also
 * searched for e-mail addresses, phone numbers and tokens, because error messages quote their input.
 */
export type Level = "debug" | "info" | "warn" | "error";

export type Fields = Readonly<Record<string, unknown>>;

/** CloudWatch's units that we use. */
export type MetricUnit = "Count" | "Milliseconds" | "Bytes";

export interface Log {
  debug(event: string, fields?: Fields): void;
  info(event: string, fields?: Fields): void;
  warn(event: string, fields?: Fields): void;
  error(event: string, fields?: Fields): void;
  /** A CloudWatch metric in embedded metric format: a log line that becomes a metric without an API call. Dimensions must be few-valued (never a tenant or an id). */
  metric(name: string, value: number, unit: MetricUnit, dimensions?: Readonly<Record<string, string>>): void;
  /** A log whose every line carries these fields too. */
  with(fields: Fields): Log;
}

/** Names that may appear in a line. Anything else becomes `[redacted]`, so a careless `{ ...row }` leaks nothing. */
const loggable = new Set([
  "actor",
  "attempt",
  "attempts",
  "batch",
  "bytes",
  "campaignId",
  "cause",
  "channel",
  "channelConfigId",
  "code",
  "correlationId",
  "count",
  "counts",
  "deliveryId",
  "enrollmentId",
  "error",
  "event",
  "failed",
  "function",
  "generation",
  "ids",
  "importId",
  "kind",
  "limit",
  "messageId",
  "method",
  "milliseconds",
  "name",
  "outcome",
  "parked",
  "port",
  "provider",
  "queue",
  "reason",
  "received",
  "records",
  "remaining",
  "requestId",
  "route",
  "rows",
  "schedule",
  "source",
  "stack",
  "stage",
  "status",
  "table",
  "tenantId",
  "version",
]);

/** An id of ours is a prefix and a ULID: never personal, and useful to whoever reads the log. */
const patterns: readonly (readonly [RegExp, string])[] = [
  [/\b(postgres(?:ql)?|https?|wss?):\/\/[^\s/@"']+@/g, "$1://[secret]@"],
  [/[^\s@"<>()[\],;:]+@[^\s@"'<>()[\],;:]+\.[^\s@"'<>()[\],;:]+/g, "[email]"],
  [/\b(Bearer|Basic)\s+[\w.~+/=-]+/gi, "$1 [secret]"],
  [
    /\b(SG\.[\w-]{10,}\.[\w-]{10,}|sk_[\w-]{10,}|whsec_[\w+/=-]{10,}|AKIA[0-9A-Z]{12,}|or_[a-z]+_[\w-]{20,})/g,
    "[secret]",
  ],
  [/(?<![\w.:-])\+?\(?\d(?:[\s().-]{0,2}\d){8,14}(?![\w:-])/g, "[phone]"],
];

/** Takes addresses, phone numbers and tokens out of free text. */
export const redact = (text: string): string =>
  patterns.reduce((rest, [pattern, replacement]) => rest.replace(pattern, replacement), text);

const maxDepth = 4;
const maxItems = 100;

function safe(value: unknown, depth: number): unknown {
  if (typeof value === "string") return redact(value.length > 4_000 ? `${value.slice(0, 4_000)}…` : value);
  if (typeof value === "bigint") return value.toString();
  if (value === null || typeof value === "number" || typeof value === "boolean" || value === undefined) return value;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (depth >= maxDepth) return "[deep]";
  if (value instanceof Error) return problem(value, depth + 1);
  if (Array.isArray(value)) return value.slice(0, maxItems).map((item) => safe(item, depth + 1));
  if (typeof value === "object") return allowed(value as Fields, depth + 1);
  return `[${typeof value}]`;
}

function problem(error: Error, depth: number): Fields {
  const code = "code" in error && typeof error.code === "string" ? error.code : undefined;
  return {
    name: error.name,
    message: redact(error.message),
    ...(code ? { code } : {}),
    ...(error.stack ? { stack: redact(error.stack.split("\n").slice(1, 12).join("\n")) } : {}),
    ...(error.cause === undefined ? {} : { cause: safe(error.cause, depth) }),
  };
}

const allowed = (fields: Fields, depth: number): Fields =>
  Object.fromEntries(
    Object.entries(fields)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => [name, loggable.has(name) ? safe(value, depth) : "[redacted]"]),
  );

const rank: Readonly<Record<Level, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

export interface LogOptions {
  /** Receives one complete line, without its line end. */
  readonly write: (line: string) => void;
  readonly level?: Level;
  /** False: metrics are left out, where nobody collects them. Default true. */
  readonly metrics?: boolean;
  /** The time of the line: wall clock, also under a virtual clock, because lines are read beside those of other systems. */
  readonly now: () => Date;
}

export function createLog({ write, level = "info", metrics = true, now }: LogOptions, bound: Fields = {}): Log {
  const line =
    (at: Level) =>
    (event: string, fields: Fields = {}) => {
      if (rank[at] < rank[level]) return;
      write(JSON.stringify({ time: now().toISOString(), level: at, event, ...allowed({ ...bound, ...fields }, 0) }));
    };
  return {
    debug: line("debug"),
    info: line("info"),
    warn: line("warn"),
    error: line("error"),
    metric(name, value, unit, dimensions = {}) {
      if (!metrics) return;
      const at = now();
      const _aws = {
        Timestamp: at.getTime(),
        CloudWatchMetrics: [
          { Namespace: "Outrider", Dimensions: [Object.keys(dimensions)], Metrics: [{ Name: name, Unit: unit }] },
        ],
      };
      write(JSON.stringify({ _aws, ...dimensions, [name]: value }));
    },
    with: (fields) => createLog({ write, level, metrics, now }, { ...bound, ...fields }),
  };
}
