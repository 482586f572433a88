/**
 * Where a person may be, for the question "what time is it there?". Invariant: evidence only ever adds candidates. None wins, because each
 * kind is wrong for somebody (ported numbers, old addresses); a send is allowed when every candidate allows it.
 */
import { IANAZone } from "luxon";
import { callingCodeZones, npaTable } from "./npa.gen.ts";
import { isUsZone, placeOfState, placeOfZip, placesOfCanadianCode, zonesByPlace } from "./places.ts";

/** What is known about a recipient. Blank and missing are the same. `phone` is E.164, `country` ISO 3166-1 alpha-2, `contactZone` an IANA name. */
export interface ZoneFacts {
  readonly contactZone?: string | null | undefined;
  readonly postalCode?: string | null | undefined;
  readonly state?: string | null | undefined;
  readonly country?: string | null | undefined;
  readonly phone?: string | null | undefined;
}

/** One thing that spoke for some zones; `zones: []` means that it was looked at and said nothing (shown by `explain`). */
export interface Evidence {
  readonly kind: "contact_zone" | "postal_code" | "state" | "country" | "phone";
  readonly value: string;
  readonly zones: readonly string[];
  readonly places: readonly string[];
}

export interface ZoneEvidence {
  /** Candidate zones, sorted, without repeats. */
  readonly zones: readonly string[];
  /** Candidate jurisdictions below the country: `US-FL`, `CA-ON`. */
  readonly states: readonly string[];
  /** Candidate countries; `ZZ` stands for one that is not in our tables. */
  readonly countries: readonly string[];
  readonly evidence: readonly Evidence[];
  /** At least one candidate zone. False with `countries: ["US"]` still has a rule (`policy.ts`); false without it means hold. */
  readonly known: boolean;
}

/** Countries by zone for what is not under +1: through the calling code, so every zone of a country that shares one is a candidate. */
const callingCodeOfCountry: Readonly<Record<string, string>> = {
  AE: "971",
  AR: "54",
  AT: "43",
  AU: "61",
  BE: "32",
  BG: "359",
  BR: "55",
  CH: "41",
  CL: "56",
  CN: "86",
  CO: "57",
  CR: "506",
  CY: "357",
  CZ: "420",
  DE: "49",
  DK: "45",
  EC: "593",
  EE: "372",
  EG: "20",
  ES: "34",
  FI: "358",
  FR: "33",
  GB: "44",
  GR: "30",
  GT: "502",
  HK: "852",
  HR: "385",
  HU: "36",
  ID: "62",
  IE: "353",
  IL: "972",
  IN: "91",
  IS: "354",
  IT: "39",
  JP: "81",
  KE: "254",
  KR: "82",
  KZ: "7",
  LT: "370",
  LU: "352",
  LV: "371",
  MA: "212",
  MT: "356",
  MX: "52",
  MY: "60",
  NG: "234",
  NL: "31",
  NO: "47",
  NZ: "64",
  PA: "507",
  PE: "51",
  PH: "63",
  PK: "92",
  PL: "48",
  PT: "351",
  RO: "40",
  RS: "381",
  RU: "7",
  SA: "966",
  SE: "46",
  SG: "65",
  SI: "386",
  SK: "421",
  TH: "66",
  TR: "90",
  TW: "886",
  UA: "380",
  UY: "598",
  VN: "84",
  ZA: "27",
};

/** Canada's zones follow from its provinces; other members of +1 from their own area codes. */
const plusOneCountryZones = new Map<string, Set<string>>();
for (const [place, zones] of Object.entries(zonesByPlace)) {
  if (place.startsWith("CA-")) addAll(plusOneCountryZones, "CA", zones);
}
for (const { zones, places } of Object.values(npaTable)) {
  for (const place of places) if (!place.includes("-")) addAll(plusOneCountryZones, place, zones);
}
for (const territory of ["PR", "VI", "GU", "AS", "MP"])
  addAll(plusOneCountryZones, territory, zonesByPlace[`US-${territory}`] ?? []);

function addAll(into: Map<string, Set<string>>, key: string, values: readonly string[]): void {
  const set = into.get(key) ?? new Set();
  for (const value of values) set.add(value);
  into.set(key, set);
}

const validZones = new Map<string, boolean>();
function isZone(name: string): boolean {
  let valid = validZones.get(name);
  if (valid === undefined) {
    valid = IANAZone.isValidZone(name);
    if (validZones.size > 2_000) validZones.clear();
    validZones.set(name, valid);
  }
  return valid;
}

const countryAliases: Readonly<Record<string, string>> = {
  USA: "US",
  "UNITED STATES": "US",
  "UNITED STATES OF AMERICA": "US",
  CANADA: "CA",
  UK: "GB",
  "UNITED KINGDOM": "GB",
};

const countryOfPlace = (place: string): string => place.split("-")[0] ?? place;

/**
 * Everything that the facts say about where the recipient may be. Without a country, a state or ZIP is read as American only when nothing
 * (a foreign number) speaks against it; a ZIP alone is no evidence, since many countries use five digits.
 */
export function zoneEvidence(facts: ZoneFacts): ZoneEvidence {
  const evidence: Evidence[] = [];
  const countries = new Set<string>();
  const phone = facts.phone?.trim() ?? "";
  const countryText = facts.country?.trim().toUpperCase() ?? "";
  const country = countryText === "" ? undefined : (countryAliases[countryText] ?? countryText);
  const mayBeNorthAmerican = country === undefined && (phone === "" || phone.startsWith("+1"));
  const add = (kind: Evidence["kind"], value: string, zones: readonly string[], places: readonly string[] = []) => {
    evidence.push({ kind, value, zones, places: places.filter((place) => place.includes("-")) });
    for (const place of places) countries.add(countryOfPlace(place));
  };

  const zone = facts.contactZone?.trim() ?? "";
  if (zone !== "") {
    add("contact_zone", zone, isZone(zone) ? [zone] : []);
    if (isZone(zone)) countries.add(isUsZone(zone) ? "US" : "ZZ");
  }

  const stateText = facts.state?.trim() ?? "";
  const state =
    country === "US" || country === "CA" || mayBeNorthAmerican ? placeOfState(stateText, country) : undefined;
  if (stateText !== "") add("state", stateText, state ? (zonesByPlace[state] ?? []) : [], state ? [state] : []);

  const postal = facts.postalCode?.trim() ?? "";
  if (postal !== "") {
    const american = country === "US" || (mayBeNorthAmerican && (phone !== "" || (state?.startsWith("US-") ?? false)));
    const zip = american ? placeOfZip(postal) : undefined;
    const places = zip ? [zip] : country === "CA" || mayBeNorthAmerican ? placesOfCanadianCode(postal) : [];
    add(
      "postal_code",
      postal,
      places.flatMap((place) => zonesByPlace[place] ?? []),
      places,
    );
  }

  if (phone !== "") addPhone(phone, add, countries);

  if (country !== undefined) {
    countries.add(
      country === "PR" || country === "VI" || country === "GU" || country === "AS" || country === "MP" ? "US" : country,
    );
    // A country adds its zones only when nothing finer named it: "US" next to "FL" says nothing new.
    const finer = evidence.some(
      (item) => item.zones.length > 0 && item.places.some((place) => countryOfPlace(place) === country),
    );
    const zones =
      finer || country === "US" || (country === "CA" && evidence.some((item) => item.zones.length > 0))
        ? []
        : zonesOfCountry(country);
    add("country", country, zones);
  }

  const zones = [...new Set(evidence.flatMap((item) => item.zones))].toSorted();
  return {
    zones,
    states: [...new Set(evidence.flatMap((item) => item.places))].toSorted(),
    countries: [...countries].toSorted(),
    evidence,
    known: zones.length > 0,
  };
}

type Add = (kind: Evidence["kind"], value: string, zones: readonly string[], places?: readonly string[]) => void;

/** +1 through the area code; toll-free and unlisted area codes say only "+1". Elsewhere through the calling code. */
function addPhone(phone: string, add: Add, countries: Set<string>): void {
  if (phone.startsWith("+1")) {
    const npa = phone.slice(2, 5);
    const entry = npaTable[npa];
    add("phone", `+1${npa}`, entry?.zones ?? [], entry?.places ?? []);
    // An area code without a place may be American, so American rules apply; a false "US" only ever narrows the window.
    if ((entry?.places.length ?? 0) === 0) countries.add("US");
    return;
  }
  const code = phone.startsWith("+")
    ? [1, 2, 3].map((n) => phone.slice(1, 1 + n)).find((digits) => digits in callingCodeZones)
    : undefined;
  if (code !== undefined) countries.add("ZZ");
  add(
    "phone",
    code === undefined ? phone.slice(0, 4) : `+${code}`,
    code === undefined ? [] : (callingCodeZones[code] ?? []),
  );
}

function zonesOfCountry(country: string): readonly string[] {
  const plusOne = plusOneCountryZones.get(country);
  if (plusOne) return [...plusOne];
  const code = callingCodeOfCountry[country];
  return code === undefined ? [] : (callingCodeZones[code] ?? []);
}
