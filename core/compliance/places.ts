/**
 * Places and their time zones: US states, Canadian provinces, ZIP prefixes. Invariant: a place lists every zone in use anywhere in it, so that
 * a window open in all of them is open wherever in it the person is.
 */

export const usStateNames: Readonly<Record<string, string>> = {
  AL: "Alabama",
  AK: "Alaska",
  AZ: "Arizona",
  AR: "Arkansas",
  CA: "California",
  CO: "Colorado",
  CT: "Connecticut",
  DE: "Delaware",
  DC: "District of Columbia",
  FL: "Florida",
  GA: "Georgia",
  HI: "Hawaii",
  ID: "Idaho",
  IL: "Illinois",
  IN: "Indiana",
  IA: "Iowa",
  KS: "Kansas",
  KY: "Kentucky",
  LA: "Louisiana",
  ME: "Maine",
  MD: "Maryland",
  MA: "Massachusetts",
  MI: "Michigan",
  MN: "Minnesota",
  MS: "Mississippi",
  MO: "Missouri",
  MT: "Montana",
  NE: "Nebraska",
  NV: "Nevada",
  NH: "New Hampshire",
  NJ: "New Jersey",
  NM: "New Mexico",
  NY: "New York",
  NC: "North Carolina",
  ND: "North Dakota",
  OH: "Ohio",
  OK: "Oklahoma",
  OR: "Oregon",
  PA: "Pennsylvania",
  RI: "Rhode Island",
  SC: "South Carolina",
  SD: "South Dakota",
  TN: "Tennessee",
  TX: "Texas",
  UT: "Utah",
  VT: "Vermont",
  VA: "Virginia",
  WA: "Washington",
  WV: "West Virginia",
  WI: "Wisconsin",
  WY: "Wyoming",
  PR: "Puerto Rico",
  VI: "U.S. Virgin Islands",
  GU: "Guam",
  AS: "American Samoa",
  MP: "Northern Mariana Islands",
};

export const provinceNames: Readonly<Record<string, string>> = {
  AB: "Alberta",
  BC: "British Columbia",
  MB: "Manitoba",
  NB: "New Brunswick",
  NL: "Newfoundland and Labrador",
  NS: "Nova Scotia",
  NT: "Northwest Territories",
  NU: "Nunavut",
  ON: "Ontario",
  PE: "Prince Edward Island",
  QC: "Quebec",
  SK: "Saskatchewan",
  YT: "Yukon",
};

const eastern = ["America/New_York"];
const central = ["America/Chicago"];
const mountain = ["America/Denver"];
const pacific = ["America/Los_Angeles"];
const easternAndCentral = [...eastern, ...central];
const centralAndMountain = [...central, ...mountain];

/** Jurisdiction (`US-FL`, `CA-ON`) → zones. Split states list both, whatever share of the people lives in the smaller part. */
export const zonesByPlace: Readonly<Record<string, readonly string[]>> = {
  "US-AL": central,
  "US-AK": ["America/Anchorage", "America/Adak"],
  "US-AZ": ["America/Phoenix", ...mountain],
  "US-AR": central,
  "US-CA": pacific,
  "US-CO": mountain,
  "US-CT": eastern,
  "US-DE": eastern,
  "US-DC": eastern,
  "US-FL": easternAndCentral,
  "US-GA": eastern,
  "US-HI": ["Pacific/Honolulu"],
  "US-ID": ["America/Boise", ...pacific],
  "US-IL": central,
  "US-IN": easternAndCentral,
  "US-IA": central,
  "US-KS": centralAndMountain,
  "US-KY": easternAndCentral,
  "US-LA": central,
  "US-ME": eastern,
  "US-MD": eastern,
  "US-MA": eastern,
  "US-MI": ["America/Detroit", ...central],
  "US-MN": central,
  "US-MS": central,
  "US-MO": central,
  "US-MT": mountain,
  "US-NE": centralAndMountain,
  "US-NV": [...pacific, ...mountain],
  "US-NH": eastern,
  "US-NJ": eastern,
  "US-NM": mountain,
  "US-NY": eastern,
  "US-NC": eastern,
  "US-ND": centralAndMountain,
  "US-OH": eastern,
  "US-OK": central,
  "US-OR": [...pacific, "America/Boise"],
  "US-PA": eastern,
  "US-RI": eastern,
  "US-SC": eastern,
  "US-SD": centralAndMountain,
  "US-TN": easternAndCentral,
  "US-TX": centralAndMountain,
  "US-UT": mountain,
  "US-VT": eastern,
  "US-VA": eastern,
  "US-WA": pacific,
  "US-WV": eastern,
  "US-WI": central,
  "US-WY": mountain,
  "US-PR": ["America/Puerto_Rico"],
  "US-VI": ["America/St_Thomas"],
  "US-GU": ["Pacific/Guam"],
  "US-AS": ["Pacific/Pago_Pago"],
  "US-MP": ["Pacific/Saipan"],
  "CA-AB": ["America/Edmonton"],
  "CA-BC": ["America/Vancouver", "America/Edmonton", "America/Fort_Nelson"],
  "CA-MB": ["America/Winnipeg"],
  "CA-NB": ["America/Moncton"],
  "CA-NL": ["America/St_Johns", "America/Goose_Bay"],
  "CA-NS": ["America/Halifax"],
  "CA-NT": ["America/Edmonton"],
  "CA-NU": ["America/Iqaluit", "America/Winnipeg", "America/Edmonton", "America/Atikokan"],
  "CA-ON": ["America/Toronto", "America/Winnipeg", "America/Atikokan"],
  "CA-PE": ["America/Halifax"],
  "CA-QC": ["America/Toronto", "America/Halifax"],
  "CA-SK": ["America/Regina", "America/Edmonton"],
  "CA-YT": ["America/Whitehorse"],
};

/** IANA names that lie in the United States besides those in `zonesByPlace`: a contact's own zone is evidence of the country too. */
const otherUsZones = [
  "America/Juneau",
  "America/Sitka",
  "America/Metlakatla",
  "America/Yakutat",
  "America/Nome",
  "America/Menominee",
  "America/Louisville",
  "America/Kentucky/Louisville",
  "America/Kentucky/Monticello",
  "America/Indianapolis",
  "America/Fort_Wayne",
  "America/Indiana/Indianapolis",
  "America/Indiana/Vincennes",
  "America/Indiana/Winamac",
  "America/Indiana/Marengo",
  "America/Indiana/Petersburg",
  "America/Indiana/Vevay",
  "America/Indiana/Tell_City",
  "America/Indiana/Knox",
  "America/Knox_IN",
  "America/North_Dakota/Center",
  "America/North_Dakota/New_Salem",
  "America/North_Dakota/Beulah",
  "America/Shiprock",
  "America/Atka",
  "Pacific/Samoa",
  "Navajo",
  "EST5EDT",
  "CST6CDT",
  "MST7MDT",
  "PST8PDT",
];
const usZones = new Set([
  ...Object.entries(zonesByPlace).flatMap(([place, zones]) => (place.startsWith("US-") ? zones : [])),
  ...otherUsZones,
]);
export const isUsZone = (zone: string): boolean => usZones.has(zone) || zone.startsWith("US/");

/** First three digits of a ZIP, from–to inclusive, and the state. Source: USPS labeling list L002, as commonly tabulated. */
const zipRanges = `005 005 NY|006 007 PR|008 008 VI|009 009 PR|010 027 MA|028 029 RI|030 038 NH|039 049 ME|050 054 VT|055 055 MA|056 059 VT
060 069 CT|070 089 NJ|100 149 NY|150 196 PA|197 199 DE|200 200 DC|201 201 VA|202 205 DC|206 219 MD|220 246 VA|247 268 WV|270 289 NC
290 299 SC|300 319 GA|320 339 FL|341 342 FL|344 344 FL|346 347 FL|349 349 FL|350 369 AL|370 385 TN|386 397 MS|398 399 GA|400 427 KY
430 459 OH|460 479 IN|480 499 MI|500 528 IA|530 549 WI|550 567 MN|569 569 DC|570 577 SD|580 588 ND|590 599 MT|600 629 IL|630 658 MO
660 679 KS|680 693 NE|700 714 LA|716 729 AR|730 732 OK|733 733 TX|734 749 OK|750 799 TX|800 816 CO|820 831 WY|832 838 ID|840 847 UT
850 865 AZ|870 884 NM|885 885 TX|889 898 NV|900 966 CA|967 968 HI|969 969 GU|970 979 OR|980 994 WA|995 999 AK`;
const stateByZip3 = new Map<string, string>();
for (const line of zipRanges.split(/[|\n]/)) {
  const [from = "", to = "", state = ""] = line.split(" ");
  for (let zip = Number(from); zip <= Number(to); zip++) stateByZip3.set(String(zip).padStart(3, "0"), state);
}

/** `33101`, `33101-1234` → `US-FL`; military (APO/FPO) and unassigned prefixes → undefined. */
export function placeOfZip(postalCode: string): string | undefined {
  const match = /^(\d{3})\d{2}(-?\d{4})?$/.exec(postalCode.trim());
  const state = match?.[1] === undefined ? undefined : stateByZip3.get(match[1]);
  return state && !isMilitary(postalCode.trim()) ? `US-${state}` : undefined;
}
/** 090–098 Europe, 340 Americas, 962–966 Pacific: an address that says nothing about where the person is. */
const isMilitary = (zip: string): boolean => /^(09\d|340|96[2-6])/.test(zip);

const provinceByLetter: Readonly<Record<string, readonly string[]>> = {
  A: ["NL"],
  B: ["NS"],
  C: ["PE"],
  E: ["NB"],
  G: ["QC"],
  H: ["QC"],
  J: ["QC"],
  K: ["ON"],
  L: ["ON"],
  M: ["ON"],
  N: ["ON"],
  P: ["ON"],
  R: ["MB"],
  S: ["SK"],
  T: ["AB"],
  V: ["BC"],
  X: ["NT", "NU"],
  Y: ["YT"],
};
/** `M5V 3L9` → [`CA-ON`]; not a Canadian code → []. */
export function placesOfCanadianCode(postalCode: string): readonly string[] {
  const match = /^([A-Z])\d[A-Z] ?\d[A-Z]\d$/.exec(postalCode.trim().toUpperCase());
  return (match?.[1] === undefined ? undefined : provinceByLetter[match[1]])?.map((code) => `CA-${code}`) ?? [];
}

const placeByText = new Map<string, string>();
for (const [code, name] of Object.entries(provinceNames))
  placeByText.set(name.toLowerCase(), `CA-${code}`).set(code.toLowerCase(), `CA-${code}`);
for (const [code, name] of Object.entries(usStateNames))
  placeByText.set(name.toLowerCase(), `US-${code}`).set(code.toLowerCase(), `US-${code}`);

/** `fl`, `Florida`, `US-FL`, `Ontario` → jurisdiction. Without a country a code is read as the state or province it names in the US or Canada. */
export function placeOfState(state: string, country?: string): string | undefined {
  const text = state
    .trim()
    .toLowerCase()
    .replace(/^(us|ca)-(?=[a-z]{2}$)/, "");
  const place = placeByText.get(text);
  return place && (country === undefined || place.startsWith(`${country}-`)) ? place : undefined;
}
