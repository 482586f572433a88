/** Routes of the tenant itself: settings, people, keys, configuration. Invariant: an API key is shown in the answer that makes it and nowhere else. */
import { idOf, Page } from "@outrider/core/kernel";
import * as tenancy from "@outrider/core/tenancy";
import * as z from "zod";
import { type Endpoint, endpoint, id, maybeText, maybeTime, page, text, time } from "./endpoint.ts";

const Tenant = z
  .object({
    id,
    organizationId: id,
    name: text,
    slug: text,
    status: z.enum(["active", "suspended"]),
    suspendedAt: maybeTime,
    settings: tenancy.TenantSettings,
  })
  .meta({ id: "Tenant" });

const Actor = z
  .object({
    id,
    type: text,
    email: maybeText,
    name: text,
    role: text,
    lastActiveAt: maybeTime,
    createdAt: time,
  })
  .meta({ id: "Actor" });

const ApiKey = z
  .object({
    id,
    name: text,
    prefix: text.describe("its first characters, to tell keys apart"),
    actorId: id,
    scopes: z.array(text),
    createdAt: time,
    expiresAt: maybeTime,
    lastUsedAt: maybeTime,
    revokedAt: maybeTime,
  })
  .meta({ id: "ApiKey" });

const ConfigEntry = z.object({ id, key: text, value: z.unknown(), updatedAt: time }).meta({ id: "ConfigEntry" });

const none = z.object({});

export const tenancyEndpoints: readonly Endpoint[] = [
  endpoint({
    method: "get",
    path: "/v1/tenant",
    tag: "Tenant",
    summary: "The tenant this key belongs to",
    scope: "admin",
    input: none,
    answer: Tenant,
    run: ({ ctx, input }) => tenancy.getTenant(ctx, input),
  }),
  endpoint({
    method: "patch",
    path: "/v1/tenant/settings",
    tag: "Tenant",
    summary: "Change settings",
    description: "Changes what is named and keeps the rest; `null` takes a setting away.",
    scope: "admin",
    input: tenancy.updateTenantSettings.schema,
    documented: z.strictObject(
      Object.fromEntries(
        Object.entries(tenancy.TenantSettings.shape).map(([name, schema]) => [name, schema.nullable()]),
      ),
    ),
    answer: Tenant,
    example: { companyName: "Acme", postalAddress: "1 Main Street, Springfield, IL 62701, USA" },
    run: ({ ctx, input }) => tenancy.updateTenantSettings(ctx, input),
  }),
  endpoint({
    method: "post",
    path: "/v1/tenant/suspend",
    tag: "Tenant",
    summary: "Stop all sending",
    description: "What is queued waits as held. Unsubscribe links, webhooks and this API go on working.",
    scope: "admin",
    input: none,
    answer: Tenant,
    run: ({ ctx, input }) => tenancy.suspendTenant(ctx, input),
  }),
  endpoint({
    method: "post",
    path: "/v1/tenant/resume",
    tag: "Tenant",
    summary: "Send again",
    scope: "admin",
    input: none,
    answer: Tenant,
    run: ({ ctx, input }) => tenancy.resumeTenant(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/actors",
    tag: "Tenant",
    summary: "People and machines that act here",
    scope: "admin",
    input: Page,
    answer: page(Actor),
    run: ({ ctx, input }) => tenancy.listActors(ctx, input),
  }),
  endpoint({
    method: "post",
    path: "/v1/actors",
    tag: "Tenant",
    summary: "Add a person",
    scope: "admin",
    status: 201,
    input: tenancy.createActor.schema,
    answer: Actor,
    example: { name: "Ada Lovelace", email: "ada@example.com", role: "member" },
    run: ({ ctx, input }) => tenancy.createActor(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/api-keys",
    tag: "Tenant",
    summary: "API keys, newest first, revoked ones included",
    scope: "admin",
    input: Page,
    answer: page(ApiKey),
    run: ({ ctx, input }) => tenancy.listApiKeys(ctx, input),
  }),
  endpoint({
    method: "post",
    path: "/v1/api-keys",
    tag: "Tenant",
    summary: "Make an API key",
    description: "The key itself is in this answer only.",
    scope: "admin",
    status: 201,
    secret: true,
    input: tenancy.createApiKey.schema,
    answer: z.object({ apiKey: text, key: ApiKey }),
    example: { name: "importer", scopes: ["imports:write", "leads:read"] },
    run: ({ ctx, input }) => tenancy.createApiKey(ctx, input),
  }),
  endpoint({
    method: "delete",
    path: "/v1/api-keys/{id}",
    tag: "Tenant",
    summary: "Revoke an API key",
    description: "Takes effect with the next request. Revoking again changes nothing.",
    scope: "admin",
    input: z.object({ id: idOf("apiKey") }),
    answer: ApiKey,
    run: ({ ctx, input }) => tenancy.revokeApiKey(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/config",
    tag: "Tenant",
    summary: "Configuration values of the organization",
    scope: "admin",
    input: Page,
    answer: page(ConfigEntry),
    run: ({ ctx, input }) => tenancy.listConfig(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/config/{key}",
    tag: "Tenant",
    summary: "One configuration value",
    scope: "admin",
    input: tenancy.getConfig.schema,
    answer: ConfigEntry,
    run: ({ ctx, input }) => tenancy.getConfig(ctx, input),
  }),
  endpoint({
    method: "put",
    path: "/v1/config/{key}",
    tag: "Tenant",
    summary: "Set a configuration value",
    scope: "admin",
    input: tenancy.setConfig.schema,
    answer: ConfigEntry,
    example: { value: { hours: 48 } },
    run: ({ ctx, input }) => tenancy.setConfig(ctx, input),
  }),
];
