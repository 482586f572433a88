/** What a tenant works with: `templates`, `senders`, `channels`, `keys`. Invariant: a secret is printed once, where it was asked for, and never again. */
import { type Command, Option } from "commander";
import type { ApiScope } from "../../core/tenancy/keys.ts";
import { usageError } from "../errors.ts";
import { readJson, readText } from "../files.ts";
import { count, instant, list, readObject, verbOf } from "../verb.ts";

/** Named here because the module that checks them is heavy; the type keeps the two the same. */
const scopes: Readonly<Record<ApiScope, true>> = {
  "leads:read": true,
  "leads:write": true,
  "campaigns:read": true,
  "campaigns:write": true,
  "templates:read": true,
  "templates:write": true,
  "messages:read": true,
  "messages:write": true,
  "suppressions:read": true,
  "suppressions:write": true,
  "imports:write": true,
  "deliveries:read": true,
  "deliveries:replay": true,
  "reports:read": true,
  admin: true,
  "*": true,
};

interface Limited {
  readonly limit?: number;
}

/** `list` of a group, with --limit. More options become the query. */
export function lister(
  group: Command,
  path: string,
  description: string,
  columns: readonly string[],
  ifNone: string,
): Command {
  return group
    .command("list")
    .description(description)
    .option("--limit <n>", "at most so many", count)
    .action(async ({ limit, ...filter }: Limited & Record<string, string>, command: Command) => {
      const { out, client } = verbOf(command);
      await out.rows((await client()).pages(path, filter, limit), columns, ifNone);
    });
}

/** `show` of a group, by id. */
export function shower(group: Command, path: string, noun: string, columns: readonly string[]): void {
  group
    .command(`show <${noun}>`)
    .description(`one ${noun}`)
    .action(async (id: string, _options, command: Command) => {
      const { out, client } = verbOf(command);
      const row = await (await client()).get(`${path}/${encodeURIComponent(id)}`);
      await out.value(row, () => out.record(row, columns));
    });
}

export function templates(program: Command): void {
  const group = program.command("templates").description("texts of messages, in versions");
  const columns = ["id", "name", "channel", "version", "subject", "created=createdAt"];
  lister(group, "/v1/templates", "current versions, newest first", columns, "No templates yet.").option(
    "--name <name>",
    "all versions of one",
  );
  shower(group, "/v1/templates", "template", [...columns, "variables", "text", "html", "superseded by=supersededBy"]);
  group
    .command("save <name>")
    .description("a new template, or the next version of one")
    .option("--channel <channel>", "email, sms, … (default: email)")
    .option("--subject <subject>", "of an e-mail")
    .option("--html <file>", "the HTML part")
    .option("--text <file>", "the plain text part")
    .action(
      async (
        name: string,
        options: { channel?: string; subject?: string; html?: string; text?: string },
        command: Command,
      ) => {
        const { out, client } = verbOf(command);
        const { html, text, ...rest } = options;
        if (html === undefined && text === undefined)
          throw usageError("template.empty", "Give --html or --text, or both.");
        const body = {
          name,
          ...rest,
          ...(html === undefined ? {} : { html: await readText(html) }),
          ...(text === undefined ? {} : { text: await readText(text) }),
        };
        const answer = await (await client()).post("/v1/templates", body);
        const template = answer["template"] as Record<string, unknown>;
        await out.value(answer, () => out.record(template, [...columns, "variables"]));
      },
    );
}

export function senders(program: Command): void {
  const group = program.command("senders").description("addresses that e-mail comes from; only verified ones send");
  const columns = [
    "id",
    "from=fromEmail",
    "name=fromName",
    "status",
    "default=isDefault",
    "reply to=replyTo",
    "validated=lastValidatedAt",
  ];
  lister(group, "/v1/senders", "all senders", columns, "No senders yet.");
  shower(group, "/v1/senders", "sender", columns);
  group
    .command("create <email>")
    .description("a new sender, not verified yet")
    .requiredOption("--name <name>", "as recipients see it")
    .option("--reply-to <email>", "where answers go")
    .option("--channel <id>", "the account that it sends through")
    .action(
      async (fromEmail: string, options: { name: string; replyTo?: string; channel?: string }, command: Command) => {
        const { out, client } = verbOf(command);
        const body = {
          fromEmail,
          fromName: options.name,
          ...(options.replyTo === undefined ? {} : { replyTo: options.replyTo }),
          ...(options.channel === undefined ? {} : { channelConfigId: options.channel }),
        };
        const row = await (await client()).post("/v1/senders", body);
        await out.value(row, () => out.record(row, columns));
      },
    );
  group
    .command("verify <sender>")
    .description("ask the provider whether the address may send")
    .option("--attested", "take your word instead of asking, for accounts that cannot tell")
    .action(async (id: string, { attested }: { attested?: true }, command: Command) => {
      const { out, client } = verbOf(command);
      const body = attested ? { attested } : {};
      const row = await (await client()).post(`/v1/senders/${encodeURIComponent(id)}/verify`, body);
      await out.value(row, () => out.record(row, columns));
    });
  group
    .command("default <sender>")
    .description("make a verified sender the default")
    .action(async (id: string, _options, command: Command) => {
      const { out, client } = verbOf(command);
      const row = await (await client()).post(`/v1/senders/${encodeURIComponent(id)}/default`);
      await out.value(row, () => out.record(row, columns));
    });
}

export function channels(program: Command): void {
  const group = program.command("channels").description("accounts at providers");
  const columns = ["id", "channel", "provider", "name", "status", "reason=statusReason", "webhook=webhookUrl"];
  lister(
    group,
    "/v1/channels",
    "all accounts, with the address for the provider's webhooks",
    columns,
    "No channels yet.",
  );
  shower(group, "/v1/channels", "channel", [...columns, "settings", "created=createdAt", "updated=updatedAt"]);
  group
    .command("create <file.json>")
    .description("add an account; the file holds channel, provider, name, credentials and settings; - reads stdin")
    .action(async (file: string, _options, command: Command) => {
      const { out, client } = verbOf(command);
      const row = await (await client()).post("/v1/channels", await readJson(file));
      await out.value(row, () => out.record(row, columns));
    });
  group
    .command("update <channel> [file.json]")
    .description("change an account; the file holds credentials or settings, each replaced as a whole; - reads stdin")
    .option("--name <name>", "what it is called")
    .addOption(new Option("--status <status>", "a disabled one sends nothing").choices(["active", "disabled"]))
    .action(
      async (
        id: string,
        file: string | undefined,
        { name, status }: { name?: string; status?: string },
        command: Command,
      ) => {
        const { out, client } = verbOf(command);
        const change = {
          ...(file === undefined ? {} : await readObject(file)),
          ...(name === undefined ? {} : { name }),
          ...(status === undefined ? {} : { status }),
        };
        if (Object.keys(change).length === 0)
          throw usageError("channel.no_change", "Say what to change: a file, --name or --status.");
        const row = await (await client()).patch(`/v1/channels/${encodeURIComponent(id)}`, change);
        await out.value(row, () => out.record(row, columns));
      },
    );
}

export function keys(program: Command): void {
  const group = program.command("keys").description("API keys and what they may do");
  const columns = [
    "id",
    "name",
    "prefix",
    "scopes",
    "created=createdAt",
    "used=lastUsedAt",
    "expires=expiresAt",
    "revoked=revokedAt",
  ];
  lister(group, "/v1/api-keys", "newest first, revoked ones included", columns, "No keys.");
  group
    .command("create <name>")
    .description("the key itself is shown this once")
    .requiredOption("--scope <scope>", `may be repeated: ${Object.keys(scopes).join(", ")}`, list)
    .option("--expires <instant>", "it stops working then", instant)
    .action(async (name: string, options: { scope: string[]; expires?: string }, command: Command) => {
      const { out, client } = verbOf(command);
      const expires = options.expires === undefined ? {} : { expiresAt: options.expires };
      const answer = await (await client()).post("/v1/api-keys", { name, scopes: options.scope, ...expires });
      await out.value(answer, () => out.line(String(answer["apiKey"])));
      if (!out.json) out.note("Keep it: it is not shown again.");
    });
  group
    .command("revoke <key>")
    .description("takes effect with the next request")
    .action(async (id: string, _options, command: Command) => {
      const { out, client } = verbOf(command);
      const row = await (await client()).delete(`/v1/api-keys/${encodeURIComponent(id)}`);
      await out.value(row, () => out.record(row, columns));
    });
}
