/**
 * Channels: a tenant's accounts at providers, with their sealed credentials and the address their webhooks go to.
 * Invariant: credentials go in and are opened for a call to the provider; no answer of this module contains them.
 */
import { type Kysely, sql } from "kysely";
import * as z from "zod";
import type { DB } from "../db/types.gen.ts";
import {
  beforeMending,
  type Context,
  command,
  DomainError,
  decodeCursor,
  idOf,
  lineEnd,
  newId,
  open,
  Page,
  paged,
  parseInput,
  pathOf,
  providers,
  query,
  seal,
  transact,
  wakeHeld,
} from "../kernel/index.ts";
import type { KeyService, Sender } from "../ports/index.ts";
import { sendChannels } from "./limits.ts";

/** What this module needs of a host. */
export interface ChannelDeps {
  readonly keys: KeyService;
  /** Base of webhook addresses, without a trailing slash. */
  readonly publicUrl: string;
  /** Adapters by provider, which know the shape of their credentials. */
  readonly senders?: Readonly<Record<string, Sender>>;
  /** Credentials may name the address of the provider's API: only where a simulator answers. Anywhere else it would let a tenant reach our network. */
  readonly allowApiBaseUrl?: boolean;
}

export const channelConfigStatuses = ["active", "degraded", "disabled"] as const;

const Credentials = z
  .record(z.string().max(100), z.unknown())
  .refine((value) => JSON.stringify(value).length <= 16_384, "at most 16 KiB");
/** What every message of the account carries; other settings are kept as they are. */
const Settings = z
  .object({
    from: z
      .string()
      .trim()
      .min(1)
      .max(100)
      .refine((text) => !lineEnd.test(text), "one line without control characters")
      .describe("the number, short code or messaging service that texts come from"),
    inboundDomain: z
      .string()
      .trim()
      .toLowerCase()
      .regex(/^(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}$/, "a host name")
      .describe("where answers to e-mails go, if they are to come back here"),
  })
  .partial()
  .catchall(z.json());

export const CreateChannel = z.object({
  channel: z.enum(sendChannels),
  provider: z.enum(providers),
  name: z.string().trim().min(1).max(200),
  /** Readable settings, such as the number or messaging service messages come from. */
  settings: Settings.default({}),
  /** Secrets, in the shape that the provider's adapter asks for. */
  credentials: Credentials,
});

export const UpdateChannel = z.object({
  id: idOf("channelConfig"),
  name: z.string().trim().min(1).max(200).optional(),
  settings: Settings.optional(),
  /** Replaces all credentials, and sets a degraded channel to work again. */
  credentials: Credentials.optional(),
  status: z.enum(channelConfigStatuses).optional(),
});

export interface ChannelConfig {
  readonly id: string;
  readonly channel: string;
  readonly provider: string;
  readonly name: string;
  readonly settings: unknown;
  readonly status: string;
  readonly statusReason: string | null;
  readonly webhookUrl: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

const errors = {
  notFound: (id: string) => new DomainError("not_found", "channel.not_found", `No channel ${id}.`),
};

/** @throws DomainError `channel.credentials_invalid` naming each field */
function checkCredentials(deps: ChannelDeps, provider: string, credentials: Readonly<Record<string, unknown>>): void {
  const fields =
    deps.allowApiBaseUrl !== true && credentials["apiBaseUrl"] !== undefined
      ? [
          {
            path: "credentials.apiBaseUrl",
            value: credentials["apiBaseUrl"],
            message: "cannot be set here; leave it away",
          },
        ]
      : (deps.senders?.[provider]?.credentials?.safeParse(credentials).error?.issues ?? []).map((issue) => ({
          path: pathOf(["credentials", ...issue.path]),
          message: issue.message,
        }));
  const [first] = fields;
  if (first) {
    throw new DomainError("invalid", "channel.credentials_invalid", `${first.path}: ${first.message}`, { fields });
  }
}

const columns = [
  "id",
  "channel",
  "provider",
  "name",
  "settings",
  "status",
  "status_reason as statusReason",
  "created_at as createdAt",
  "updated_at as updatedAt",
] as const;

/** Where the provider is to send its webhooks. */
export const webhookUrl = (
  publicUrl: string,
  { provider, id }: { readonly provider: string; readonly id: string },
): string => `${publicUrl}/webhooks/${provider}/${id}`;

const withUrl = <T extends { readonly provider: string; readonly id: string }>(deps: ChannelDeps, row: T) => ({
  ...row,
  webhookUrl: webhookUrl(deps.publicUrl, row),
});

const place = (tenantId: string, id: string) => ({ tenantId, row: id, column: "channel_configs.api_credentials" });

/** What messages are held for while no account works. */
export const heldForAccount = ["credentials", "channel_unavailable"] as const;

/** Sealing asks the key service, which is why it happens between two transactions and not inside one. */
export const createChannel = Object.assign(
  async (ctx: Context, deps: ChannelDeps, input: z.input<typeof CreateChannel>): Promise<ChannelConfig> => {
    const { credentials, settings, ...rest } = parseInput(CreateChannel, input);
    checkCredentials(deps, rest.provider, credentials);
    const id = await transact(ctx, async (ctx) => newId("channelConfig", ctx.now));
    const api_credentials = await seal(deps.keys, JSON.stringify(credentials), place(ctx.tenantId, id));
    return transact(ctx, async (ctx) => {
      await beforeMending(ctx);
      const row = await ctx.db
        .insertInto("channel_configs")
        .values({
          tenant_id: ctx.tenantId,
          id,
          ...rest,
          settings: JSON.stringify(settings),
          api_credentials,
          created_at: ctx.now,
        })
        .returning(columns)
        .executeTakeFirstOrThrow();
      await wakeHeld(ctx, heldForAccount);
      return withUrl(deps, row);
    });
  },
  { schema: CreateChannel },
);

/** @throws DomainError `channel.not_found` */
export const updateChannel = Object.assign(
  async (ctx: Context, deps: ChannelDeps, input: z.input<typeof UpdateChannel>): Promise<ChannelConfig> => {
    const { id, name, settings, credentials, status } = parseInput(UpdateChannel, input);
    if (credentials) checkCredentials(deps, (await getChannel(ctx, deps, { id })).provider, credentials);
    const sealed = credentials && (await seal(deps.keys, JSON.stringify(credentials), place(ctx.tenantId, id)));
    const healed = status ?? (credentials ? "active" : undefined);
    return transact(ctx, async (ctx) => {
      if (healed === "active") await beforeMending(ctx);
      const row = await ctx.db
        .updateTable("channel_configs")
        .set((eb) => ({
          name: name ?? eb.ref("name"),
          settings: settings ? JSON.stringify(settings) : eb.ref("settings"),
          api_credentials: sealed ?? eb.ref("api_credentials"),
          // A channel that a person disabled stays disabled when it gets new credentials.
          status:
            status ??
            (healed ? sql<string>`case status when 'degraded' then 'active' else status end` : eb.ref("status")),
          status_reason: healed ? null : eb.ref("status_reason"),
        }))
        .where("tenant_id", "=", ctx.tenantId)
        .where("id", "=", id)
        .returning(columns)
        .executeTakeFirst();
      if (!row) throw errors.notFound(id);
      if (healed === "active" && row.status === "active") await wakeHeld(ctx, heldForAccount);
      return withUrl(deps, row);
    });
  },
  { schema: UpdateChannel },
);

/** What the provider's answers say about the account: `degraded` pauses sending through it until somebody acts. */
export const degradeChannel = command(
  z.object({ id: idOf("channelConfig"), reason: z.string().trim().min(1).max(500) }),
  async (ctx, { id, reason }): Promise<{ readonly changed: boolean }> => {
    const { numUpdatedRows } = await ctx.db
      .updateTable("channel_configs")
      .set({ status: "degraded", status_reason: reason })
      .where("tenant_id", "=", ctx.tenantId)
      .where("id", "=", id)
      .where("status", "=", "active")
      .executeTakeFirst();
    return { changed: numUpdatedRows > 0n };
  },
);

export const getChannel = Object.assign(
  async (ctx: Context, deps: ChannelDeps, input: { readonly id: string }): Promise<ChannelConfig> =>
    withUrl(deps, await channelRow(ctx, input)),
  { schema: z.object({ id: idOf("channelConfig") }) },
);

const channelRow = query(z.object({ id: idOf("channelConfig") }), async (ctx, { id }) => {
  const row = await ctx.db
    .selectFrom("channel_configs")
    .select(columns)
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .executeTakeFirst();
  if (!row) throw errors.notFound(id);
  return row;
});

const ListChannels = Page.extend({ channel: z.enum(sendChannels).optional(), provider: z.enum(providers).optional() });

export const listChannels = Object.assign(
  async (ctx: Context, deps: ChannelDeps, input: z.input<typeof ListChannels>) => {
    const page = await channelRows(ctx, input);
    return { ...page, data: page.data.map((row): ChannelConfig => withUrl(deps, row)) };
  },
  { schema: ListChannels },
);

const channelRows = query(ListChannels, async (ctx, { limit, cursor, channel, provider }) => {
  const after = decodeCursor(cursor);
  const rows = await ctx.db
    .selectFrom("channel_configs")
    .select(columns)
    .where("tenant_id", "=", ctx.tenantId)
    .$if(after !== undefined, (qb) => qb.where("id", ">", after ?? ""))
    .$if(channel !== undefined, (qb) => qb.where("channel", "=", channel ?? ""))
    .$if(provider !== undefined, (qb) => qb.where("provider", "=", provider ?? ""))
    .orderBy("id")
    .limit(limit + 1)
    .execute();
  return paged(rows, limit);
});

/** A channel with its envelope, for whoever is about to call or to verify the provider. */
export interface SealedChannel {
  readonly id: string;
  readonly channel: string;
  readonly provider: string;
  readonly settings: unknown;
  readonly status: string;
  readonly sealedCredentials: string;
}

/** Those of the ids that exist, in one statement. Disabled ones are included; their `status` says so. */
export const sealedChannels = query(
  z.object({ ids: z.array(z.string()).max(1_000) }),
  async (ctx, { ids }): Promise<SealedChannel[]> => {
    if (ids.length === 0) return [];
    return ctx.db
      .selectFrom("channel_configs")
      .select(["id", "channel", "provider", "settings", "status", "api_credentials as sealedCredentials"])
      .where("tenant_id", "=", ctx.tenantId)
      .where("id", "in", ids)
      .execute();
  },
);

/**
 * Opens a channel's credentials. Asks the key service, so call it outside transactions.
 * @throws DomainError `seal.broken`, or whatever `unavailable` the key service threw
 */
export async function openCredentials(
  ctx: Pick<Context, "tenantId">,
  keys: KeyService,
  config: Pick<SealedChannel, "id" | "sealedCredentials">,
): Promise<Readonly<Record<string, unknown>>> {
  const text = await open(keys, config.sealedCredentials, place(ctx.tenantId, config.id));
  return Credentials.parse(JSON.parse(text));
}

/** Whose webhook this path belongs to; null for anything unknown. A disabled account is still heard. Works without a tenant. */
export async function endpointTenant(db: Kysely<DB>, provider: string, id: string): Promise<string | null> {
  const { rows } = await sql<{ tenant: string | null }>`select endpoint_tenant(${provider}, ${id}) as tenant`.execute(
    db,
  );
  return rows[0]?.tenant ?? null;
}
