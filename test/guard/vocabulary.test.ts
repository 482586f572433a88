/** Every closed vocabulary says the same in the code and in the database. */
import { type Kysely, sql } from "kysely";
import { expect, test } from "vitest";
import type { DB } from "../../core/db/types.gen.ts";
import * as vocabulary from "../../core/kernel/vocabulary.ts";
import * as leads from "../../core/leads/index.ts";
import * as templates from "../../core/templates/index.ts";
import * as tenancy from "../../core/tenancy/index.ts";
import { testDatabase } from "../support/database.ts";

const database = await testDatabase();

/** The array that a column's CHECK must equal. */
const columns: Readonly<Record<string, readonly string[]>> = {
  "public.contact_channels.channel": vocabulary.channels,
  "public.communication_suppressions.channel": vocabulary.channels,
  "public.consents.channel": vocabulary.channels,
  "public.contact_campaigns.channel": vocabulary.channels,
  "public.channel_configs.provider": vocabulary.providers,
  "public.message_events.event_type": vocabulary.eventTypes,
  "public.outbound_messages.status": vocabulary.messageStatuses,
  "public.send_attempts.outcome": vocabulary.attemptOutcomes,
  "public.contact_campaigns.status": vocabulary.enrollmentStatuses,
  "marketing.campaigns.status": vocabulary.campaignStatuses,
  "marketing.campaigns.type": vocabulary.campaignTypes,
  "public.scheduled_actions.status": vocabulary.workStatuses,
  "public.webhook_deliveries.status": vocabulary.workStatuses,
  "public.imports.status": vocabulary.workStatuses,
  "public.scheduled_actions.action_type": vocabulary.actionTypes,
  "public.leads.status": vocabulary.leadStatuses,
  "public.communication_suppressions.reason": vocabulary.suppressionReasons,
  "public.leads.source_type": leads.leadSourceTypes,
  "public.leads.enrichment_status": leads.enrichmentStatuses,
  "public.leads.campaign_status": leads.leadCampaignStatuses,
  "public.lead_status_history.trigger_type": leads.triggerTypes,
  "public.contacts.status": leads.contactStatuses,
  "public.contact_channels.status": leads.contactChannelStatuses,
  "public.email_sender_identities.validation_status": tenancy.senderStatuses,
  "public.channel_configs.status": tenancy.channelConfigStatuses,
  "public.channel_configs.channel": tenancy.sendChannels,
  "public.outbound_messages.channel": tenancy.sendChannels,
  "public.send_rate_limits.channel": tenancy.sendChannels,
  "public.send_rate_limits.scope": tenancy.rateLimitScopes,
  "public.email_templates.channel": templates.templateChannels,
};

/** Arrays of the kernel that no column is held to: values that are only explained, never stored alone. */
const withoutColumn = ["gateReasons"];

/** Columns whose CHECK is a list of words, with the words. Partitions repeat their parent's. */
async function checks(db: Kysely<DB>): Promise<Map<string, string[]>> {
  const { rows } = await sql<{ column: string; definition: string }>`
    select n.nspname || '.' || c.relname || '.' || a.attname as column, pg_get_constraintdef(k.oid) as definition
    from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
         join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
    where k.contype = 'c' and cardinality(k.conkey) = 1 and not c.relispartition and n.nspname <> 'archive'`.execute(
    db,
  );
  return new Map(
    rows.flatMap(({ column, definition }) => {
      const list = /= ANY \(ARRAY\[(.*)\]\)/.exec(definition)?.[1];
      return list === undefined ? [] : [[column, [...list.matchAll(/'([^']*)'::text/g)].map(([, word]) => word ?? "")]];
    }),
  );
}

async function mismatches(db: Kysely<DB>): Promise<string[]> {
  const found = await checks(db);
  return Object.entries(columns).flatMap(([column, words]) => {
    const stored = found.get(column);
    if (stored === undefined) return [`${column} has no CHECK with a list of words`];
    const same = [...stored].sort().join() === [...words].sort().join();
    return same ? [] : [`${column} is ${stored.join(", ")} in the database and ${words.join(", ")} in the code`];
  });
}

test("the arrays of the code are the CHECK constraints of the database", async () => {
  expect(await mismatches(database.owner)).toEqual([]);
});

test("every vocabulary of the kernel is compared", () => {
  const compared = new Set(Object.values(columns));
  const missing = Object.entries(vocabulary).filter(
    ([name, words]) => !compared.has(words) && !withoutColumn.includes(name),
  );
  expect(missing.map(([name]) => name)).toEqual([]);
});

test.each([
  [
    "a word more in the database",
    "alter table leads drop constraint leads_status_check; alter table leads add constraint leads_status_check check (status in ('new', 'planted'))",
    "public.leads.status is new, planted in the database",
  ],
  [
    "no CHECK at all",
    "alter table leads drop constraint leads_status_check",
    "public.leads.status has no CHECK with a list of words",
  ],
])("reported: %s", async (_, ddl, violation) => {
  const tx = await database.owner.startTransaction().execute();
  try {
    for (const statement of ddl.split("; ")) await sql.raw(statement).execute(tx);
    expect(await mismatches(tx)).toEqual([expect.stringContaining(violation)]);
  } finally {
    await tx.rollback().execute();
  }
});
