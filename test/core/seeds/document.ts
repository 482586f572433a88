/**
 * Prints docs/seeds.md: which table of which seed lives where, and what differs why. Run by `npm run gen` as a program of its own, since
 * nothing outside test/ imports from it. Invariant: nothing in the page is written by hand; it is the checklist's own data.
 */
import { pathToFileURL } from "node:url";
import { deviations, rules } from "./deviations.ts";
import { type Item, isLater, items, laterParts } from "./inventory.ts";
import { statements } from "./statements.ts";

/** What each view is made of. `conformance.test.ts` holds it against the catalogue. */
export const views: Readonly<Record<string, readonly string[]>> = {
  users: ["actors"],
  lead_point_of_contacts: ["contacts"],
  "vault.contacts": ["people.master", "company.master"],
  "people.slot": ["intake.raw_loads"],
  "company.slot": ["intake.raw_loads"],
  webhook_events: ["webhook_deliveries"],
  emails_sent: ["outbound_messages"],
  attempt_logs: ["outbound_messages", "inbound_messages", "leads"],
  "marketing.outreach_history": ["outbound_messages", "inbound_messages", "contacts", "contact_campaigns"],
  messages: ["outbound_messages", "inbound_messages", "conversations"],
  email_campaigns: ["marketing.campaigns", "outbound_messages"],
  email_sequence_steps: ["marketing.campaigns", "campaign_plan_versions"],
  nurture_sequences: ["marketing.campaigns", "campaign_plan_versions"],
  lead_sequence_enrollments: ["contact_campaigns", "marketing.campaigns", "scheduled_actions"],
};

const seeds: Readonly<Record<string, string>> = {
  "000": "pipeline traceability",
  "001": "campaign execution",
  "002": "intake and golden records",
  "003": "enrichment, e-mail campaigns, workflows, channels",
  "004": "CRM",
};

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");
const row = (...cells: readonly string[]): string => `| ${cells.map(cell).join(" | ")} |`;
const header = (...titles: readonly string[]): string => `${row(...titles)}\n|${titles.map(() => " --- |").join("")}`;
const code = (text: string): string => `\`${text}\``;
const short = (id: string): string => id.slice(4);

function home(table: string): string {
  if (laterParts.includes(table)) return "comes with a later part";
  const parts = views[table];
  return parts ? `view of ${parts.map(code).join(", ")}` : `table ${code(table)}`;
}

function concepts(seed: string): string {
  const tables = items.filter((item) => item.kind === "table" && item.seed === seed);
  const differing = (table: string): string =>
    deviations
      .filter(({ id }) => items.some((item: Item) => item.id === id && item.table === table && item.seed === seed))
      .map(({ id }) => code(short(id)))
      .join(", ");
  return [
    `### Seed ${seed}: ${seeds[seed] ?? ""}`,
    "",
    header("seed's table", "what for", "where it lives", "what differs"),
    ...tables.map((item) =>
      row(
        code(item.name),
        item.detail.split(/(?<=\.) /)[0] ?? "",
        home(item.table ?? item.name),
        differing(item.table ?? item.name),
      ),
    ),
  ].join("\n");
}

const reasons = (seed: string): string =>
  [
    `### Seed ${seed}`,
    "",
    header("item", "where it is instead", "why"),
    ...deviations
      .filter(({ id }) => id.startsWith(seed))
      .map(({ id, where, reason }) => row(code(short(id)), where === undefined ? "" : code(where), reason)),
  ].join("\n");

/** The whole page, ending in a newline. */
export function seedsPage(): string {
  const later = items.filter(isLater).length;
  const numbers = Object.keys(seeds);
  return `${[
    "<!-- Made by npm run gen from the seeds' checklist. Do not edit; change test/core/seeds/deviations.ts. -->",
    "# The five seeds, and where they live",
    `Five systems are Outrider's specification. Of ${items.length} items they state about data, ${items.length - deviations.length - later} are here as stated or by a rule that holds everywhere, ${deviations.length} differ for a reason given below, and ${later} belong to parts that come later. \`test/core/seeds/\` holds every one of them against the live database and runs the seeds' own statements.`,
    "C-, D- and map § numbers are those of the digest of the seeds (conflicts, defects, sections); design § those of the design. What the seeds say about behaviour is proven by the tests of the modules that behave so, not here.",
    "## Where each table is",
    ...numbers.map(concepts),
    "## What holds everywhere",
    [header("rule", "decision"), ...Object.entries(rules).map(([name, reason]) => row(name, reason))].join("\n"),
    "## What differs, and why",
    ...numbers.map(reasons),
    "## Statements that had to be corrected",
    [
      header("statement", "why"),
      ...Object.entries(statements).flatMap(([id, { why }]) => (why === undefined ? [] : [row(code(id), why)])),
    ].join("\n"),
    "## What comes later",
    `${laterParts.map(code).join(", ")}.`,
  ].join("\n\n")}\n`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) process.stdout.write(seedsPage());
