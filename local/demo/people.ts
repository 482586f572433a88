/**
 * People for the S&P 500 who do not exist: the list that the demo imports.
 *
 * Invariants: the same seed gives the same bytes; every address is at a reserved domain and every phone number is a fictional one
 * (555-01xx), given to one person only; nothing here can reach anybody.
 */
import { createReadStream } from "node:fs";
import path from "node:path";
import { parse } from "csv-parse";
import { npaTable } from "../../core/compliance/npa.gen.ts";
import { pick, uniform } from "../simulator/random.ts";

export interface Company {
  readonly symbol: string;
  readonly name: string;
  readonly industry: string;
  readonly headquarters: string;
}

/** What is wrong with a generated row, if anything. */
export const rowKinds = [
  "good",
  "no_email",
  "malformed_email",
  "malformed_phone",
  "exact_duplicate",
  "case_duplicate",
  "no_name",
] as const;
export type RowKind = (typeof rowKinds)[number];

export interface PersonRow {
  readonly kind: RowKind;
  readonly company: Company;
  /** In the order of `columns`. */
  readonly cells: readonly string[];
}

export const columns = [
  "Email",
  "First Name",
  "Last Name",
  "Title",
  "Phone",
  "Company",
  "Company Domain",
  "Industry",
  "Headquarters Location",
  "City",
  "State",
  "Zip",
  "Country",
  "SMS Consent",
  "SMS Consent Text",
  "Symbol",
] as const;

const dataFile = path.join(import.meta.dirname, "data", "sp500.csv");

/** The companies of the list, in its order. */
export async function* companies(): AsyncGenerator<Company> {
  const records = createReadStream(dataFile).pipe(parse({ columns: true }));
  for await (const record of records as AsyncIterable<Record<string, string>>) {
    const {
      Symbol: symbol = "",
      Security: name = "",
      "GICS Sector": industry = "",
      "Headquarters Location": place = "",
    } = record;
    yield { symbol, name, industry, headquarters: place };
  }
}

/** `name` of the list → state code and a postal code there. */
const places: Readonly<Record<string, readonly [state: string, zip: string]>> = {
  Alabama: ["AL", "35203"],
  Arizona: ["AZ", "85004"],
  Arkansas: ["AR", "72201"],
  California: ["CA", "94105"],
  Colorado: ["CO", "80202"],
  Connecticut: ["CT", "06103"],
  "D.C.": ["DC", "20005"],
  Delaware: ["DE", "19801"],
  Florida: ["FL", "33131"],
  Georgia: ["GA", "30303"],
  Idaho: ["ID", "83702"],
  Illinois: ["IL", "60606"],
  Indiana: ["IN", "46204"],
  Iowa: ["IA", "50309"],
  Kentucky: ["KY", "40202"],
  Louisiana: ["LA", "70112"],
  Maine: ["ME", "04101"],
  Maryland: ["MD", "21202"],
  Massachusetts: ["MA", "02110"],
  Michigan: ["MI", "48226"],
  Minnesota: ["MN", "55101"],
  Missouri: ["MO", "63101"],
  Montana: ["MT", "59601"],
  Nebraska: ["NE", "68102"],
  Nevada: ["NV", "89109"],
  "New Hampshire": ["NH", "03101"],
  "New Jersey": ["NJ", "07102"],
  "New York": ["NY", "10017"],
  "North Carolina": ["NC", "28202"],
  Ohio: ["OH", "44114"],
  Oklahoma: ["OK", "73102"],
  Oregon: ["OR", "97204"],
  Pennsylvania: ["PA", "15222"],
  "Rhode Island": ["RI", "02903"],
  Tennessee: ["TN", "37203"],
  Texas: ["TX", "75201"],
  Utah: ["UT", "84101"],
  Virginia: ["VA", "23219"],
  Washington: ["WA", "98101"],
  Wisconsin: ["WI", "53202"],
};

/** Area codes of the cities where many of them are; elsewhere any of the state. */
const cityCodes: Readonly<Record<string, readonly string[]>> = {
  "New York City": ["212", "646", "917"],
  Houston: ["713", "281"],
  Chicago: ["312", "773"],
  Atlanta: ["404", "470"],
  Dallas: ["214", "972"],
  Irving: ["972", "469"],
  "San Francisco": ["415"],
  "San Jose": ["408"],
  "Santa Clara": ["408"],
  Boston: ["617"],
  Cambridge: ["617"],
  Pittsburgh: ["412"],
  Charlotte: ["704"],
  Minneapolis: ["612"],
  "Saint Paul": ["651"],
  Seattle: ["206"],
  Denver: ["303"],
  Phoenix: ["602"],
  "San Diego": ["619"],
  Austin: ["512"],
  Columbus: ["614"],
  Cleveland: ["216"],
  Cincinnati: ["513"],
  Memphis: ["901"],
  Milwaukee: ["414"],
  Indianapolis: ["317"],
  Richmond: ["804"],
};

const codesOfState = new Map<string, string[]>();
for (const [code, { places: where }] of Object.entries(npaTable)) {
  const [place] = where;
  if (where.length === 1 && place) codesOfState.set(place, [...(codesOfState.get(place) ?? []), code]);
}

// biome-ignore format: one per line would hide the rest
const firstNames = [
  "Ada", "Maya", "James", "Linh", "Omar", "Grace", "Zoë", "José", "Søren", "Aylin", "Łukasz", "Chloé", "Björn",
  "Nguyễn", "Priya", "Kwame", "Siobhán", "Noah", "Emma", "Liam", "Olivia", "Mateo", "Yuki", "Fatima", "Ivan", "Ана",
  "Jürgen", "Renée", "Tariq", "Hannah",
] as const;
// biome-ignore format: one per line would hide the rest
const lastNames = [
  "Lovelace", "Smith", "García", "Müller", "O'Brien", "van der Berg", "Nowak", "Øster", "Yılmaz", "Okafor", "Chen",
  "Patel", "D'Angelo", "Kowalski", "Johnson", "Håkansson", "Fernández", "Kim", "Tanaka", "Dubois", "Schmidt-Weiß",
  "Іваненко", "Brown", "Novák", "Silva",
] as const;
// biome-ignore format: one per line would hide the rest
const titles = [
  "Chief Executive Officer", "VP Sales", "Head of Marketing", "Director, Procurement", "Chief Information Officer",
  "Plant Manager", "Growth Lead", "Finance Director", "RevOps Manager",
] as const;

const consentText =
  "I agree to receive marketing text messages at this number. Consent is not a condition of purchase.";

/** Letters and digits of ASCII: `Estée Lauder Companies (The)` → `estee-lauder-companies-the`. */
const slug = (text: string): string =>
  text
    .normalize("NFKD")
    .replace(/\p{M}+/gu, "")
    .replaceAll("ø", "o")
    .replaceAll("Ø", "O")
    .replaceAll("ł", "l")
    .replaceAll("Ł", "L")
    .replaceAll("ı", "i")
    .replaceAll("ß", "ss")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");

/** Shares of the kinds of row, per hundred people. */
const shares: readonly (readonly [RowKind, number])[] = [
  ["no_email", 0.02],
  ["malformed_email", 0.015],
  ["malformed_phone", 0.02],
  ["exact_duplicate", 0.015],
  ["case_duplicate", 0.015],
  ["no_name", 0.01],
];

function kindOf(draw: number): RowKind {
  let covered = 0;
  for (const [kind, part] of shares) {
    covered += part;
    if (draw < covered) return kind;
  }
  return "good";
}

/** Two to four people per company. A duplicate follows the row it repeats; the row it repeats is good. */
export async function* peopleRows(seed = 1): AsyncGenerator<PersonRow> {
  const numbers = new PhoneNumbers();
  for await (const company of companies()) {
    const heads = 2 + Math.floor(uniform(seed, company.symbol, "heads") * 3);
    for (let nth = 0; nth < heads; nth += 1) {
      const draw = (what: string) => uniform(seed, company.symbol, nth, what);
      const kind = kindOf(draw("kind"));
      const repeated = kind === "exact_duplicate" || kind === "case_duplicate";
      const cells = person(company, nth, repeated ? "good" : kind, draw, numbers);
      yield { kind: repeated ? "good" : kind, company, cells };
      if (kind === "exact_duplicate") yield { kind, company, cells };
      if (kind === "case_duplicate") {
        const [email = "", ...rest] = cells;
        const upper = email.toUpperCase();
        yield { kind, company, cells: [upper === email ? email.toLowerCase() : upper, ...rest] };
      }
    }
  }
}

/** The same as CSV, row by row: what the demo uploads. */
export async function* peopleCsv(seed = 1): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  const line = (cells: readonly string[]) =>
    encoder.encode(
      `${cells.map((cell) => (/[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(",")}\n`,
    );
  yield line(columns);
  for await (const { cells } of peopleRows(seed)) yield line(cells);
}

/** How many rows of each kind the list has. */
export async function countPeople(seed = 1): Promise<Readonly<Record<RowKind | "total", number>>> {
  const counts = {
    total: 0,
    good: 0,
    no_email: 0,
    malformed_email: 0,
    malformed_phone: 0,
    exact_duplicate: 0,
    case_duplicate: 0,
    no_name: 0,
  };
  for await (const { kind } of peopleRows(seed)) {
    counts[kind] += 1;
    counts.total += 1;
  }
  return counts;
}

/** The hundred fictional numbers of each area code, each given out once. */
class PhoneNumbers {
  readonly #next = new Map<string, number>();

  /** Ten digits of an area code of the place, or null when all of its numbers are taken. */
  take(city: string, state: string, draw: number): string | null {
    const inState = codesOfState.get(`US-${state}`) ?? [];
    const start = Math.floor(draw * inState.length);
    for (const code of [...(cityCodes[city] ?? []), ...inState.slice(start), ...inState.slice(0, start)]) {
      const n = this.#next.get(code) ?? 0;
      if (n > 99) continue;
      this.#next.set(code, n + 1);
      return `${code}55501${String(n).padStart(2, "0")}`;
    }
    return null;
  }
}

function person(
  company: Company,
  nth: number,
  kind: RowKind,
  draw: (what: string) => number,
  numbers: PhoneNumbers,
): readonly string[] {
  const first = kind === "no_name" ? "" : pick(firstNames, draw("first"));
  const last = kind === "no_name" ? "" : pick(lastNames, draw("last"));
  const place = company.headquarters.replace(/\[\d+\]/g, "").split(";")[0] ?? "";
  const [city = "", region = ""] = [place.split(",")[0]?.trim(), place.split(",").at(-1)?.trim()];
  const [state, zip] = places[region] ?? ["", ""];

  // A share class is not a company of its own; one in twelve companies has an internationalised domain, one in eight is under .test.
  const name = company.name.replace(/ \((Class [A-Z]|The)\)/, "");
  const label = `${uniform(name, "idn") < 1 / 12 ? "büro-" : ""}${slug(name)}`;
  const domain = `${label}.${uniform(name, "test") < 1 / 8 ? "test" : "example"}`;
  const local = first === "" ? `office${nth}` : `${slug(first) || "a"}.${slug(last) || "b"}${nth === 0 ? "" : nth}`;
  const style = draw("style");
  const plain =
    style < 0.7
      ? local
      : style < 0.85
        ? local.replace(/(^|[.-])[a-z]/g, (letter) => letter.toUpperCase())
        : local.toUpperCase();
  const address = `${plain}.${company.symbol.toLowerCase().replace(/[^a-z]/g, "")}@${domain}`;
  const email =
    kind === "no_email"
      ? ""
      : kind === "malformed_email"
        ? address.replace("@", draw("break") < 0.5 ? " at " : "@@")
        : address;

  const digits = state !== "" && draw("phone") < 0.75 ? numbers.take(city, state, draw("code")) : null;
  const written =
    digits === null
      ? ""
      : draw("written") < 0.5
        ? `(${digits.slice(0, 3)}) ${digits.slice(3, 6)}-${digits.slice(6)}`
        : `+1${digits}`;
  const phone = kind === "malformed_phone" ? pick(["555-01", "n/a", "call me", "+1 202"], draw("bad phone")) : written;
  const consents = phone !== "" && kind !== "malformed_phone" && draw("consent") < 0.6;
  return [
    email,
    first,
    last,
    pick(titles, draw("title")),
    phone,
    name,
    domain,
    company.industry,
    company.headquarters,
    city,
    state,
    zip,
    state === "" ? region : "United States",
    phone === "" ? "" : consents ? "yes" : "no",
    consents ? consentText : "",
    company.symbol,
  ];
}
