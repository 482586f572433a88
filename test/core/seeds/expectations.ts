/**
 * Items that say something no pattern covers: named keys, relations without a column, functions, policies, schemas, types. Each entry is the
 * question to ask the catalogue for that item.
 */
import { readFileSync } from "node:fs";
import * as z from "zod";
import * as campaigns from "../../../core/campaigns/index.ts";
import { idPrefixes } from "../../../core/kernel/id.ts";
import * as templates from "../../../core/templates/index.ts";
import * as tenancy from "../../../core/tenancy/index.ts";
import type { Catalogue } from "./catalogue.ts";
import type { Item } from "./inventory.ts";
import { statements } from "./statements.ts";

export type Expectation = (catalogue: Catalogue, item: Item) => readonly string[];

const ok: readonly string[] = [];
const unless = (holds: boolean, problem: string): readonly string[] => (holds ? ok : [problem]);
const all =
  (...parts: readonly Expectation[]): Expectation =>
  (catalogue, item) =>
    parts.flatMap((part) => part(catalogue, item));

/** A unique key over exactly these columns, whatever their order. */
const unique =
  (table: string, columns: readonly string[], named?: string): Expectation =>
  ({ relations }) =>
    unless(
      relations
        .get(table)
        ?.indexes.some(
          (index) =>
            index.unique &&
            (named === undefined || index.name === named) &&
            index.where === null &&
            index.keys.toSorted().join() === columns.toSorted().join(),
        ) === true,
      `no unique key ${table} (${columns.join(", ")})`,
    );

const reference =
  (table: string, column: string, target: string, onDelete?: string): Expectation =>
  ({ relations }) =>
    unless(
      relations
        .get(table)
        ?.foreignKeys.some(
          (key) =>
            key.columns.includes(column) &&
            key.target === target &&
            (onDelete === undefined || key.onDelete === onDelete),
        ) === true,
      `no foreign key ${table}.${column} → ${target}`,
    );

const column =
  (table: string, name: string): Expectation =>
  ({ relations }) =>
    unless(relations.get(table)?.columns.has(name) === true, `no column ${table}.${name}`);

/** A CHECK whose text has all of these. */
const checks =
  (table: string, ...parts: readonly string[]): Expectation =>
  ({ relations }) =>
    unless(
      relations.get(table)?.checks.some((text) => parts.every((part) => text.includes(part))) === true,
      `no check on ${table} with ${parts.join(", ")}`,
    );

const routine =
  (
    name: string,
    parts: { readonly arguments?: readonly string[]; readonly result?: readonly string[] } = {},
  ): Expectation =>
  ({ routines }) => {
    const found = routines.get(name);
    if (!found) return [`no function ${name}`];
    return [
      ...(parts.arguments ?? []).filter((text) => !found.arguments.includes(text)),
      ...(parts.result ?? []).filter((text) => !found.result.includes(text)),
    ].map((text) => `${name} lacks ${text}`);
  };

const schema: Expectation = ({ schemas }, { name }) => unless(schemas.has(name), `no schema ${name}`);

/** The application may read it and nothing else; row-level security holds its owner, too. */
const readOnly =
  (table: string): Expectation =>
  ({ relations }) => {
    const found = relations.get(table);
    if (!found) return [`no relation ${table}`];
    return [
      ...unless(found.rights.join() === "SELECT", `the application may ${found.rights.join(", ")} ${table}`),
      ...unless(found.kind === "view" || found.isProtected, `${table} is not protected`),
    ];
  };

const policy =
  (table: string, name: string, setting: string): Expectation =>
  ({ relations }) => {
    const found = relations.get(table)?.policies.find((one) => one.name === name);
    const isHeld = [found?.using, found?.check].every((text) => text?.includes(`'${setting}'`));
    return unless(
      found !== undefined && isHeld && relations.get(table)?.isProtected === true,
      `no policy ${name} on ${table}`,
    );
  };

/** The tables of seed 001 that exist. */
const ticket = [
  "email_sender_identities",
  "contact_campaigns",
  "campaign_plan_versions",
  "scheduled_actions",
  "outbound_messages",
  "message_events",
  "webhook_deliveries",
  "inbound_messages",
  "communication_suppressions",
  "send_rate_limits",
  "contact_channels",
  "campaign_transitions",
] as const;

const each =
  (one: (table: string) => Expectation): Expectation =>
  (catalogue, item) =>
    ticket.flatMap((table) => one(table)(catalogue, item));

/** Every table of seed 003 that has the column finds it by an index that begins with it, the tenant aside. */
const foundBy =
  (name: string): Expectation =>
  ({ relations }) =>
    ["email_templates", "channel_configs", "leads", "conversations"].flatMap((table) => {
      const relation = relations.get(table);
      if (!relation?.columns.has(name)) return relation ? ok : [`no relation ${table}`];
      const isFound = relation.indexes.some(({ keys }) => {
        const [first, second] = keys.map((key) => key.replace(" desc", ""));
        return first === name || (first === "tenant_id" && second === name);
      });
      return unless(isFound, `no index on ${table} (${name})`);
    });

const prefix: Expectation = (_, { name }) => {
  const word = /id prefix (\w+)_/.exec(name)?.[1] ?? "";
  return unless((Object.values(idPrefixes) as string[]).includes(word), `no prefix ${word}`);
};

const seedTypes = readFileSync(new URL("../../../core/db/seed-types.ts", import.meta.url), "utf8");
const type: Expectation = (_, { name }) => unless(seedTypes.includes(`export type ${name} =`), `no type ${name}`);

const modules: Readonly<Record<string, unknown>> = { ...templates, ...campaigns, ...tenancy };
const validation: Expectation = (_, { name }) =>
  unless(modules[name] instanceof z.ZodType, `no schema ${name} in templates, campaigns or tenancy`);

const stated: Expectation = (_, { id }) => unless(id in statements, `queries.test.ts runs no ${id}`);

const provides =
  (provider: string): Expectation =>
  (catalogue, item) => {
    const channel = item.name.replace("channel ", "");
    return all(
      checks("channel_configs", "channel", `'${channel}'`),
      checks("channel_configs", "provider", `'${provider}'`),
    )(catalogue, item);
  };

const admits =
  (table: string, name: string): Expectation =>
  ({ relations }) =>
    unless(
      relations.get(table)?.columns.has(name) === true &&
        !relations.get(table)?.checks.some((text) => text.includes(`(${name} `)),
      `${table}.${name} is closed`,
    );

const ingest = "intake.f_ingest_json";
const promote = "vault.f_promote_contacts";

export const expectations: Readonly<Record<string, Expectation>> = {
  // keys and checks
  "000.K.tenants.slug.unique": unique("tenants", ["slug"]),
  "001.K.tenant_email_unique": unique("email_sender_identities", ["tenant_id", "from_email"], "tenant_email_unique"),
  "001.K.contact_channel_unique": unique(
    "contact_campaigns",
    ["tenant_id", "contact_id", "channel"],
    "contact_channel_unique",
  ),
  "001.K.standard_fields": each((table) =>
    all(...["id", "tenant_id", "created_at", "updated_at"].map((name) => column(table, name))),
  ),
  "001.K.text_pk": each(
    (table) =>
      ({ relations }) =>
        unless(
          relations.get(table)?.columns.get("id")?.type === "text" &&
            relations.get(table)?.indexes.some(({ primary, keys }) => primary && keys.includes("id")) === true,
          `${table}.id is no text key`,
        ),
  ),
  "001.K.fk_cascade": all(
    each((table) => reference(table, "tenant_id", "tenants", "c")),
    reference("email_sender_identities", "user_id", "actors", "c"),
    ...(["lead_id", "contact_id"] as const).map((name) =>
      reference("contact_campaigns", name, name === "lead_id" ? "leads" : "contacts", "c"),
    ),
    ...["scheduled_actions", "outbound_messages", "campaign_transitions"].map((table) =>
      reference(table, "contact_campaign_id", "contact_campaigns", "c"),
    ),
    reference("contact_campaigns", "sender_identity_id", "email_sender_identities", "n"),
  ),
  "001.K.dedup_unique": all(
    unique("outbound_messages", ["tenant_id", "dedupe_key"]),
    unique("scheduled_actions", ["tenant_id", "idempotency_key"]),
    unique("webhook_deliveries", ["tenant_id", "channel_config_id", "body_sha256"]),
    unique("event_keys", ["tenant_id", "channel_config_id", "provider_event_id"]),
    unique("inbound_messages", ["tenant_id", "channel_config_id", "provider_message_id"]),
    unique("campaign_plan_versions", ["tenant_id", "campaign_id", "plan_hash"]),
    unique("send_rate_limits", ["tenant_id", "scope", "scope_id", "channel", "window_seconds"]),
    unique("contact_channels", ["tenant_id", "contact_id", "channel", "address"]),
  ),
  "001.K.rel.esi.tenant": reference("email_sender_identities", "tenant_id", "tenants"),
  "001.K.rel.esi.user": reference("email_sender_identities", "user_id", "actors"),
  "001.K.rel.cc.tenant": reference("contact_campaigns", "tenant_id", "tenants"),
  "001.K.rel.cc.lead": reference("contact_campaigns", "lead_id", "leads"),
  "001.K.rel.cc.contact": reference("contact_campaigns", "contact_id", "contacts"),
  "001.K.rel.cc.sender": reference("contact_campaigns", "sender_identity_id", "email_sender_identities"),
  "001.K.rel.cc.scheduled_actions": reference("scheduled_actions", "contact_campaign_id", "contact_campaigns"),
  "001.K.rel.cc.outbound_messages": reference("outbound_messages", "contact_campaign_id", "contact_campaigns"),
  "001.K.rel.cc.transitions": reference("campaign_transitions", "contact_campaign_id", "contact_campaigns"),
  "002.K.vault.contacts.email.unique": unique("vault.contacts", ["email"]),
  "002.K.company.master.domain.unique": unique("company.master", ["tenant_id", "domain"]),
  "002.K.people.master.email.unique": unique("people.master", ["tenant_id", "email"]),
  "002.K.vault.contacts.score.range": checks("people.master", "score", "(0)", "(100)"),
  "003.K.rel.campaign.steps": column("email_sequence_steps", "email_campaign_id"),
  "003.K.rel.campaign.sends": column("emails_sent", "email_campaign_id"),
  "003.K.rel.template.steps": column("email_sequence_steps", "template_id"),
  "003.K.rel.template.sends": column("emails_sent", "template_id"),
  "003.K.rel.lead.sends": column("emails_sent", "lead_id"),
  "003.K.rel.lead.conversations": reference("conversations", "lead_id", "leads"),
  "003.K.rel.conversation.messages": column("messages", "conversation_id"),
  "003.K.rel.channel_config.conversations": reference("conversations", "channel_config_id", "channel_configs"),
  "003.K.tracking_id.unique": unique("emails_sent", ["tracking_id"]),
  "003.K.nullable_fk": ({ relations }) =>
    [
      ["conversations", "lead_id"],
      ["conversations", "contact_id"],
      ["outbound_messages", "sender_identity_id"],
      ["inbound_messages", "conversation_id"],
    ].flatMap(([table = "", name = ""]) =>
      unless(relations.get(table)?.columns.get(name)?.notNull === false, `${table}.${name} is not optional`),
    ),
  "003.K.summary.campaigns": all(
    column("email_sequence_steps", "email_campaign_id"),
    column("email_sequence_steps", "template_id"),
    column("emails_sent", "email_campaign_id"),
  ),
  "003.K.summary.channels": reference("conversations", "channel_config_id", "channel_configs"),
  "004.K.leads.status.check": checks(
    "leads",
    ...["new", "contacted", "qualified", "nurturing", "hot", "cold", "recruited", "dnc"].map((word) => `'${word}'`),
  ),
  "004.K.leads.lead_score.check": checks("leads", "lead_score >= 0", "lead_score <= 100"),
  "004.K.cost_usd.check": checks("lead_source_costs", "cost_usd >= (0)"),
  "004.K.phone.e164": all(checks("leads", "phone_number ~"), checks("dnc_list", "phone_number ~")),
  "004.K.lead_id.fk": all(
    ...["lead_audit_log", "lead_status_history", "lead_score_history", "lead_assignments"].map((table) =>
      reference(table, "lead_id", "leads", "c"),
    ),
  ),
  "004.K.sequence_id.fk": reference("lead_sequence_enrollments", "sequence_id", "nurture_sequences", "c"),
  "004.K.sequence_id.prevent": reference("lead_sequence_enrollments", "sequence_id", "nurture_sequences", "r"),
  "004.K.phone_unique": ({ relations }) =>
    unless(
      relations.get("leads")?.indexes.some(({ unique, keys }) => unique && keys.includes("organization_id")) === true,
      "no unique phone per organization",
    ),
  "004.K.dnc_unique": unique("dnc_list", ["organization_id", "phone_number"]),
  "004.K.ids.uuid": ({ relations }) =>
    unless(relations.get("leads")?.columns.get("id")?.type === "uuid", "ids are not of type uuid"),
  "004.K.rel.audit": reference("lead_audit_log", "lead_id", "leads"),
  "004.K.rel.status": reference("lead_status_history", "lead_id", "leads"),
  "004.K.rel.score": reference("lead_score_history", "lead_id", "leads"),
  "004.K.rel.assign": reference("lead_assignments", "lead_id", "leads"),
  "004.K.rel.enroll": reference("lead_sequence_enrollments", "lead_id", "leads"),

  // indexes without a name
  "003.I.frequent.lead_id": foundBy("lead_id"),
  "003.I.frequent.status": foundBy("status"),
  "003.I.frequent.created_at": foundBy("created_at"),
  "004.I.dnc_list_phone_unique": unique("dnc_list", ["phone_number"]),

  // functions and the trigger
  "000.F.generateId": routine("new_id", { arguments: ["p_prefix text"], result: ["text"] }),
  "000.F.ulidId": ({ relations }) =>
    [...relations.values()]
      .filter(({ kind, columns }) => kind === "table" && columns.get("id")?.type === "text")
      .flatMap(({ name, columns }) =>
        unless(columns.get("id")?.default?.startsWith("new_id(") === true, `${name}.id makes no id`),
      ),
  "002.F.intake.f_ingest_json": routine(ingest, { arguments: ["p_rows jsonb[]", "p_source text", "p_batch_id text"] }),
  "002.F.intake.f_ingest_json.param.p_rows": routine(ingest, { arguments: ["p_rows jsonb[]"] }),
  "002.F.intake.f_ingest_json.param.p_source": routine(ingest, { arguments: ["p_source text"] }),
  "002.F.intake.f_ingest_json.param.p_batch_id": routine(ingest, { arguments: ["p_batch_id text"] }),
  "002.F.intake.f_ingest_json.return.load_id": routine(ingest, { result: ["load_id "] }),
  "002.F.intake.f_ingest_json.return.status": routine(ingest, { result: ["status text"] }),
  "002.F.intake.f_ingest_json.return.message": routine(ingest, { result: ["message text"] }),
  "002.F.vault.f_promote_contacts": routine(promote, { arguments: ["p_load_ids"] }),
  "002.F.vault.f_promote_contacts.param.p_load_ids": routine(promote, {
    arguments: ["p_load_ids text[] DEFAULT NULL"],
  }),
  "002.F.vault.f_promote_contacts.return.promoted_count": routine(promote, { result: ["promoted_count integer"] }),
  "002.F.vault.f_promote_contacts.return.updated_count": routine(promote, { result: ["updated_count integer"] }),
  "002.F.vault.f_promote_contacts.return.failed_count": routine(promote, { result: ["failed_count integer"] }),
  "002.F.vault.f_promote_contacts.return.message": routine(promote, { result: ["message text"] }),
  "004.F.is_on_dnc_list": routine("is_on_dnc_list", {
    arguments: ["text, ", "organization_id text"],
    result: ["boolean"],
  }),
  "004.F.update_leads_updated_at": routine("update_leads_updated_at"),
  "004.G.trigger_leads_updated_at": ({ relations }) =>
    unless(relations.get("leads")?.triggers.includes("trigger_leads_updated_at") === true, "no such trigger"),

  // policies
  "002.P.raw_loads.rls": readOnly("intake.raw_loads"),
  "002.P.contacts.rls": all(readOnly("vault.contacts"), readOnly("people.master")),
  "002.P.dml_blocked": all(readOnly("intake.raw_loads"), readOnly("vault.contacts"), readOnly("people.master")),
  "002.P.select_monitoring": all(readOnly("intake.raw_loads"), readOnly("vault.contacts")),
  "002.P.use_ingest": all(readOnly("intake.raw_loads"), routine(ingest)),
  "002.P.use_promote": all(readOnly("people.master"), routine(promote)),
  "002.P.why": all(readOnly("intake.audit_log"), readOnly("people.history"), readOnly("company.history")),
  "002.P.bypass": stated,
  "002.P.bypass_reset": stated,
  "004.P.leads.rls": ({ relations }) => unless(relations.get("leads")?.isProtected === true, "leads is not protected"),
  "004.P.tenant_isolation_policy": policy("leads", "tenant_isolation_policy", "app.current_tenant_id"),
  "004.P.org_dnc_policy": policy("dnc_list", "org_dnc_policy", "app.current_org_id"),
  "004.P.only_own": stated,
  "004.P.set_tenant": stated,

  // vocabularies that are no column's list
  ...Object.fromEntries(
    ["tenant", "actor", "lead", "contact", "art", "wh", "corr", "atm", "lbl", "tag", "flg"].map((word) => [
      `000.E.ID_PREFIXES.${word}`,
      prefix,
    ]),
  ),
  "000.E.ID_PREFIXES": (_, { detail }) =>
    ["tenant", "actor", "lead", "contact", "art", "corr"]
      .filter((word) => !detail.includes(word) || !(Object.values(idPrefixes) as string[]).includes(word))
      .map((word) => `no prefix ${word}`),
  ...Object.fromEntries(
    ["contact_ingested", "contact_promoted", "contact_updated", "contact_deleted", "batch_processed"].map((word) => [
      `002.E.intake.audit_log.action.${word}`,
      admits("intake.audit_log", "action"),
    ]),
  ),
  "002.E.intake.f_ingest_json.status": ({ routines }) =>
    ["success", "error"].filter((word) => !routines.get("intake.f_ingest_rows")?.definition.includes(`'${word}'`)),
  "003.E.channel": checks("channel_configs", "channel", "'whatsapp'", "'sms'", "'messenger'", "'instagram'", "'email'"),
  "003.E.channel.whatsapp": provides("twilio"),
  "003.E.channel.sms": provides("twilio"),
  "003.E.channel.messenger": provides("meta"),
  "003.E.channel.instagram": provides("meta"),
  "003.E.channel.email": provides("sendgrid"),
  "003.E.status_fields": all(
    checks("channel_configs", "status"),
    checks("conversations", "status"),
    checks("outbound_messages", "status"),
    checks("marketing.campaigns", "status"),
  ),
  "004.E.lead_score_factors": all(column("leads", "lead_score_factors"), column("lead_score_history", "factors")),
  "004.E.nurture_sequences.steps.keys": (_, { detail }) =>
    Object.keys(campaigns.NurtureStepSchema.shape).flatMap((key) => unless(detail.includes(key), `step key ${key}`)),
  "004.E.nurture_sequences.steps.channel": () =>
    unless(campaigns.NurtureStepSchema.shape.channel.safeParse("sms").success, "no sms"),

  // columns whose table the seed leaves open
  "003.C.email_campaigns_group.metadata": all(column("email_campaigns", "metadata"), column("emails_sent", "metadata")),

  // schemas
  ...Object.fromEntries(
    [
      "001.S.dripiq_app",
      "002.S.intake",
      "002.S.vault",
      "002.S.company",
      "002.S.people",
      "002.S.marketing",
      "002.S.bit",
      "002.S.ple",
      "004.S.public",
    ].map((id) => [id, schema]),
  ),

  // names in code
  "000.Y.IdPrefix": type,
  "001.Y.all_new_tables": () =>
    ticket
      .map((table) => typeNames[table])
      .flatMap((name) => [name, `New${name}`])
      .filter((name) => !seedTypes.includes(`export type ${name} =`))
      .map((name) => `no type ${name}`),
  ...Object.fromEntries(
    [
      "001.Y.EmailSenderIdentity",
      "001.Y.NewEmailSenderIdentity",
      "001.Y.ContactCampaign",
      "001.Y.NewContactCampaign",
      "003.Y.EmailCampaign",
      "003.Y.EmailTemplate",
      "003.Y.EmailSequenceStep",
      "003.Y.EmailSent",
      "003.Y.ChannelConfig",
    ].map((id) => [id, type]),
  ),
  ...Object.fromEntries(
    [
      "EmailCampaignCreate",
      "EmailCampaignUpdate",
      "EmailTemplateCreate",
      "EmailSequenceStepCreate",
      "ChannelConfigCreate",
    ].map((name) => [`003.V.${name}Schema`, validation]),
  ),
  ...Object.fromEntries(Object.keys(statements).map((id) => [id, stated])),
};

const typeNames: Readonly<Record<(typeof ticket)[number], string>> = {
  email_sender_identities: "EmailSenderIdentity",
  contact_campaigns: "ContactCampaign",
  campaign_plan_versions: "CampaignPlanVersion",
  scheduled_actions: "ScheduledAction",
  outbound_messages: "OutboundMessage",
  message_events: "MessageEvent",
  webhook_deliveries: "WebhookDelivery",
  inbound_messages: "InboundMessage",
  communication_suppressions: "CommunicationSuppression",
  send_rate_limits: "SendRateLimit",
  contact_channels: "ContactChannel",
  campaign_transitions: "CampaignTransition",
};
