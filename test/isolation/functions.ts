/**
 * Functions that run as their owner, called with everything a stranger may know: ids, addresses, keys.
 * Invariant: a call is judged by what it returned and by a fingerprint of every row of the other tenant, not by what the function promises.
 */
import type { Cell, Scene, Visitor } from "./attacks.ts";
import { as, fenced, none, open } from "./attacks.ts";
import type { Catalogue, Routine } from "./catalogue.ts";
import { type Party, quoted } from "./rows.ts";

/** A hash over everything a party owns: equal before and after means that nothing of it was touched. */
export async function fingerprint(
  { client }: Pick<Scene, "client">,
  { tables }: Pick<Catalogue, "tables">,
  party: Party,
): Promise<string> {
  const parts = tables
    .filter(({ owner, kind }) => owner !== null && kind !== "partition")
    .map(
      ({ name, key, owner }) =>
        `select '${name}' as t, md5(coalesce(string_agg(md5(x::text), '' order by md5(x::text)), '')) as h from ${quoted(name)} x where "${key}" = $${owner === "tenant" ? 1 : 2}`,
    );
  const { rows } = await client.query<{ hash: string }>(
    `select md5(string_agg(t || h, ',' order by t)) as hash, $1::text, $2::text from (${parts.join(" union all ")}) all_of_it`,
    [party.tenantId, party.organizationId],
  );
  return rows[0]?.hash ?? "";
}

const words = (party: Party, pick: (column: string) => boolean): string[] => [
  ...new Set(
    [...party.rows.values()].flatMap((row) =>
      Object.entries(row).flatMap(([column, value]) => (pick(column) && typeof value === "string" ? [value] : [])),
    ),
  ),
];

const isId = (column: string) => column === "id" || column.endsWith("_id");
const isAddress = (column: string) => /email|address|phone|domain|suppression_key/.test(column);

/** What a stranger would pass for an argument of this type. */
function values(type: string, theirs: Party, { words: named }: Routine): readonly unknown[] {
  const ids = words(theirs, isId);
  const addresses = words(theirs, isAddress);
  switch (type) {
    case "text":
      return [
        theirs.tenantId,
        ids[0],
        addresses[0],
        words(theirs, (column) => column === "id").find((id) => id.startsWith("chc_")),
        ...named.slice(0, 12),
        "unsubscribed",
      ];
    case "text[]":
      return [addresses, ids];
    case "jsonb[]":
      return [addresses.slice(0, 1).map((email) => ({ email, tenant_id: theirs.tenantId }))];
    case "jsonb":
      return [{ tenant_id: theirs.tenantId, ids }];
    case "bytea":
      return words(theirs, (column) => column === "key_hash");
    case "integer":
    case "bigint":
      return [1_000];
    case "boolean":
      return [true];
    case "regclass":
      return ["public.leads"];
    case "timestamp with time zone":
    case "date":
      return ["2026-03-02T12:00:00Z"];
    default:
      return [null];
  }
}

const maxCalls = 120;

const product = (choices: readonly (readonly unknown[])[]): unknown[][] =>
  choices.reduce<unknown[][]>(
    (rest, some) => rest.flatMap((one) => some.map((value) => [...one, value])).slice(0, maxCalls),
    [[]],
  );

/** Ids of ours are names, never a permission: they are what the sweeper's functions are for. */
const idShaped = /^[a-z]+_[0-9A-Z]{26}X?$/;

export async function routine(scene: Scene, catalogue: Catalogue, visitor: Visitor, it: Routine): Promise<Cell> {
  if (it.returns === "trigger") return none("a trigger's: cannot be called");
  const { rows } = await scene.client.query<{ may: boolean }>(
    "select has_function_privilege($1, $2, 'execute') as may",
    [visitor.role, it.signature],
  );
  if (!rows[0]?.may) return fenced("refused");
  if (visitor.role === it.owner) return none("its owner: reaches what it reaches without it");
  const { theirs } = scene;
  const before = await fingerprint(scene, catalogue, theirs);
  const secrets = new Set([...words(theirs, () => true)].filter((word) => word.length > 8));
  const holes = it.argTypes.map((type, i) => `$${i + 1}::${type}`).join(", ");
  let refused = 0;
  const calls = product(it.argTypes.map((type) => values(type, theirs, it)));
  for (const call of calls) {
    const given = call.map((value) =>
      Array.isArray(value)
        ? value.map((one) => (typeof one === "object" ? JSON.stringify(one) : one))
        : value !== null && typeof value === "object"
          ? JSON.stringify(value)
          : value,
    );
    const result = await as(scene, visitor, `select to_jsonb(r) as r from ${quoted(it.name)}(${holes}) r`, given, () =>
      fingerprint(scene, catalogue, theirs),
    );
    if (result.refusal) {
      refused++;
      continue;
    }
    if (result.seen !== before)
      return open(`changes rows of another tenant when called with ${JSON.stringify(call).slice(0, 200)}`);
    const told = result.rows
      .flatMap(({ r }) => (typeof r === "object" && r !== null ? Object.values(r) : [r]))
      .filter((value) => typeof value === "string");
    const leaked = told.find((value) =>
      it.owner === "outrider_sweeper"
        ? !idShaped.test(value)
        : secrets.has(value) && !JSON.stringify(call).includes(value),
    );
    if (leaked !== undefined) return open(`tells ${leaked} when called with ${JSON.stringify(call).slice(0, 200)}`);
  }
  return fenced(refused === calls.length ? "refused" : it.owner === "outrider_sweeper" ? "ids only" : "no effect");
}
