/**
 * The isolation matrix: every object of the catalogue × every kind of statement × every visitor.
 * Invariant: there is no blank cell; what does not apply says why.
 */
import type pg from "pg";
import * as attack from "./attacks.ts";
import { type Cell, none, type Scene, type Visitor, visitors, worst } from "./attacks.ts";
import { type Catalogue, installation, readCatalogue, type Table } from "./catalogue.ts";
import { routine } from "./functions.ts";
import * as keys from "./key-attacks.ts";
import { type Party, quoted, type Row, Rows } from "./rows.ts";

export const verbs = [
  "select",
  "insert",
  "update",
  "delete",
  "foreign key",
  "unique",
  "on conflict",
  "view",
  "partition",
  "function",
  "copy",
  "truncate",
] as const;
export type Verb = (typeof verbs)[number];

export interface Line {
  readonly object: string;
  readonly kind: "table" | "partitioned" | "partition" | "view" | "function";
  readonly visitor: Visitor["name"];
  readonly cells: Readonly<Record<Verb, Cell>>;
}

/** Unique across tenants on purpose: a slug names one tenant of the installation. */
const deliberate = ["tenants_slug_key"];

const every = (cell: Cell): Record<Verb, Cell> =>
  Object.fromEntries(verbs.map((verb) => [verb, cell])) as Record<Verb, Cell>;

async function ofTable(
  scene: Scene,
  visitor: Visitor,
  table: Table,
  all: readonly Table[],
): Promise<Record<Verb, Cell>> {
  if (table.owner === null) return { ...(await ofNobody(scene, visitor, table)) };
  const parts = all.filter(({ name }) => table.partitions.includes(name));
  const inParts: Cell[] = [];
  for (const part of parts) {
    inParts.push(
      await attack.select(scene, visitor, part),
      await attack.insert(scene, visitor, part),
      await attack.update(scene, visitor, part),
    );
  }
  // What keys refuse, they refuse to everybody: asked once.
  const structural = visitor.name === "app";
  const asked = none("as asked of the application: keys do not look at who comes");
  return {
    select: await attack.select(scene, visitor, table),
    insert: await attack.insert(scene, visitor, table),
    update: await attack.update(scene, visitor, table),
    delete: await attack.remove(scene, visitor, table),
    "foreign key": structural ? await keys.foreignKey(scene, table) : asked,
    unique: structural ? await keys.unique(scene, table, deliberate) : asked,
    "on conflict": await keys.onConflict(scene, visitor, table),
    view: none("a table"),
    partition: table.kind === "partition" ? none("is one: its own line") : worst(inParts, none("has no partitions")),
    function: none("a table"),
    copy: await attack.copy(scene, visitor, table),
    truncate: await attack.truncate(scene, visitor, table),
  };
}

/** The installation's own tables: nobody's rows, which the application may read at most. Any other table without an owner is open. */
async function ofNobody(scene: Scene, visitor: Visitor, { name }: Table): Promise<Record<Verb, Cell>> {
  if (!installation.includes(name))
    return every(attack.open("nobody's: it has no tenant_id or organization_id that is not null"));
  const nobodys = none("the installation's: holds no tenant's row");
  const { rows } = await scene.client.query<{ verb: string; may: boolean }>(
    `select v as verb, has_table_privilege($1, $2::regclass, v) or (v <> 'delete' and v <> 'truncate' and has_any_column_privilege($1, $2::regclass, v)) as may
     from unnest(array['insert', 'update', 'delete', 'truncate']) v`,
    [visitor.role, quoted(name)],
  );
  const may = (verb: string) => rows.find((row) => row.verb === verb)?.may === true;
  const verdict = (verb: string): Cell => {
    if (!may(verb)) return attack.fenced("refused");
    return visitor.role === "outrider_app"
      ? attack.open(`the application may ${verb} it`)
      : none("the installation's own work");
  };
  const cells = every(nobodys);
  return {
    ...cells,
    insert: verdict("insert"),
    update: verdict("update"),
    delete: verdict("delete"),
    truncate: verdict("truncate"),
  };
}

async function ofView(scene: Scene, visitor: Visitor, view: Catalogue["views"][number]): Promise<Record<Verb, Cell>> {
  const cell = await attack.view(scene, visitor, view);
  const key = view.key ?? "tenant_id";
  const through = async (text: string): Promise<Cell> => {
    const result = await attack.as(scene, visitor, text, [
      key === "tenant_id" ? scene.theirs.tenantId : scene.theirs.organizationId,
    ]);
    const stop = attack.stoppedBy(result);
    if (stop) return attack.fenced(stop);
    if (result.refusal?.code === "42809") return none("a materialized view cannot be written");
    return result.affected === 0 && !result.refusal
      ? attack.fenced("0 rows")
      : attack.open(result.refusal?.message ?? `${result.affected} rows written`);
  };
  const columnless = none("a view has no keys of its own");
  const name = quoted(view.name);
  return {
    select: cell,
    insert: await through(`insert into ${name} ("${key}") values ($1)`),
    update: await through(`update ${name} set "${key}" = "${key}" where "${key}" = $1`),
    delete: await through(`delete from ${name} where "${key}" = $1`),
    "foreign key": columnless,
    unique: columnless,
    "on conflict": await through(`insert into ${name} ("${key}") values ($1) on conflict do nothing`),
    view: cell,
    partition: none("a view"),
    function: none("a view"),
    copy: none("COPY takes tables; of a query it is the select beside it"),
    truncate: none("a view"),
  };
}

/** Makes two strangers with a row everywhere. Inside the caller's transaction. */
export async function strangers(rows: Rows, { tables }: Catalogue): Promise<[Party, Party]> {
  const party = async (): Promise<Party> => {
    const made = new Map<string, Record<string, unknown>>();
    const named = (name: string) => tables.find((table) => table.name === name) as Table;
    const started: Party = { tenantId: "", organizationId: "", rows: made };
    const organization = await rows.make(named("public.organizations"), started);
    made.set("public.organizations", organization);
    const tenant = await rows.make(named("public.tenants"), started);
    made.set("public.tenants", tenant);
    const whole = { tenantId: String(tenant["id"]), organizationId: String(organization["id"]), rows: made };
    await rows.populate(whole);
    return whole;
  };
  return [await party(), await party()];
}

/** What views are about and rows made by themselves are not: a nurture campaign that sent an e-mail to a known person. */
async function live(client: pg.ClientBase, rows: Rows, { tables }: Catalogue, party: Party): Promise<void> {
  const make = (name: string, base: Row) =>
    rows.make(tables.find((table) => table.name === name) as Table, party, base);
  const contact = await make("public.contacts", { person_id: party.rows.get("people.master")?.["id"] });
  const { campaign_id } = await make("marketing.campaigns", { type: "nurture" });
  const plan_json = { nodes: [{ id: "a", type: "send", channel: "email" }] };
  const version = await make("public.campaign_plan_versions", { campaign_id, plan_json });
  await client.query("update marketing.campaigns set plan_version_id = $3 where tenant_id = $1 and campaign_id = $2", [
    party.tenantId,
    campaign_id,
    version["id"],
  ]);
  const { id, lead_id } = contact;
  const enrollment = await make("public.contact_campaigns", {
    campaign_id,
    plan_version_id: version["id"],
    contact_id: id,
    lead_id,
  });
  const sent = { status: "sent", channel: "email", sent_at: "2026-03-02T12:00:00Z" };
  await make("public.outbound_messages", {
    campaign_id,
    contact_campaign_id: enrollment["id"],
    contact_id: id,
    lead_id,
    ...sent,
  });
}

export interface MatrixOptions {
  /** Only these objects; default: all. */
  readonly only?: readonly string[];
  readonly onObject?: (done: number, total: number) => void;
  /** Who is there already in this transaction; what they have no row of yet is made. Default: two are made. */
  readonly known?: readonly [Party, Party];
}

/** Two strangers with whom every object can be attacked. Inside the caller's transaction. */
export async function population(client: pg.ClientBase): Promise<[Party, Party]> {
  const catalogue = await readCatalogue(client);
  const rows = new Rows(client, catalogue);
  const parties = await strangers(rows, catalogue);
  for (const party of parties) await live(client, rows, catalogue, party);
  // No key is left to be asked later: a table with such rows cannot be altered.
  await client.query("set constraints all immediate; set constraints all deferred");
  return parties;
}

/** The same party with rows in tables that came after it. */
async function grown(rows: Rows, party: Party): Promise<Party> {
  const now = { ...party, rows: new Map(party.rows) };
  await rows.populate(now);
  return now;
}

/** Runs every attack. The client is a superuser's, inside a transaction that the caller rolls back. */
export async function matrix(client: pg.ClientBase, { only, onObject, known }: MatrixOptions = {}): Promise<Line[]> {
  const parties = known ?? (await population(client));
  const catalogue = await readCatalogue(client);
  const rows = new Rows(client, catalogue);
  const [mine, theirs] = [await grown(rows, parties[0]), await grown(rows, parties[1])];
  const scene: Scene = { client, rows, mine, theirs };
  const chosen = <T extends { readonly name: string }>(all: readonly T[]) =>
    all.filter(({ name }) => only === undefined || only.includes(name));
  const tables = chosen(catalogue.tables);
  const views = chosen(catalogue.views);
  const routines = chosen(catalogue.routines);
  const total = tables.length + views.length + routines.length;
  const lines: Line[] = [];
  let done = 0;
  const add = async (object: string, kind: Line["kind"], cells: (visitor: Visitor) => Promise<Record<Verb, Cell>>) => {
    for (const visitor of visitors) lines.push({ object, kind, visitor: visitor.name, cells: await cells(visitor) });
    onObject?.(++done, total);
  };
  for (const table of tables)
    await add(table.name, table.kind, (visitor) => ofTable(scene, visitor, table, catalogue.tables));
  for (const view of views) await add(view.name, "view", (visitor) => ofView(scene, visitor, view));
  for (const one of routines) {
    await add(one.signature, "function", async (visitor) => ({
      ...every(none("a function")),
      function: await routine(scene, catalogue, visitor, one),
    }));
  }
  return lines;
}

/** What got through, a sentence each. */
export const openings = (lines: readonly Line[]): string[] =>
  lines.flatMap(({ object, visitor, cells }) =>
    verbs.flatMap((verb) =>
      cells[verb].verdict === "open" ? [`${object} × ${verb} as ${visitor}: ${cells[verb].why}`] : [],
    ),
  );
