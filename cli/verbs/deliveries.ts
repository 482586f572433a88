/** `deliveries` and `replay`: what providers sent to us, and the same once more through today's code. */
import type { Command } from "commander";
import type { Client, Row } from "../client.ts";
import { CliError, exitCodes, usageError } from "../errors.ts";
import type { Output } from "../output.ts";
import { count, instant, verbOf } from "../verb.ts";

const columns = [
  "id",
  "provider",
  "status",
  "received=receivedAt",
  "bytes=bodyBytes",
  "events=eventCount",
  "inbound=inboundCount",
  "attempts",
  "error=lastError",
];
const details = [
  ...columns,
  "duplicates",
  "replays",
  "problems",
  "channel=channelConfigId",
  "correlation=correlationId",
];

export function deliveries(program: Command): void {
  const group = program.command("deliveries").description("webhooks as they arrived");
  group
    .command("list")
    .description("newest first; --status failed lists what is quarantined")
    .option("--provider <provider>", "of one provider")
    .option("--status <status>", "pending, running, completed, failed or cancelled")
    .option("--endpoint <channel>", "of one account")
    .option("--limit <n>", "at most so many", count)
    .action(
      async (options: { provider?: string; status?: string; endpoint?: string; limit?: number }, command: Command) => {
        const { out, client } = verbOf(command);
        const { limit, endpoint, ...rest } = options;
        await out.rows(
          (await client()).pages("/v1/deliveries", { ...rest, channelConfigId: endpoint }, limit),
          columns,
          "No deliveries.",
        );
      },
    );
  group
    .command("show <delivery>")
    .description("one delivery, with what could not be read in it")
    .action(async (id: string, _options, command: Command) => {
      const { out, client } = verbOf(command);
      const row = await (await client()).get(`/v1/deliveries/${encodeURIComponent(id)}`);
      await out.value(row, () => out.record(row, details));
    });
}

interface ReplayOptions {
  readonly from?: string;
  readonly to?: string;
  readonly endpoint?: string;
}

export function replay(program: Command): void {
  program
    .command("replay [delivery...]")
    .description("apply deliveries again with today's code; what was applied before is not applied twice")
    .option("--from <instant>", "all that were received from then …", instant)
    .option("--to <instant>", "… until before then", instant)
    .option("--endpoint <channel>", "only those of one account")
    .action(async (ids: string[], { from, to, endpoint }: ReplayOptions, command: Command) => {
      const { out, client } = verbOf(command);
      const isRange = from !== undefined && to !== undefined;
      if (ids.length > 0 === isRange || (ids.length > 0 && (from ?? to ?? endpoint) !== undefined)) {
        throw usageError("replay.what", "Give the deliveries, or --from and --to.");
      }
      const range = { from, to, ...(endpoint === undefined ? {} : { channelConfigId: endpoint }) };
      const report = isRange
        ? await replayAll(out, await client(), range)
        : await replayAll(out, await client(), { ids }, ids.length);
      await out.value(report, () => show(out, report));
      const { failed } = report;
      if (failed.length === 0) return;
      throw new CliError(exitCodes.refused, "replay.failed", `${failed.length} deliveries could not be read.`, {
        fields: failed.map((one) => ({ path: String(one["id"]), message: String(one["error"]) })),
      });
    });
}

interface Replayed extends Row {
  deliveries: number;
  newEvents: number;
  newInbound: number;
  corrected: number;
  readonly failed: Row[];
}

/** Call after call, until nothing is left. @param known how many there are, where that is known before */
async function replayAll(out: Output, client: Client, selection: object, known?: number): Promise<Replayed> {
  const total: Replayed = { deliveries: 0, newEvents: 0, newInbound: 0, corrected: 0, failed: [] };
  const progress = out.progress("replayed");
  try {
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const body = cursor === undefined ? selection : { ...selection, cursor };
      const report = (await client.post("/v1/deliveries/replay", body)) as unknown as Replayed & {
        readonly nextCursor: string | null;
      };
      for (const name of ["deliveries", "newEvents", "newInbound", "corrected"] as const) total[name] += report[name];
      total.failed.push(...report.failed);
      cursor = report.nextCursor;
      const { deliveries } = total;
      progress.update(deliveries, known ?? deliveries, `${deliveries} deliveries`);
    }
  } finally {
    progress.stop();
  }
  return total;
}

const show = (out: Output, report: Row): Promise<void> =>
  out.record(report, ["deliveries", "new events=newEvents", "new answers=newInbound", "corrected"]);
