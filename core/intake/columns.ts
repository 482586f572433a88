/**
 * Which column means what: the headers that lists come with, in the words of this system. Invariant: a header that is not known by name is
 * never guessed from its contents; it becomes a custom field.
 */

/** What an imported row may say about a person and the company behind them. */
export const fieldNames = [
  "email",
  "first_name",
  "last_name",
  "name",
  "title",
  "phone",
  "company",
  "domain",
  "website",
  "industry",
  "employee_count",
  "revenue",
  "location",
  "company_location",
  "company_linkedin_url",
  "city",
  "state",
  "postal_code",
  "country",
  "time_zone",
  "linkedin_url",
  "seniority",
  "department",
  "tags",
  "sms_consent",
  "sms_consent_text",
] as const;
export type FieldName = (typeof fieldNames)[number];

/** A field, `custom` for a custom field under the column's own name, `ignore` for nothing at all (the raw row keeps it). */
export const columnTargets = [...fieldNames, "custom", "ignore"] as const;
export type ColumnTarget = (typeof columnTargets)[number];

const aliases: Readonly<Record<FieldName, string>> = {
  email:
    "email e_mail mail email_address e_mail_address mail_address work_email business_email contact_email person_email primary_email company_email email_1 e_mail_1_value emailaddress courriel correo correo_electronico e_mail_adresse",
  first_name: "first_name firstname first given_name givenname forename vorname prenom nombre contact_first_name fname",
  last_name:
    "last_name lastname last surname family_name familyname nachname nom apellido apellidos contact_last_name lname",
  name: "name full_name fullname contact contact_name person_name display_name contact_full_name",
  title: "title job_title jobtitle position role job_position headline job designation titel",
  phone:
    "phone phone_number phonenumber telephone tel mobile mobile_phone mobile_number cell cell_phone cellphone work_phone direct_phone direct_dial contact_phone primary_phone phone_1 phone_1_value telefon telefono whatsapp",
  company:
    "company company_name companyname organization organisation organization_name organisation_name account account_name employer business business_name firma empresa security",
  domain: "domain company_domain companydomain organization_domain website_domain email_domain",
  website: "website web_site company_website url company_url homepage web www site",
  industry: "industry company_industry sector branche gics_sector",
  employee_count:
    "employee_count employees employeecount number_of_employees num_employees company_size headcount employee_range size no_of_employees",
  revenue: "revenue annual_revenue company_revenue turnover estimated_revenue annualrevenue",
  location: "location person_location contact_location",
  company_location:
    "company_location company_address headquarters headquarters_location hq hq_location company_headquarters organization_location",
  company_linkedin_url: "company_linkedin_url company_linkedin organization_linkedin_url",
  city: "city town locality stadt ville ciudad person_city",
  state: "state region province state_province state_region bundesland person_state administrative_area",
  postal_code: "postal_code postalcode postcode zip zip_code zipcode plz postal code_postal",
  country: "country country_code country_name land pays pais person_country",
  time_zone: "time_zone timezone tz",
  linkedin_url:
    "linkedin_url linkedin linkedin_profile linkedin_profile_url person_linkedin_url linkedin_link contact_linkedin_url",
  seniority: "seniority seniority_level level management_level",
  department: "department departments team function division abteilung",
  tags: "tags tag labels label keywords",
  sms_consent: "sms_consent sms_opt_in text_consent text_opt_in sms_optin opt_in_sms sms_permission",
  sms_consent_text: "sms_consent_text consent_text sms_consent_language consent_wording",
};

const fieldOfAlias = new Map<string, FieldName>(
  fieldNames.flatMap((field) => aliases[field].split(" ").map((alias) => [alias, field] as const)),
);

/** `E-Mail Address` → `e_mail_address`, also the name under which an unknown column becomes a custom field. */
export const columnKey = (header: string): string =>
  header
    .normalize("NFKD")
    .replace(/\p{M}+/gu, "")
    .normalize("NFKC")
    .replace(/(\p{Ll})(\p{Lu})/gu, "$1_$2")
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, "_")
    .replace(/^_+|_+$/g, "")
    .slice(0, 100);

/** The field a header names, if it names one. */
export const fieldOf = (header: string): FieldName | undefined => fieldOfAlias.get(columnKey(header));
