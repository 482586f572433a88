/** What somebody has to look at: alarms on the metrics that the functions write (docs/operating.md says what each asks for). */
import { queues, type ScheduleSpec, schedules } from "../functions/topology.ts";

export interface AlarmSpec {
  readonly name: string;
  readonly about: string;
  /** Of the namespace `Outrider`. It goes off above zero. */
  readonly metric: string;
  /** Those that the metric is written with: CloudWatch keeps each combination by itself. */
  readonly dimensions?: Readonly<Record<string, string>>;
  readonly statistic: "Maximum" | "Minimum" | "Sum";
  readonly periodSeconds: number;
  /** In a row. */
  readonly periods: number;
  /** What no data means; most metrics are written only when there is something to tell. */
  readonly silence: "breaching" | "notBreaching";
}

/** A fault of one run may pass; the same twice or three times in a row does not. */
const lasting = ({ rate }: ScheduleSpec) =>
  rate === "rate(1 hour)" ? { periodSeconds: 3_600, periods: 2 } : { periodSeconds: 300, periods: 3 };

/** Schedules that go through the tenants. */
const visitors = ["sweep", "reconcile", "maintain", "doctor"] as const satisfies readonly (keyof typeof schedules)[];

export const alarmSpecs: readonly AlarmSpec[] = [
  {
    name: "InvariantAlarm",
    about:
      "An invariant is broken, or nobody looked for two hours: the log has event invariant.broken; npx outrider doctor tells all",
    metric: "InvariantViolations",
    statistic: "Maximum",
    periodSeconds: 7_200,
    periods: 1,
    // The schedule `doctor` reports zero too, so silence is a fault of its own.
    silence: "breaching",
  },
  {
    name: "SpillAlarm",
    about: "Webhooks have waited in the bucket for a quarter of an hour: a STOP among them is not in effect yet",
    metric: "WebhooksSpilled",
    statistic: "Minimum",
    periodSeconds: 300,
    periods: 3,
    silence: "notBreaching",
  },
  {
    name: "DeliveriesAlarm",
    about:
      "A webhook was answered 2xx and cannot be applied: npx outrider deliveries list --status failed says why, a replay applies it once that is mended",
    metric: "DeliveriesFailed",
    statistic: "Sum",
    periodSeconds: 300,
    periods: 1,
    silence: "notBreaching",
  },
  {
    name: "RequestsAlarm",
    about: "The API has answered 5xx for a quarter of an hour: the log has event request.failed",
    metric: "RequestsFailed",
    statistic: "Sum",
    periodSeconds: 300,
    periods: 3,
    silence: "notBreaching",
  },
  ...Object.keys(queues).map(
    (queue): AlarmSpec => ({
      name: `${queue}ParkedAlarm`,
      about: `A bell of queue ${queue} can never succeed: a bug or a broken row; the log has event bell.parked`,
      metric: "BellsParked",
      dimensions: { queue },
      statistic: "Sum",
      periodSeconds: 300,
      periods: 1,
      silence: "notBreaching",
    }),
  ),
  ...visitors.map(
    (schedule): AlarmSpec => ({
      name: `${schedule}TenantsAlarm`,
      about: `Schedule ${schedule} fails for a tenant, again and again: the log has event tenant.failed`,
      metric: "TenantsFailed",
      dimensions: { schedule },
      statistic: "Sum",
      ...lasting(schedules[schedule]),
      silence: "notBreaching",
    }),
  ),
];
