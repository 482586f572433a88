/**
 * Who is written to: invented people at reserved domains, in a country where it is a good time for a text now.
 *
 * Invariant: a person's addresses follow from tenant and number alone, so the referee can name every one of them.
 */
export interface Person {
  readonly email: string;
  readonly phone: string;
}

interface Country {
  readonly code: string;
  readonly zone: string;
  /** Of a mobile number; seven digits follow. */
  readonly prefix: string;
}

/** Around the globe, so that it is a quarter past nine to five in one of them whenever a run starts. */
const countries: readonly Country[] = [
  { code: "GB", zone: "Europe/London", prefix: "+44740" },
  { code: "PE", zone: "America/Lima", prefix: "+5190" },
  { code: "NZ", zone: "Pacific/Auckland", prefix: "+6421" },
  { code: "JP", zone: "Asia/Tokyo", prefix: "+81900" },
  { code: "IN", zone: "Asia/Kolkata", prefix: "+91900" },
];

const hourIn = (zone: string, at: Date): number =>
  Number(new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", hourCycle: "h23" }).format(at));

/** A country in which texts may leave now (09:00 to 20:00 by the engine's default) and for three hours more. */
export function openCountry(now: Date): Country {
  const open = countries.find(({ zone }) => {
    const hour = hourIn(zone, now);
    return hour >= 10 && hour < 17;
  });
  const fallback = countries.find(({ zone }) => hourIn(zone, now) >= 9 && hourIn(zone, now) < 18);
  const found = open ?? fallback;
  if (!found) throw new Error(`no country of the audience is awake at ${now.toISOString()}`);
  return found;
}

/** @param tenant 0, 1, 2 … @param n 0, 1, 2 … */
export function person(country: Country, tenant: number, n: number): Person {
  const digits = String(tenant * 1_000_000 + n).padStart(7, "0");
  return { email: `t${tenant}p${n}@fault.example`, phone: `${country.prefix}${digits}` };
}

/** One piece of a list, as a file. */
export function csvOf(country: Country, tenant: number, from: number, to: number): string {
  const lines = ["Email,First Name,Phone,Country,Time Zone,SMS Consent,SMS Consent Text"];
  for (let n = from; n < to; n++) {
    const { email, phone } = person(country, tenant, n);
    lines.push(`${email},N${n},${phone},${country.code},${country.zone},yes,I agree to receive texts.`);
  }
  return `${lines.join("\n")}\n`;
}
