/**
 * What single cells mean: names, amounts, counts, countries, yes and no. Pure; what cannot be read is an answer (`null`), not an error.
 */
import { domainToASCII } from "node:url";
import { getCountries } from "libphonenumber-js/max";
import { getDomain } from "tldts";

/** Mailbox providers: an address there says nothing about an employer. */
const freemailNames =
  /^(gmail|googlemail|yahoo|ymail|rocketmail|hotmail|outlook|live|msn|icloud|me|mac|aol|gmx|web|proton|protonmail|pm|mail|yandex|ya|qq|163|126|sina|naver|hey|fastmail|zoho|tutanota|t-online|freenet|orange|wanadoo|free|laposte|libero|comcast|verizon|att|sbcglobal|bellsouth|cox|btinternet|mailinator)\.(com|net|org|de|fr|it|es|ch|at|ru|me|us|ca|in|cn|nl|be|dk|se|no|pl|co\.[a-z]{2}|com\.[a-z]{2}|co)$/;

export const isFreemail = (domain: string): boolean => freemailNames.test(domain);

/** The registrable domain of a URL, host or e-mail domain, in A-labels: `https://www.shop.acme.co.uk/x` → `acme.co.uk`. */
export function registrableDomain(text: string): string | null {
  const domain = getDomain(text);
  return (domain && domainToASCII(domain)) || null;
}

const particles = new Set(
  "van von de del della di da dos das du la le el al bin bint ibn abu ter ten den der af zu zur st".split(" "),
);
const suffixes = /^(jr|sr|ii|iii|iv|phd|md|mba|esq|cpa)\.?$/i;
const honorifics = /^(mr|mrs|ms|miss|dr|prof|sir|mx|herr|frau|hr|fr)\.?$/i;

export interface PersonName {
  readonly name: string | null;
  readonly first: string | null;
  readonly last: string | null;
}

/**
 * Completes a name from the parts that are there. `Smith, Ada` and `Ada Smith` both split; particles stay with the family name
 * (`Ludwig van Beethoven`); a name without a space (`田中太郎`) is not guessed apart.
 */
export function personName(name: string | null, first: string | null, last: string | null): PersonName {
  if (first !== null || last !== null) {
    return { name: name ?? [first, last].filter((part) => part !== null).join(" "), first, last };
  }
  if (name === null) return { name, first, last };
  const comma = /^([^,]+),\s*([^,]+)$/.exec(name);
  const [, family, given] = comma ?? [];
  if (family !== undefined && given !== undefined && !suffixes.test(given)) {
    return { name: `${given} ${family}`, first: given, last: family };
  }
  const words = name
    .replaceAll(",", " ")
    .split(" ")
    .filter((word) => word !== "");
  while (words.length > 2 && honorifics.test(words[0] ?? "")) words.shift();
  let end = words.length;
  while (end > 2 && suffixes.test(words[end - 1] ?? "")) end -= 1;
  if (end < 2) return { name, first: null, last: null };
  let start = end - 1;
  while (start > 1 && particles.has((words[start - 1] ?? "").toLowerCase())) start -= 1;
  return { name, first: words.slice(0, start).join(" "), last: words.slice(start, end).join(" ") };
}

const scale: Readonly<Record<string, number>> = {
  k: 1e3,
  thousand: 1e3,
  m: 1e6,
  mm: 1e6,
  mio: 1e6,
  million: 1e6,
  b: 1e9,
  bn: 1e9,
  mrd: 1e9,
  billion: 1e9,
  t: 1e12,
  trillion: 1e12,
};

/** `$1.2B`, `1,200,000,000`, `1.200.000.000 €`, `1.2 billion`; of a range (`10M-50M`) its lower end. Null: not an amount. */
export function amount(text: string): number | null {
  const cleaned = text.toLowerCase().replace(/(usd|eur|gbp|us\$)|[$€£¥\s~≈+]/g, "");
  const match = /^(\d[\d.,']*)([a-z]*)(?:(?:-|–|to)\d.*)?$/.exec(cleaned);
  const [, digits, unit] = match ?? [];
  if (digits === undefined) return null;
  // One mark followed by other than three digits is a decimal point; marks before exactly three digits group thousands.
  const grouped = /^\d{1,3}([.,'])\d{3}(\1\d{3})*$/.test(digits) && (unit === "" || unit === undefined);
  const plain = grouped ? digits.replace(/[.,']/g, "") : digits.replace(/[,'](?=\d{3}(\D|$))/g, "").replace(",", ".");
  const factor = unit === "" || unit === undefined ? 1 : scale[unit];
  const value = Number(plain) * (factor ?? Number.NaN);
  return Number.isFinite(value) && value < 1e15 ? Math.round(value * 100) / 100 : null;
}

/** Yes or no; null when it is neither. */
export function yesOrNo(text: string): boolean | null {
  if (/^(true|yes|y|1|x|✓|ja|oui|si|sí|opted[ _-]?in|granted|subscribed)$/i.test(text)) return true;
  if (/^(false|no|n|0|-|nein|non|opted[ _-]?out|denied|revoked|unsubscribed|none)$/i.test(text)) return false;
  return null;
}

const countryByName = new Map<string, string>([
  ["usa", "US"],
  ["u.s.", "US"],
  ["u.s.a.", "US"],
  ["united states of america", "US"],
  ["uk", "GB"],
  ["great britain", "GB"],
  ["england", "GB"],
  ["scotland", "GB"],
  ["wales", "GB"],
]);
for (const locale of ["en", "de", "fr", "es"]) {
  const names = new Intl.DisplayNames([locale], { type: "region" });
  for (const code of getCountries()) countryByName.set((names.of(code) ?? code).toLowerCase(), code);
}
const countryCodes = new Set<string>(getCountries());

/** ISO 3166 alpha-2 of a code or a name in English, German, French or Spanish; null when it is none. */
export function countryCode(text: string): string | null {
  const upper = text.toUpperCase();
  return countryByName.get(text.toLowerCase()) ?? (countryCodes.has(upper) ? upper : null);
}

/** An http or https address; a scheme is added where it is missing. Null for every other scheme, so that no link can run a script. */
export function webAddress(text: string): string | null {
  const url = URL.parse(/^[a-z][a-z0-9+.-]*:/i.test(text) && !/^[^/]+:\d+/.test(text) ? text : `https://${text}`);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:") || !url.hostname.includes("."))
    return null;
  return url.href.replace(/\/$/, "");
}
