/**
 * Where this schema says something else than a seed, and why. Invariant: every entry is needed (the item would not be found without it) and
 * `where`, if given, exists; `conformance.test.ts` fails for an entry that stopped being either. `docs/seeds.md` is made from this file.
 */

/** Decisions that change many items in one way. An item they explain counts as present. */
export const rules = {
  ids: "C-04: ids of all kinds (cuid2, uuid, bigserial) are prefixed ULIDs in text; primary keys make their own with new_id().",
  text: "design §4: text and CHECK instead of varchar(n) and enum types.",
  time: "C-05: timestamptz wherever a seed has a timestamp.",
  clock: "design §2.6: one clock; app_now() where a seed says now().",
  "tenant-key": "design §2.7: the tenant is in the key; primary keys, foreign keys and indexes begin with tenant_id.",
  "one-empty":
    "design §4: a nullable column with a default is NOT NULL, so that there is one way to say nothing; leaving it out still works.",
  view: "design §2.10: one fact, one table; the name is a view over it, and nullability, defaults and keys are those of the tables below.",
} as const;
export type RuleName = keyof typeof rules;

export interface Deviation {
  /** Of the item in test/fixtures/seeds/inventory.json. */
  readonly id: string;
  /** Where it lives instead, as the catalogue's `places` spell it. */
  readonly where?: string;
  readonly reason: string;
}

const perTenant =
  "design §2.7: unique per tenant; a unique key across tenants would let one tenant's row refuse another's.";
const notNullOnly = (column: string): string =>
  `design §7: as few index entries as possible; rows without ${column} are left out, and no look-up asks for them.`;
const throughKey = (owner: string): string =>
  `design §2.7: the ${owner}'s key carries the tenant and leads to it, deletion included; a second look-up per row would say the same.`;
const oneFact =
  "design §2.10: one fact, one table; the seed's name is a view, which has no keys or indexes of its own.";

export const deviations: readonly Deviation[] = [
  // 000
  {
    id: "000.C.contacts.lead_id",
    where: "contacts.lead_id",
    reason: "design §1: a contact is an individual attached to a lead, so there is none without one.",
  },
  ...["000.C.contacts.tenant_id", "000.K.contacts.tenant_id.fk"].map((id) => ({
    id,
    where: "contacts.lead_id -> leads",
    reason: throughKey("lead"),
  })),
  ...["000.C.artifacts.pipeline_run_id", "000.K.artifacts.pipeline_run_id.fk"].map((id) => ({
    id,
    where: "artifacts.pipeline_run_id",
    reason: "D-03: the key is added after creation, by the part that brings pipeline_runs.",
  })),
  ...["000.C.artifacts.block_execution_id", "000.K.artifacts.block_execution_id.fk"].map((id) => ({
    id,
    where: "artifacts.block_execution_id",
    reason: "D-03: the key is added after creation, by the part that brings block_executions.",
  })),
  {
    id: "000.C.artifacts.size_bytes",
    where: "artifacts.size_bytes",
    reason:
      "design §5: an imported file is an artifact, and an integer ends at 2 GiB; bigint holds every value it does.",
  },
  {
    id: "000.K.webhook_events.tenant_id.fk",
    where: "webhook_deliveries.tenant_id -> tenants",
    reason: oneFact,
  },
  { id: "000.K.attempt_logs.tenant_id.fk", where: "outbound_messages.tenant_id -> tenants", reason: oneFact },
  { id: "000.K.attempt_logs.lead_id.fk", where: "contact_campaigns.lead_id -> leads", reason: oneFact },
  { id: "000.K.attempt_logs.contact_id.fk", where: "contact_campaigns.contact_id -> contacts", reason: oneFact },
  {
    id: "000.I.leads_tenant_idx",
    where: "index leads_tenant_idx",
    reason:
      "map §7: the stated column first, then created_at, so that the same index also gives the newest leads first.",
  },
  {
    id: "000.I.leads_status_idx",
    where: "index idx_leads_status",
    reason:
      "design §7, decision 0016: seeds 000 and 004 index the same column; the one without deleted leads serves both, because nothing lists deleted ones.",
  },
  { id: "000.I.leads_sector_idx", where: "index leads_sector_idx", reason: notNullOnly("a sector") },
  { id: "000.I.artifacts_run_idx", where: "index artifacts_run_idx", reason: notNullOnly("a run") },
  {
    id: "000.I.webhook_events_tenant_idx",
    where: "index webhook_events_tenant_idx",
    reason: `${oneFact} The index of this name is on webhook_deliveries, newest first.`,
  },
  {
    id: "000.I.webhook_events_source_idx",
    where: "webhook_events.event_type",
    reason:
      "design §2.10, §7: event_type is told from what a delivery contained and stored nowhere; the archive is asked by tenant and time, and work tables carry as few indexes as possible.",
  },
  {
    id: "000.I.attempt_logs_lead_idx",
    where: "index attempt_logs_lead_idx",
    reason: `${oneFact} The index of this name is on outbound_messages.`,
  },
  {
    id: "000.I.attempt_logs_tenant_idx",
    where: "index outbound_messages_pkey",
    reason: `${oneFact} The primary key below begins with the tenant.`,
  },
  {
    id: "000.E.webhook_events.source",
    where: "webhook_deliveries.provider",
    reason: "design §2.10: the source is the provider of the delivery, an open text there.",
  },
  {
    id: "000.E.webhook_events.event_type",
    where: "webhook_events.event_type",
    reason:
      "C-14: a delivery is archived before it is read, so it is known as <provider>.inbound or <provider>.status; what each event means is message_events.event_type.",
  },
  {
    id: "000.E.attempt_logs.campaign_context",
    where: "leads.campaign_status",
    reason: "design §2.10: the context of an attempt is its lead's campaign_status, which has the stated list.",
  },
  {
    id: "000.E.attempt_logs.channel",
    where: "contact_channels.channel",
    reason:
      "C-12: one vocabulary of channels, in which sms, email and call are; a view passes on what the tables hold.",
  },
  {
    id: "000.E.attempt_logs.response_type",
    where: "inbound_messages.response_type",
    reason: "design §2.10: a reply is classified once, in inbound_messages, which has the stated list.",
  },
  {
    id: "000.E.ID_PREFIXES.wh",
    where: "webhook_deliveries.id",
    reason: "design §4: webhook_events is a view of webhook_deliveries; an event has the id of its delivery (whd_).",
  },
  {
    id: "000.E.ID_PREFIXES.atm",
    where: "attempt_logs.id",
    reason: "design §4: attempt_logs is a view; an attempt has the id of its message (omsg_, imsg_).",
  },
  {
    id: "000.E.ID_PREFIXES.lbl",
    where: "leads.tags",
    reason: "map §10.7: no seed gives a table for labels; a prefix that nothing is named by says nothing.",
  },
  {
    id: "000.E.ID_PREFIXES.tag",
    where: "leads.tags",
    reason: "map §10.7: tags are text[] on the lead (C-20) and have no ids.",
  },
  {
    id: "000.E.ID_PREFIXES.flg",
    where: "leads.flags",
    reason: "map §10.7: flags are jsonb on the lead and have no ids.",
  },

  // 001
  {
    id: "001.S.dripiq_app",
    where: "contact_campaigns",
    reason:
      "map §2, row SQL schema: one application, one schema; the ticket's tables are in public beside the leads they refer to.",
  },
  {
    id: "001.C.contact_campaigns.plan_json",
    where: "campaign_plan_versions.plan_json",
    reason: "design §4: enrollments reference a plan version; a plan is never copied per contact.",
  },
  ...["001.C.contact_channels.tenant_id", "001.K.fk_cascade"].map((id) => ({
    id,
    where: "contact_channels.contact_id -> contacts",
    reason: throughKey("contact"),
  })),
  {
    id: "001.I.idx_contact_campaigns_plan_gin",
    where: "index idx_contact_campaigns_plan_gin",
    reason: "design §4: the plan is in campaign_plan_versions, and so is the index of this name.",
  },
  {
    id: "001.I.idx_outbound_messages_provider_lookup",
    where: "index idx_outbound_messages_provider_lookup",
    reason: notNullOnly("a provider's id"),
  },
  {
    id: "001.K.contact_channel_unique",
    where: "index contact_channel_unique",
    reason:
      "C-11: unique among current rows (superseded_by IS NULL); enrolling again supersedes the old row and keeps it.",
  },

  // 002
  {
    id: "002.I.idx_raw_loads_status",
    where: "index idx_raw_loads_status",
    reason:
      "design §7, decision 0016: promoted loads are left out; they are nearly all, so no look-up for them would use it, and a load stored and promoted at once never enters it.",
  },
  {
    id: "002.I.idx_raw_loads_raw_data_email",
    where: "index idx_raw_loads_raw_data_email",
    reason:
      "design §4: on the normalised column email; under row-level security an expression of raw_data cannot use an index before the policy (leakproof), and the 30-day check took 72 ms instead of 0.06.",
  },
  { id: "002.K.vault.contacts.email.unique", where: "index idx_people_email", reason: `${oneFact} ${perTenant}` },
  {
    id: "002.K.vault.contacts.load_id.fk",
    where: "people.master.load_id",
    reason:
      "design §2.9, §7: only vault.f_promote_contacts writes it, in the transaction that locks the load; a foreign key, tried, made that function ask once per row, about 1 ms each.",
  },
  {
    id: "002.I.idx_contacts_email",
    where: "index idx_people_email",
    reason: `${oneFact} The index on the same column serves both.`,
  },
  ...["source", "created_at", "score", "status"].map((name) => ({
    id: `002.I.idx_contacts_${name}`,
    where: `index idx_contacts_${name}`,
    reason: `${oneFact} The index of this name is on people.master.`,
  })),
  {
    id: "002.I.idx_contacts_company",
    where: "index idx_company_name",
    reason: `${oneFact} A contact's company is the name in company.master, which is indexed there.`,
  },
  { id: "002.I.idx_people_linkedin_url", where: "index idx_people_linkedin_url", reason: notNullOnly("a profile") },
  {
    id: "002.K.marketing.outreach_history.person_id.fk",
    where: "contacts.person_id -> people.master",
    reason: oneFact,
  },
  {
    id: "002.K.marketing.outreach_history.campaign_id.fk",
    where: "outbound_messages.campaign_id -> marketing.campaigns",
    reason: oneFact,
  },
  {
    id: "002.E.vault.contacts.status",
    where: "people.master.status",
    reason: "design §2.10: the status is that of people.master, which has the stated list.",
  },
  {
    id: "002.E.marketing.outreach_history.channel",
    where: "contact_channels.channel",
    reason: "C-12: one vocabulary of channels; the view writes phone for text messages and passes on the others.",
  },

  // 003
  {
    id: "003.C.channel_configs.api_credentials",
    where: "channel_configs.api_credentials",
    reason:
      "map §9.5: credentials are stored as one sealed text (AES-256-GCM), whose content is the JSON; never readable in a row.",
  },
  {
    id: "003.K.tracking_id.unique",
    where: "index outbound_messages_pkey",
    reason: `${oneFact} A send is tracked by the id of its message, which is its primary key.`,
  },

  // 004
  {
    id: "004.I.idx_leads_user_id",
    where: "index idx_leads_user_id",
    reason:
      "D-07: the seed defines the name twice; the partial one stays, and leads without an owner are left out (decision 0016).",
  },
  {
    id: "004.I.idx_leads_user_id.partial",
    where: "index idx_leads_user_id",
    reason:
      "D-07: the item's name is the seed's name and the word (partial); the index is idx_leads_user_id, without deleted leads and those without an owner.",
  },
  ...["status", "lead_score"].map((name) => ({
    id: `004.I.idx_leads_${name}`,
    where: `index idx_leads_${name}`,
    reason: "map §7: without deleted leads, as the seed's own tips say (WHERE deleted_at IS NULL).",
  })),
  {
    id: "004.I.idx_leads_phone_number",
    where: "index idx_leads_phone_unique",
    reason:
      "design §7, decision 0016: the unique index on the same column serves both, because nobody looks for the number of a deleted lead.",
  },
  {
    id: "004.I.idx_leads_search_name",
    where: "index idx_leads_search_name",
    reason: "D-08: coalesce, because a lead without a first or a last name could not be found.",
  },
  {
    id: "001.I.idx_scheduled_actions_ready",
    where: "index idx_scheduled_actions_ready",
    reason:
      "map §2, row scheduling, and decision 0020: tenant first, because a sweep gives every tenant its share; the status is fixed by the predicate of the index.",
  },
  {
    id: "004.I.idx_enrollments_next_step",
    where: "index idx_scheduled_actions_ready",
    reason: "map §2, row scheduling: one scheduler; the next step of an enrollment is its pending scheduled action.",
  },
  { id: "004.I.idx_leads_phone_unique", where: "index idx_leads_phone_unique", reason: perTenant },
  { id: "004.K.phone_unique", where: "index idx_leads_phone_unique", reason: perTenant },
  {
    id: "004.I.dnc_list_phone_unique",
    where: "index dnc_list_phone_unique",
    reason:
      "D-12: unique per organization, as the seed's diagram says; globally, one organization's entry would refuse another's.",
  },
  {
    id: "004.K.dnc_unique",
    where: "index dnc_list_phone_unique",
    reason: "design §2.8: unique among entries in force; a lifted entry stays as the record of it.",
  },
  ...["fk", "prevent"].map((rule) => ({
    id: `004.K.sequence_id.${rule}`,
    where: "contact_campaigns.campaign_id -> marketing.campaigns",
    reason:
      "D-10, C-03: the seed states both CASCADE and its opposite. Nobody but an administrator may delete a campaign at all; for them it cascades, by seed 001's rule.",
  })),
  { id: "004.K.rel.enroll", where: "contact_campaigns.lead_id -> leads", reason: oneFact },
  {
    id: "004.K.ids.uuid",
    where: "leads.id",
    reason: "C-04: prefixed ULIDs in text, as seed 000 has them; they sort by time.",
  },
  {
    id: "004.F.update_leads_updated_at",
    where: "function touch_updated_at",
    reason: "design §2.6: one function for every table that has updated_at, by the one clock.",
  },
  {
    id: "004.P.tenant_isolation_policy",
    where: "policy tenant_isolation_policy on leads",
    reason:
      "design §2.7, D-09: NULLIF(current_setting('app.tenant_id', true), '') as text; the seed's ::UUID fails on the empty text that a transaction-local setting leaves behind.",
  },
  {
    id: "004.P.org_dnc_policy",
    where: "policy org_dnc_policy on dnc_list",
    reason: "design §2.7, D-09: app.organization_id, as text with NULLIF, for reading and for writing.",
  },
];
