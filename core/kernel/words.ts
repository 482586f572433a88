/**
 * What to say about input that fits no schema, in the words of whoever wrote it. Invariant: an unknown name is answered with the known one it
 * most resembles, or with all that are known; never with a zod expression.
 */
import * as z from "zod";

const letters = (name: string): string => name.toLowerCase().replaceAll(/[^\p{L}\p{N}]/gu, "");

/** How many slips (a letter too many, too few, wrong, or two swapped) lie between two words: optimal string alignment. */
function slips(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row.push(
        Math.min(
          (last[j] ?? 0) + 1,
          (row[j - 1] ?? 0) + 1,
          (last[j - 1] ?? 0) + (same ? 0 : 1),
          swapped ? (before[j - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY,
        ),
      );
    }
    [before, last] = [last, row];
  }
  return last[b.length] ?? 0;
}

/** Longer names are nobody's slip of a field's name, and comparing costs their length squared. */
const maxLength = 60;

/** The known name that was probably meant: at most one slip in three letters away; case and separators do not count. */
export function nearest(given: string, known: readonly string[]): string | undefined {
  if (given.length > maxLength) return undefined;
  const word = letters(given);
  const near = known
    .map((name) => ({ name, far: slips(word, letters(name)) }))
    .filter(({ name, far }) => far <= Math.floor(Math.min(word.length, letters(name).length) / 3))
    .toSorted((a, b) => a.far - b.far);
  return near[0]?.name;
}

/** Of a field that is not known here. */
export function unknownField(given: string, known: readonly string[]): string {
  const meant = nearest(given, known);
  return meant === undefined
    ? `unknown field; remove it or correct its name, known here: ${known.join(", ") || "none"}`
    : `unknown field; did you mean ${meant}?`;
}

const typeNames: Readonly<Record<string, string>> = {
  int: "a whole number",
  number: "a number",
  string: "a text",
  boolean: "true or false",
  array: "a list",
  object: "an object",
  record: "an object",
};

/** What a size is counted in: `expected at most 50 entries`. */
const unitOf: Readonly<Record<string, string>> = { string: " characters", array: " entries", set: " entries" };

/** The error map for parsing what people write: `schema.safeParse(input, { error: inputWords })`. A schema's own words win over it. */
export const inputWords: z.core.$ZodErrorMap = (issue) => {
  if (issue.code === "invalid_value" && issue.values.length > 1) {
    const values = issue.values.map(String);
    const meant = typeof issue.input === "string" ? nearest(issue.input, values) : undefined;
    return `expected one of ${values.join(", ")}${meant === undefined ? "" : ` (did you mean ${meant}?)`}`;
  }
  if (issue.code === "invalid_type") {
    const wanted = typeNames[issue.expected];
    return wanted === undefined ? undefined : `expected ${wanted}`;
  }
  if (issue.code === "too_big") return `expected at most ${issue.maximum}${unitOf[issue.origin] ?? ""}`;
  if (issue.code === "too_small") return `expected at least ${issue.minimum}${unitOf[issue.origin] ?? ""}`;
  if (issue.code === "unrecognized_keys") {
    const known = issue.inst instanceof z.ZodObject ? Object.keys(issue.inst.shape) : [];
    return issue.keys.map((key) => unknownField(key, known)).join("\n");
  }
  if (issue.code === "invalid_union") {
    // The form that was meant is the one that goes furthest along with it.
    const [first, second] = issue.errors.flat().toSorted((a, b) => b.path.length - a.path.length);
    if (first === undefined || first.path.length <= (second?.path.length ?? 0)) return undefined;
    const [name] = first.path;
    return typeof name === "number" ? first.message : `${String(name)}: ${first.message}`;
  }
  return undefined;
};

/** Where an issue of a schema parsed with `inputWords` lies and what to say: one for each unknown field, at its own path. */
export const wordsOf = (
  issue: z.core.$ZodIssue,
): { readonly path: readonly PropertyKey[]; readonly message: string }[] => {
  if (issue.code !== "unrecognized_keys") return [{ path: issue.path, message: issue.message }];
  const lines = issue.message.split("\n");
  return issue.keys.map((key, index) => ({
    path: [...issue.path, key],
    message: lines[index] ?? issue.message,
  }));
};
