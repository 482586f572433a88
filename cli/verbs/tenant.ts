/**
 * `tenant` and `limits`: what holds for everything a tenant sends. Invariant: what stops or starts all sending at once happens only with
 * --yes.
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { RateLimitInput } from "../../core/tenancy/limits.ts";
import type { Row } from "../client.ts";
import { usageError } from "../errors.ts";
import type { Output } from "../output.ts";
import { title } from "../text.ts";
import { count, duration, list, readObject, verbOf } from "../verb.ts";
import { lister } from "./setup.ts";

interface SettingOptions {
  readonly company?: string;
  readonly postalAddress?: string;
  readonly timeZone?: string;
  readonly defaultCountry?: string;
  readonly quietHours?: Row;
  readonly unset?: readonly string[];
}

/** `21:00-08:00`; whether those are times is the server's to judge. */
function quietHours(text: string): Row {
  const [, start, end] = /^(\d\d:\d\d)-(\d\d:\d\d)$/.exec(text) ?? [];
  if (start === undefined || end === undefined)
    throw new InvalidArgumentError("Expected two times of day like 21:00-08:00.");
  return { start, end };
}

function settingsOf(options: SettingOptions, fromFile: Row): Row {
  const named = {
    companyName: options.company,
    postalAddress: options.postalAddress,
    timeZone: options.timeZone,
    defaultCountry: options.defaultCountry?.toUpperCase(),
    quietHours: options.quietHours,
  };
  const given = Object.entries(named).filter(([, value]) => value !== undefined);
  const unset = (options.unset ?? []).map((name) => [name, null]);
  return { ...fromFile, ...Object.fromEntries(given), ...Object.fromEntries(unset) };
}

/** A setting that is not there has its default, and no line. */
const showTenant = (out: Output, row: Row): Promise<void> =>
  out.record(row, [
    "id",
    "name",
    "slug",
    "status",
    "suspended=suspendedAt",
    "organization=organizationId",
    ...Object.keys((row["settings"] as Row | undefined) ?? {}).map((name) => `${title(name)}=settings.${name}`),
  ]);

export function tenant(program: Command): void {
  const group = program
    .command("tenant")
    .description("the tenant that the key belongs to: its settings, and whether it sends");
  group
    .command("show")
    .description("its settings, as far as they differ from the defaults")
    .action(async (_options, command: Command) => {
      const { out, client } = verbOf(command);
      const row = await (await client()).get("/v1/tenant");
      await out.value(row, () => showTenant(out, row));
    });
  group
    .command("set [settings.json]")
    .description("change the settings that are named, here or in a file, and keep the rest; - reads stdin")
    .option("--company <name>", "whom recipients hear from")
    .option("--postal-address <text>", "marketing e-mail is held without it")
    .option("--time-zone <zone>", "of plans that name none, like America/New_York")
    .option("--default-country <code>", "how phone numbers without + are read, like US")
    .option(
      "--quiet-hours <from-to>",
      "nothing is sent between these times of the recipient's day, like 21:00-08:00",
      quietHours,
    )
    .option("--unset <setting>", "back to its default, by its name in the file, like quietHours; may be repeated", list)
    .action(async (file: string | undefined, options: SettingOptions, command: Command) => {
      const { out, client } = verbOf(command);
      const change = settingsOf(options, file === undefined ? {} : await readObject(file));
      if (Object.keys(change).length === 0)
        throw usageError("tenant.no_change", "Name a setting, or a file with settings.");
      const row = await (await client()).patch("/v1/tenant/settings", change);
      await out.value(row, () => showTenant(out, row));
    });
  const switches = {
    suspend: ["send nothing from now on; what is queued waits", "This stops everything that the tenant sends."],
    resume: ["send again, also what has waited", "This lets everything go out that has waited."],
  } as const;
  for (const [name, [description, warning]] of Object.entries(switches)) {
    group
      .command(name)
      .description(description)
      .option("--yes", "really")
      .action(async ({ yes }: { yes?: boolean }, command: Command) => {
        const { out, client } = verbOf(command);
        if (yes !== true) throw usageError("tenant.not_confirmed", `${warning} Give --yes if that is meant.`);
        const row = await (await client()).post(`/v1/tenant/${name}`);
        await out.value(row, () => out.line(`${out.cell(row["name"])} is ${out.cell(row["status"])}.`));
      });
  }
}

/** Named here because the module that checks them is heavy; the type keeps the two the same. */
const sendChannels: Readonly<Record<RateLimit["channel"], true>> = {
  email: true,
  sms: true,
  whatsapp: true,
  messenger: true,
  instagram: true,
};
type RateLimit = import("zod").output<typeof RateLimitInput>;

interface LimitOptions {
  readonly per: number;
  readonly channel: string;
  readonly sender?: string;
  readonly account?: string;
  readonly domain?: string;
}

/** @throws CliError exit 2 when it applies to more than one thing */
function scopeOf({ sender, account, domain }: LimitOptions): {
  readonly scope: RateLimit["scope"];
  readonly scopeId?: string;
} {
  const scopes = (
    [
      ["sender", sender],
      ["channel", account],
      ["domain", domain],
    ] as const
  ).flatMap(([scope, scopeId]) => (scopeId === undefined ? [] : [{ scope, scopeId }]));
  if (scopes.length > 1) throw usageError("limit.scope", "A limit applies to one of --sender, --account and --domain.");
  return scopes[0] ?? { scope: "tenant" };
}

export function limits(program: Command): void {
  const group = program.command("limits").description("how many messages may leave in a window of time");
  const columns = ["id", "scope", "of=scopeId", "channel", "at most=maxCount", "in seconds=windowSeconds", "enabled"];
  lister(group, "/v1/rate-limits", "all limits, switched off ones included", columns, "No limits.");
  group
    .command("set <count>")
    .description("at most so many; the same window, channel and scope again changes that limit and switches it on")
    .requiredOption("--per <duration>", "the window, like 1m, 1h or 1d", duration)
    .addOption(new Option("--channel <channel>", "of messages").choices(Object.keys(sendChannels)).default("email"))
    .option("--sender <id>", "from one sender (without this and the next two: of the tenant)")
    .option("--account <id>", "through one account at a provider")
    .option("--domain <domain>", "to one recipients' domain; * is each by itself")
    .action(async (given: string, options: LimitOptions, command: Command) => {
      const { out, client } = verbOf(command);
      const { per, channel } = options;
      const body = { ...scopeOf(options), channel, maxCount: count(given), windowSeconds: per };
      const row = await (await client()).post("/v1/rate-limits", body);
      await out.value(row, () => out.record(row, columns));
    });
  group
    .command("disable <limit>")
    .description("switch a limit off; it stays in the list")
    .action(async (id: string, _options, command: Command) => {
      const { out, client } = verbOf(command);
      const row = await (await client()).patch(`/v1/rate-limits/${encodeURIComponent(id)}`, { enabled: false });
      await out.value(row, () => out.record(row, columns));
    });
}
