/**
 * One row of a list, in the words of this system. Pure: the same row always says the same, so a resumed import repeats itself exactly.
 *
 * Invariant: `raw` stays what came (except characters that PostgreSQL cannot store); everything that was understood, refused or left out is
 * written beside it.
 */
import { emailDomain, normalizeEmail, normalizePhone } from "../kernel/index.ts";
import { type ColumnTarget, columnKey, type FieldName, fieldOf } from "./columns.ts";
import { amount, countryCode, isFreemail, personName, registrableDomain, webAddress, yesOrNo } from "./values.ts";

/** A row as its file held it. */
export interface SourceRow {
  /** 1 for the first row of data. */
  readonly row: number;
  readonly raw: Readonly<Record<string, unknown>>;
  /** What the reader found to be wrong; such a row is kept and refused. */
  readonly problem?: string | undefined;
  readonly warnings?: readonly string[] | undefined;
  /** Characters it took in the file. */
  readonly size: number;
}

/** Canonical values under the names of `fieldNames`, plus `custom_fields`. What the row did not say is absent. */
export type Fields = Readonly<Record<string, unknown>>;

/** What `intake.f_ingest_rows` takes per row. */
export interface IntakeRow {
  readonly raw: Readonly<Record<string, unknown>>;
  readonly email: string | null;
  readonly meta: {
    readonly row: number;
    readonly fields: Fields;
    readonly source_type: SourceType;
    readonly import_id?: string;
    readonly problem?: string;
    readonly warnings?: readonly string[];
  };
}

/** The values of `leads.source_type` that intake gives. */
export type SourceType = "csv_import" | "api" | "intake";

export interface NormalizeSettings {
  /** Header → field, where a list uses words of its own. */
  readonly mapping?: Readonly<Record<string, ColumnTarget>> | undefined;
  /** ISO 3166 alpha-2: how phone numbers without `+` are read when the row names no country. Default `US`. */
  readonly defaultCountry?: string | undefined;
  /** Added to every row. */
  readonly tags?: readonly string[] | undefined;
  readonly sourceType: SourceType;
  readonly importId?: string | undefined;
}

/** Longest text of a field: 500 characters fit every index even at 4 bytes each. */
const maxText = 500;
const maxCustomFields = 100;
const maxCustomText = 10_000;
const maxTags = 50;

const controls = /[^\P{Cc}\t\n\r]/gu;
/** What a spreadsheet would run. A leading + or - is normal in phone numbers and amounts, and only those. */
const formula = /^(?:[=@\t\r]|[+-](?![\d\s().,-]*$))/;

const shown = (text: string): string => JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);

/** NUL and lone surrogates cannot be stored as jsonb; they go, and `changed` says so. */
function storable(value: unknown, onChange: () => void): unknown {
  if (typeof value === "string") {
    if (!value.includes("\0") && value.isWellFormed()) return value;
    onChange();
    return value.replaceAll("\0", "").toWellFormed();
  }
  if (Array.isArray(value)) return value.map((item) => storable(item, onChange));
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [String(storable(key, onChange)), storable(item, onChange)]),
    );
  }
  return value;
}

/** What one row says, while it is being read. */
class Reading {
  readonly fields = new Map<FieldName, string>();
  readonly custom = new Map<string, unknown>();
  readonly tags: string[] = [];
  readonly warnings: string[];

  constructor(warnings: readonly string[] = []) {
    this.warnings = [...warnings];
  }

  text(raw: string, column: string): string | null {
    let text = raw;
    if (controls.test(text)) {
      controls.lastIndex = 0;
      text = text.replace(controls, "");
      this.warnings.push(`control characters removed from ${column}`);
    }
    text = text.normalize("NFKC").replace(/\s+/g, " ").trim();
    // Spreadsheets and our own exports escape a formula with an apostrophe.
    if (/^'[=+\-@]/.test(text)) text = text.slice(1);
    if (text === "") return null;
    if (formula.test(text)) this.warnings.push(`${column} looks like a spreadsheet formula; kept as text`);
    return text;
  }

  put(field: FieldName, text: string): void {
    if (this.fields.has(field)) return;
    if (text.length > maxText) this.warnings.push(`${field} cut to ${maxText} characters`);
    this.fields.set(field, text.slice(0, maxText));
  }

  /** The value of a field through a reader; one that cannot be read is left out with a warning. */
  read<T>(field: FieldName, reader: (text: string) => T | null, expected: string): T | undefined {
    const text = this.fields.get(field);
    if (text === undefined) return undefined;
    const value = reader(text);
    if (value !== null) return value;
    this.warnings.push(`${field} ${shown(text)} is not ${expected}; left out`);
    return undefined;
  }
}

/** Compiles the settings once; the result is called per row. */
export function createNormalizer(settings: NormalizeSettings): (source: SourceRow) => IntakeRow {
  const mapping = new Map(
    Object.entries(settings.mapping ?? {}).map(([header, target]) => [columnKey(header), target]),
  );
  const targets = new Map<string, ColumnTarget>();
  const country = countryCode(settings.defaultCountry ?? "US") ?? "US";
  const addedTags = settings.tags ?? [];

  /** Lists have few columns, but JSON rows may each have keys of their own. */
  function targetOf(header: string): ColumnTarget {
    let target = targets.get(header);
    if (target === undefined) {
      target = mapping.get(columnKey(header)) ?? fieldOf(header) ?? "custom";
      if (targets.size < 10_000) targets.set(header, target);
    }
    return target;
  }

  function take(reading: Reading, column: string, value: unknown): void {
    const target = targetOf(column);
    if (target === "ignore" || value === null || value === undefined) return;
    if (Array.isArray(value)) {
      if (target === "tags") for (const item of value) takeTags(reading, String(item));
      else if (target === "custom") keepCustom(reading, column, value);
      else
        take(
          reading,
          column,
          value.find((item) => item !== null && typeof item !== "object"),
        );
    } else if (typeof value === "object") {
      // {company: {name, domain}} reads like company_name and company_domain; what is left stays together.
      const rest: Record<string, unknown> = {};
      for (const [key, item] of Object.entries(value)) {
        const path = `${column}_${key}`;
        if (targetOf(path) === "custom") rest[key] = item;
        else take(reading, path, item);
      }
      if (Object.keys(rest).length > 0) keepCustom(reading, column, rest);
    } else {
      const text = reading.text(String(value), column);
      if (text === null) return;
      if (target === "tags") takeTags(reading, text);
      else if (target === "custom") keepCustom(reading, column, typeof value === "string" ? text : value);
      else reading.put(target, text);
    }
  }

  function keepCustom(reading: Reading, column: string, value: unknown): void {
    const key = columnKey(column);
    if (key === "" || reading.custom.has(key)) return;
    if (reading.custom.size >= maxCustomFields) {
      if (reading.custom.size === maxCustomFields)
        reading.warnings.push(`only the first ${maxCustomFields} custom fields were kept`);
      return;
    }
    reading.custom.set(key, typeof value === "string" ? value.slice(0, maxCustomText) : value);
  }

  function takeTags(reading: Reading, text: string): void {
    for (const part of text.split(/[;,|]/)) {
      const tag = part.trim().slice(0, 100);
      if (tag !== "" && !reading.tags.includes(tag) && reading.tags.length < maxTags) reading.tags.push(tag);
    }
  }

  return (source) => {
    const reading = new Reading(source.warnings);
    for (const tag of addedTags) takeTags(reading, tag);
    const raw: Record<string, unknown> = {};
    for (const [given, value] of Object.entries(source.raw)) {
      let repaired = false;
      const onChange = () => {
        repaired = true;
      };
      const column = String(storable(given, onChange));
      raw[column] = storable(value, onChange);
      if (repaired) reading.warnings.push(`control characters removed from ${column}`);
      take(reading, column, raw[column]);
    }
    const email = findEmail(reading);
    const problem = source.problem ?? email.problem;
    const fields = problem === undefined ? canonical(reading, email.address, country) : {};
    return {
      raw,
      email: problem === undefined ? email.address : null,
      meta: {
        row: source.row,
        fields,
        source_type: settings.sourceType,
        ...(settings.importId === undefined ? {} : { import_id: settings.importId }),
        ...(problem === undefined ? {} : { problem }),
        ...(reading.warnings.length === 0 ? {} : { warnings: reading.warnings.slice(0, 20) }),
      },
    };
  };
}

/** `Ada <ada@x.example>`, `mailto:ada@x.example` and `ada@x.example; bob@x.example` (the first counts) are all in use. */
function findEmail(
  reading: Reading,
): { readonly address: string; readonly problem?: undefined } | { readonly address: null; readonly problem: string } {
  const text = reading.fields.get("email");
  if (text === undefined) return { address: null, problem: "no e-mail address" };
  const bare = (/<([^<>]+)>$/.exec(text)?.[1] ?? text).replace(/^mailto:/i, "");
  const whole = normalizeEmail(bare);
  if (whole !== null) return { address: whole };
  const parts = bare.split(/[;,\s]+/).filter((part) => part !== "");
  const first = parts.length > 1 ? parts.map(normalizeEmail).find((address) => address !== null) : undefined;
  if (first) {
    reading.warnings.push("several e-mail addresses; the first usable one counts");
    return { address: first };
  }
  return { address: null, problem: `e-mail address ${shown(text)} is malformed` };
}

function canonical(reading: Reading, email: string | null, defaultCountry: string): Fields {
  const text = (field: FieldName): string | null => reading.fields.get(field) ?? null;
  const { name, first, last } = personName(text("name"), text("first_name"), text("last_name"));
  const givenCountry = text("country");
  const country = givenCountry === null ? null : countryCode(givenCountry);
  const phone = reading.fields.get("phone");
  const phoneNumber = phone === undefined ? null : normalizePhone(phone, country ?? defaultCountry);
  if (phone !== undefined && phoneNumber === null) {
    reading.warnings.push(`phone ${shown(phone)} is not a possible number; accepted without it`);
  }
  const consent = text("sms_consent");
  const consented = consent === null ? null : yesOrNo(consent);
  if (consent !== null && consented === null) {
    reading.warnings.push(`sms_consent ${shown(consent)} is neither yes nor no; taken as no`);
  }
  const website = reading.read("website", webAddress, "a web address");
  const mailDomain = email === null ? null : registrableDomain(emailDomain(email));
  const domain =
    reading.read("domain", registrableDomain, "a domain") ??
    (website === undefined ? null : registrableDomain(website)) ??
    (mailDomain !== null && !isFreemail(mailDomain) ? mailDomain : null);

  const values: Record<string, unknown> = {
    first_name: first,
    last_name: last,
    name,
    title: text("title"),
    phone: phoneNumber,
    company: text("company"),
    domain,
    website,
    industry: text("industry"),
    employee_count: reading.read("employee_count", count, "a number of people"),
    revenue: reading.read("revenue", amount, "an amount"),
    location: text("location"),
    company_location: text("company_location"),
    company_linkedin_url: reading.read("company_linkedin_url", webAddress, "a web address"),
    city: text("city"),
    state: text("state"),
    postal_code: text("postal_code"),
    country: country ?? givenCountry,
    time_zone: text("time_zone"),
    linkedin_url: reading.read("linkedin_url", webAddress, "a web address"),
    seniority: text("seniority"),
    department: text("department"),
    tags: reading.tags.length === 0 ? null : reading.tags,
    sms_consent: consent === null ? null : consented === true,
    sms_consent_text: text("sms_consent_text"),
    custom_fields: reading.custom.size === 0 ? null : Object.fromEntries(reading.custom),
  };
  for (const key of Object.keys(values)) if (values[key] === null || values[key] === undefined) delete values[key];
  return values;
}

const count = (text: string): number | null => {
  const value = amount(text.replace(/\s*(employees|people|staff|mitarbeiter(innen)?)$/i, ""));
  return value === null || value > 999_999_999 ? null : Math.floor(value);
};
