/**
 * Whatever the OpenAPI document lets a caller name (in a path, a query, a body, a cursor, an idempotency key), naming what is another
 * tenant's is answered like naming what never was: same status, same words, same statements; and nothing of the other is touched.
 */
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as z from "zod";
import { encodeCursor } from "../../../core/kernel/page.ts";
import { type ApiScope, apiScopes } from "../../../core/tenancy/index.ts";
import { isPaged } from "../../../functions/api/cursors.ts";
import { type Endpoint, pathFields } from "../../../functions/api/endpoint.ts";
import { endpoints } from "../../../functions/api.ts";
import { type Catalogue, readCatalogue } from "../../isolation/catalogue.ts";
import { fingerprint } from "../../isolation/functions.ts";
import { counter } from "../../support/statements.ts";
import { arrangeEverything, type Known } from "./everything.ts";
import { bodies, exampleOf, resourceOf, withIds } from "./ids.ts";
import { type Answer, type Client, missingId, testApi } from "./support.ts";

const counted = counter();

const api = await testApi((db) => db.withPlugin(counted.plugin));
const watcher = new pg.Client(api.database.ownerUrl);
let catalogue: Catalogue;
let owner: Client;
/** Two who ask: each has what the owner has, so that a question differs in the named id only. */
let asking: readonly { readonly client: Client; readonly known: Known }[];
let known: Known;
let before = "";

const ofOwner = () =>
  fingerprint({ client: watcher }, catalogue, {
    tenantId: owner.tenant.tenantId,
    organizationId: owner.tenant.organizationId,
    rows: new Map(),
  });

beforeAll(async () => {
  await watcher.connect();
  catalogue = await readCatalogue(watcher);
  const made = await Promise.all(
    [0, 1, 2].map(async () => {
      const client = await api.client();
      return { client, known: await arrangeEverything(api, client) };
    }),
  );
  const [first, ...others] = made;
  if (!first) throw new Error("nobody was made");
  owner = first.client;
  known = first.known;
  asking = others;
  before = await ofOwner();
}, 60_000);

afterAll(async () => {
  // After all that was asked in this file.
  expect(await ofOwner()).toBe(before);
  await watcher.end();
});

interface Asked {
  readonly answer: Answer;
  readonly statements: number;
}

async function ask(
  client: Client,
  { method, path }: Endpoint,
  ids: (name: string) => string,
  given?: object,
): Promise<Asked> {
  const url = path.replaceAll(/\{(\w+)\}/g, (_all, name: string) => ids(name));
  const started = counted.statements();
  const fields = Object.entries(given ?? {}).map(([name, value]): [string, string] => [name, String(value)]);
  const query = new URLSearchParams(fields).toString();
  const answer =
    method === "get" || method === "delete"
      ? await client[method](query === "" ? url : `${url}?${query}`)
      : await client[method](url, given ?? {});
  return { answer, statements: counted.statements() - started };
}

const anyId = /\b[a-z]+_[0-9A-HJKMNP-TV-Z]{26}\b/g;
const said = ({ text }: Answer): string =>
  text.replaceAll(anyId, "<id>").replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "<time>");
const nameOf = ({ method, path }: Endpoint) => `${method} ${path}`;

describe("an id in the path", () => {
  test.each(withIds.map((one) => [nameOf(one), one] as const))(
    "costs %s the same whoever's it is",
    async (name, one) => {
      const [left, right] = asking;
      if (!left || !right) throw new Error("nobody asks");
      const foreign = known[resourceOf(one.path)] ?? "";
      // Once for what is prepared at the first call.
      await ask(left.client, one, (field) => exampleOf(one.path, field), bodies[name]);
      const theirs = await ask(left.client, one, () => foreign, bodies[name]);
      const nobodys = await ask(right.client, one, (field) => exampleOf(one.path, field), bodies[name]);
      expect([theirs.answer.status, nobodys.answer.status]).toEqual([404, 404]);
      expect(said(theirs.answer)).toBe(said(nobodys.answer));
      expect(theirs.statements).toBe(nobodys.statements);
      expect(theirs.statements).toBeGreaterThan(0);
    },
  );
});

type Schema = Readonly<Record<string, unknown>>;

/** Everything of the form of a schema that names a row by an id: `make(id)` is the value that names it. */
function namings(
  schema: Schema,
  example: unknown,
): readonly { readonly prefix: string; readonly make: (id: string) => unknown }[] {
  const branches = [schema["anyOf"], schema["oneOf"], schema["allOf"]].flatMap((some) =>
    Array.isArray(some) ? (some as Schema[]) : [],
  );
  const found = branches.flatMap((branch) => namings(branch, example));
  const [, prefix] = /^\^([a-z]+)_\[/.exec(String(schema["pattern"] ?? "")) ?? [];
  if (prefix !== undefined) return [...found, { prefix, make: (id) => id }];
  if (schema["type"] === "array") {
    const inside = namings((schema["items"] ?? {}) as Schema, Array.isArray(example) ? example[0] : undefined);
    return [...found, ...inside.map(({ prefix, make }) => ({ prefix, make: (id: string) => [make(id)] }))];
  }
  const base = typeof example === "object" && example !== null ? (example as Record<string, unknown>) : {};
  const allowed = Object.keys((schema["properties"] ?? {}) as object);
  const kept = Object.fromEntries(Object.entries(base).filter(([name]) => allowed.includes(name)));
  const inside = Object.entries((schema["properties"] ?? {}) as Record<string, Schema>).flatMap(([name, property]) =>
    namings(property, base[name]).map(({ prefix, make }) => ({
      prefix,
      make: (id: string) => ({ ...kept, [name]: make(id) }),
    })),
  );
  return [...found, ...inside];
}

const named = endpoints.flatMap((one) => {
  const schema = z.toJSONSchema(one.input, { unrepresentable: "any", io: "input" }) as Schema;
  const inPath = new Set(pathFields(one.path));
  const properties = Object.entries((schema["properties"] ?? {}) as Record<string, Schema>).filter(
    ([name]) => !inPath.has(name),
  );
  const example = { ...bodies[nameOf(one)], ...one.example };
  return namings({ ...schema, properties: Object.fromEntries(properties) }, example).map((naming) => {
    const where = Object.keys(naming.make("x") as object).filter(
      (name) =>
        JSON.stringify((naming.make("x") as Record<string, unknown>)[name]) !==
        JSON.stringify((example as Record<string, unknown>)[name]),
    );
    return { one, naming, label: `${nameOf(one)} ${where.join(".")} (${naming.prefix}_)` };
  });
});

describe("an id in a query or a body", () => {
  test("is found in many operations", () => {
    expect(named.length).toBeGreaterThan(20);
  });

  test.each(named.map((one) => [one.label, one] as const))(
    "%s: another tenant's is answered as one that never was",
    async (_label, { one, naming }) => {
      const foreign = Object.values(known).find((id) => id.startsWith(`${naming.prefix}_`)) ?? missingId(naming.prefix);
      const [left, right] = asking;
      if (!left || !right) throw new Error("nobody asks");
      const own = (who: typeof left) => (): string => who.known[resourceOf(one.path)] ?? "";
      const theirs = await ask(left.client, one, own(left), naming.make(foreign) as object);
      const nobodys = await ask(right.client, one, own(right), naming.make(missingId(naming.prefix)) as object);
      expect(theirs.answer.status, theirs.answer.text).toBe(nobodys.answer.status);
      expect(theirs.answer.status).toBeLessThan(500);
      if (theirs.answer.status >= 400) expect(said(theirs.answer)).toBe(said(nobodys.answer));
      expect(theirs.statements).toBe(nobodys.statements);
      for (const id of Object.values(known)) if (id !== foreign) expect(theirs.answer.text).not.toContain(id);
    },
  );
});

describe("a key", () => {
  test("without the scope of an operation is refused by each before anything is looked up, in the same words for any id", async () => {
    for (const one of endpoints) {
      const scopes = apiScopes.filter((scope) => scope !== "*" && scope !== one.scope);
      const client = await clientWith(scopes);
      const foreign = await ask(
        client,
        one,
        (field) => known[resourceOf(one.path)] ?? exampleOf(one.path, field),
        bodies[nameOf(one)],
      );
      const missing = await ask(client, one, (field) => exampleOf(one.path, field), bodies[nameOf(one)]);
      expect([foreign.answer.status, foreign.answer.body.code], nameOf(one)).toEqual([403, "auth.scope_missing"]);
      expect(said(foreign.answer)).toBe(said(missing.answer));
      expect(foreign.statements).toBe(missing.statements);
    }
  });

  test("that is missing or unknown is refused by every operation", async () => {
    for (const { method, path } of endpoints) {
      const url = path.replaceAll(/\{\w+\}/g, known[resourceOf(path)] ?? "x");
      const bare = await api.app.request(url, { method: method.toUpperCase() });
      const wrong = await api.app.request(url, {
        method: method.toUpperCase(),
        headers: { authorization: "Bearer or_live_nobody" },
      });
      expect([bare.status, wrong.status], path).toEqual([401, 401]);
    }
  });

  const made = new Map<string, Promise<Client>>();
  /** A key of the first who asks, one per set of scopes. */
  function clientWith(scopes: readonly ApiScope[]): Promise<Client> {
    const [left] = asking;
    const name = scopes.join();
    const client = made.get(name) ?? api.client({ scopes, ...(left ? { of: left.client } : {}) });
    made.set(name, client);
    return client;
  }
});

describe("a cursor", () => {
  const lists = endpoints.filter((one) => isPaged(one) && one.method === "get" && pathFields(one.path).length === 0);

  test.each(lists.map((one) => [one.path, one] as const))(
    "of another tenant is refused by %s like one that nobody gave out",
    async (path, one) => {
      const [left] = asking;
      if (!left) throw new Error("nobody asks");
      const theirs = await owner.get(`${path}?${new URLSearchParams({ ...one.example, limit: "1" })}`);
      const unsigned = encodeCursor(known[resourceOf(path)] ?? missingId("lead"));
      const asked: Asked[] = [];
      for (const cursor of [theirs.body?.nextCursor ?? unsigned, unsigned, "nonsense"])
        asked.push(await ask(left.client, one, () => "", { ...one.example, cursor }));
      for (const { answer, statements: cost } of asked) {
        expect([answer.status, answer.body.code], answer.text).toEqual([422, "page.cursor_invalid"]);
        expect(cost).toBe(asked[0]?.statements);
      }
    },
  );

  test("of one list is refused by every other", async () => {
    const [left] = asking;
    if (!left) throw new Error("nobody asks");
    await left.client.post("/v1/leads", { firstName: "Lin", email: "lin@example.com" });
    const { nextCursor } = (await left.client.get("/v1/leads?limit=1")).body;
    expect((await left.client.get(`/v1/leads?cursor=${nextCursor}`)).status).toBe(200);
    for (const { path, example } of lists.filter((one) => one.path !== "/v1/leads")) {
      const { status, body } = await left.client.get(
        `${path}?${new URLSearchParams({ ...example, cursor: nextCursor })}`,
      );
      expect([status, body.code], path).toEqual([422, "page.cursor_invalid"]);
    }
  });
});

describe("an idempotency key", () => {
  test("that another tenant has used is free, for the same request and for another", async () => {
    const key = { "idempotency-key": "shared" };
    const body = { firstName: "Ida", email: "ida@example.com" };
    const [left] = asking;
    if (!left) throw new Error("nobody asks");
    const third = await api.client();
    const first = await third.post("/v1/leads", body, key);
    const same = await left.client.post("/v1/leads", body, key);
    expect([first.status, same.status]).toEqual([201, 201]);
    expect(same.headers.get("idempotent-replayed")).toBeNull();
    expect(same.body.lead.id).not.toBe(first.body.lead.id);
    const other = await (await api.client()).post("/v1/leads", { ...body, firstName: "Eve" }, key);
    expect(other.status).toBe(201);
  });
});
