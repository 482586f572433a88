/**
 * The names that stand for a value in every tenant's templates. Invariant: these are the fields of the records that a message is made from,
 * as test/core/templates compares with the tables; beside them a contact has custom fields, whose names only the tenant knows.
 */
import { nearest } from "../kernel/index.ts";

const fields = (names: string): readonly string[] => names.trim().split(/\s+/);

const contact = fields(`
  id tenant_id lead_id person_id first_name last_name full_name title phones emails primary_phone primary_email linkedin_url twitter_url
  date_of_birth age address_history time_zone postal_code state country custom_fields source_type skiptrace_artifact_id status created_at
  updated_at`);
const company = fields(`
  id tenant_id domain name industry employee_count revenue location linkedin_url website created_at updated_at enriched_at status`);
const lead = fields(`
  id tenant_id organization_id user_id sector_id source_type source_id import_run_id load_id source company_id person_id company_name
  contact_name first_name last_name name phone mobile_phone phone_number email phones emails address city state zip county country sic_code
  sic_description employee_count annual_revenue website enrichment_status last_enriched_at enrichment_artifact_id status campaign_status
  attempt_count last_attempt_at last_response_at last_contact_date priority_score is_decision_maker property_owner_likelihood lead_score
  score lead_score_factors tags created_at updated_at deleted_at`);

/** Fields of what can be named with a dot. */
export const recordVariables: Readonly<Record<string, readonly string[]>> = {
  contact,
  company,
  lead,
  sender: ["name", "email"],
  tenant: ["name"],
  campaign: ["name"],
};
/** What can be named alone. */
export const plainVariables: readonly string[] = [
  ...contact,
  ...Object.keys(recordVariables),
  "company_name",
  "address",
  "unsubscribe_url",
  "postal_address",
];

/**
 * What to tell the author of a template about a variable like `contact.first_name`; undefined when every contact can have it. A custom field
 * is nowhere declared, so an unknown name is doubtful, not wrong.
 */
export function doubtOf(variable: string): string | undefined {
  const [first = "", second] = variable.split(/[.[\]]/);
  if (!plainVariables.includes(first)) {
    const meant = nearest(first, plainVariables);
    if (meant !== undefined) return `names ${variable}; did you mean ${meant}?`;
    return `names ${variable}, which is no field of ours: contacts without a custom field of that name are held`;
  }
  const known = Object.hasOwn(recordVariables, first) ? recordVariables[first] : undefined;
  if (known === undefined || second === undefined || known.includes(second)) return undefined;
  return `names ${variable}; ${adviceOn(first, second, known)}`;
}

/** On a field that a record has not: the one that was probably meant, or all. */
export function adviceOn(record: string, name: string, known: readonly string[]): string {
  const meant = nearest(name, known);
  return meant === undefined ? `known here: ${known.join(", ")}` : `did you mean ${record}.${meant}?`;
}
