/**
 * Values as text. Invariant: nothing that came from outside can move the cursor, recolour the terminal or reverse what is read: control
 * and direction characters are shown, not obeyed.
 */
const unsafe = /[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

export const printable = (text: string): string =>
  text.replace(unsafe, (character) =>
    character === "\n" || character === "\t"
      ? " "
      : `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`,
  );

const instant = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

/** Swedish writes instants as ISO 8601 does. */
const localTime = new Intl.DateTimeFormat("sv-SE", {
  year: "numeric",
  month: "2-digit",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  timeZoneName: "short",
});

/** A value of the API in one cell. @param local true: instants in this machine's zone, with its name; false: as they came */
export function cell(value: unknown, local: boolean): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "string") {
    return local && instant.test(value) ? localTime.format(new Date(value)) : printable(value);
  }
  if (Array.isArray(value) && value.every((item) => typeof item !== "object")) return printable(value.join(", "));
  if (typeof value !== "object") return String(value);
  const entries = Object.entries(value);
  const isFlat = !Array.isArray(value) && entries.every(([, inner]) => typeof inner === "number");
  return printable(isFlat ? entries.map(([name, n]) => `${name} ${n}`).join(", ") : JSON.stringify(value));
}

/** `rows.accepted` of a nested object. */
export const at = (row: unknown, path: string): unknown =>
  path
    .split(".")
    .reduce<unknown>(
      (value, name) =>
        typeof value === "object" && value !== null && Object.hasOwn(value, name)
          ? (value as Record<string, unknown>)[name]
          : undefined,
      row,
    );

/** `startedAt` → `started at` */
export const title = (name: string): string =>
  (name.split(".").at(-1) ?? name).replace(/(?<=[a-z0-9])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
