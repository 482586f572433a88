/**
 * One attack per kind of statement, each tried by a visitor on the row of a stranger. An attack ends in `fenced` with what stopped it, `open`
 * with what got through, or `none` with why there is nothing to attack.
 *
 * Invariant: every attack runs in a savepoint that is rolled back, so they may be run in any order, also on planted faults.
 */
import type pg from "pg";
import type { Table, View } from "./catalogue.ts";
import { insertion, type Party, quoted, type Row, type Rows, savepoint } from "./rows.ts";

export interface Cell {
  readonly verdict: "fenced" | "open" | "none";
  readonly why: string;
}

export const fenced = (why: string): Cell => ({ verdict: "fenced", why });
export const open = (why: string): Cell => ({ verdict: "open", why });
export const none = (why: string): Cell => ({ verdict: "none", why });
/** The worst of several. */
export const worst = (cells: readonly Cell[], otherwise: Cell): Cell =>
  cells.find(({ verdict }) => verdict === "open") ?? cells.find(({ verdict }) => verdict === "fenced") ?? otherwise;

/** Who attacks: a role, and whose transaction it says it is in. */
export interface Visitor {
  readonly name: "app" | "owner" | "nobody" | "leftover" | "sweeper";
  readonly role: "outrider_app" | "outrider_owner" | "outrider_sweeper";
  /** Has it a tenant set while it attacks? */
  readonly isTenant: boolean;
  readonly about: string;
}

export const visitors: readonly Visitor[] = [
  { name: "app", role: "outrider_app", isTenant: true, about: "the application in another tenant's transaction" },
  {
    name: "owner",
    role: "outrider_owner",
    isTenant: true,
    about: "the tables' owner, as which guarded functions run, in another tenant's transaction",
  },
  { name: "nobody", role: "outrider_app", isTenant: false, about: "the application without a tenant" },
  {
    name: "leftover",
    role: "outrider_app",
    isTenant: false,
    about: "the application after a tenant's settings were taken back",
  },
  { name: "sweeper", role: "outrider_sweeper", isTenant: false, about: "the role that rings for due work" },
];

/** What the sweeper may see of anybody: that work is due, and whose; never what it is about. */
const sweeperMaySee = new Set([
  "tenant_id",
  "id",
  "status",
  "run_at",
  "lease_until",
  "provider",
  "key_hash",
  "revoked_at",
  "expires_at",
  // When a tenant was last examined: whose turn it is.
  "ran_at",
  // What a tenant has mended: reasons of the gate and instants.
  "waking",
]);

interface Refusal {
  readonly code: string;
  readonly message: string;
}
export interface Result {
  readonly rows: readonly Row[];
  readonly affected: number;
  readonly refusal?: Refusal;
}

export interface Scene {
  readonly client: pg.ClientBase;
  readonly rows: Rows;
  readonly mine: Party;
  readonly theirs: Party;
}

export const refusalOf = (error: unknown): Refusal => {
  const { code = "", message } = error as Error & { readonly code?: string };
  return { code, message };
};

/** What a fence answers: no privilege or policy, foreign key, read-only object, COPY under a policy, a trigger that keeps history. */
const refusals: Readonly<Record<string, string>> = {
  "42501": "refused",
  "23503": "foreign key",
  "23000": "immutable",
  "55000": "not updatable",
  "0A000": "not offered under a policy",
};

export const stoppedBy = ({ refusal }: Result): string | undefined => (refusal ? refusals[refusal.code] : undefined);
export const through = (what: string, { refusal }: Result): Cell =>
  open(refusal ? `${what}: ${refusal.code} ${refusal.message}` : what);

/** Runs a statement as a visitor; `after` looks at the world as the superuser before it is rolled back. */
export async function as<R = undefined>(
  { client, mine }: Scene,
  visitor: Visitor,
  text: string,
  values: readonly unknown[] = [],
  after?: () => Promise<R>,
): Promise<Result & { readonly seen?: R | undefined }> {
  return savepoint(
    client,
    async () => {
      // Deferred foreign keys are asked at once.
      await client.query("set constraints all immediate");
      await client.query("select set_config('app.tenant_id', $1, true), set_config('app.organization_id', $2, true)", [
        visitor.isTenant || visitor.name === "leftover" ? mine.tenantId : "",
        visitor.isTenant || visitor.name === "leftover" ? mine.organizationId : "",
      ]);
      if (visitor.name === "leftover") await client.query("reset app.tenant_id; reset app.organization_id");
      await client.query(`set local role ${visitor.role}`);
      try {
        const { rows, rowCount } = await savepoint(client, () => client.query<Row>(text, [...values]), true);
        await client.query("reset role");
        return { rows, affected: rowCount ?? 0, ...(after ? { seen: await after() } : {}) };
      } catch (error) {
        return { rows: [], affected: 0, refusal: refusalOf(error) };
      }
    },
    false,
  );
}

export const keyOf = (table: Table, party: Party) => (table.owner === "tenant" ? party.tenantId : party.organizationId);

export async function select(scene: Scene, visitor: Visitor, table: Table): Promise<Cell> {
  if (visitor.role === "outrider_sweeper") return sweeperSelect(scene, table);
  const result = await as(
    scene,
    visitor,
    `select count(*) filter (where "${table.key}" = $1)::int as theirs, count(*) filter (where "${table.key}" = $2)::int as mine,
       count(*)::int as total from ${quoted(table.name)}`,
    [keyOf(table, scene.theirs), keyOf(table, scene.mine)],
  );
  const stop = stoppedBy(result);
  if (stop) return fenced(stop);
  const [row] = result.rows;
  if (!row || result.refusal) return through("could not be asked", result);
  if (row["theirs"] !== 0) return open(`${row["theirs"]} rows of another tenant`);
  if (!visitor.isTenant) return row["total"] === 0 ? fenced("0 rows") : open(`${row["total"]} rows without a tenant`);
  return row["mine"] === 0 ? open("sees not even its own: the cell proves nothing") : fenced("0 rows");
}

async function sweeperSelect({ client }: Scene, { name }: Table): Promise<Cell> {
  const { rows } = await client.query<{ column: string }>(
    `select attname as column from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped
       and has_column_privilege('outrider_sweeper', attrelid, attnum, 'select')`,
    [quoted(name)],
  );
  const told = rows.map(({ column }) => column).filter((column) => !sweeperMaySee.has(column));
  if (told.length > 0) return open(`may read ${told.join(", ")}`);
  return fenced(rows.length === 0 ? "refused" : `only ${rows.map(({ column }) => column).join(", ")}`);
}

export async function insert(scene: Scene, visitor: Visitor, table: Table): Promise<Cell> {
  const foreign = await scene.rows.fresh(
    table,
    scene.theirs,
    table.key === "id" ? { id: `${keyOf(table, scene.theirs)}X` } : {},
  );
  const result = await as(scene, visitor, insertion(table, foreign), [JSON.stringify(foreign)]);
  const stop = stoppedBy(result);
  if (!stop) return through("a row of another tenant was written", result);
  // Refused for being foreign, not for being wrong: the same visitor may write the same row of its own, where it may write at all.
  if (!visitor.isTenant || result.refusal?.message.includes("permission denied")) return fenced(stop);
  if (table.key === "id") return fenced(stop);
  const own = await scene.rows.fresh(table, scene.mine);
  const control = await as(scene, visitor, insertion(table, own), [JSON.stringify(own)]);
  return control.refusal ? through("its own row is refused too: the cell proves nothing", control) : fenced("policy");
}

/** A column that the visitor may write, the key first; undefined: none. */
async function writable({ client }: Scene, { role }: Visitor, table: Table): Promise<string | undefined> {
  const { rows } = await client.query<{ column: string }>(
    `select attname as column from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped and attgenerated = ''
       and has_column_privilege($2, attrelid, attnum, 'update') order by attname <> $3, attnum limit 1`,
    [quoted(table.name), role, table.key ?? ""],
  );
  return rows[0]?.column;
}

export async function update(scene: Scene, visitor: Visitor, table: Table): Promise<Cell> {
  const column = (await writable(scene, visitor, table)) ?? table.key ?? "";
  const reach = await as(
    scene,
    visitor,
    `update ${quoted(table.name)} set "${column}" = "${column}" where "${table.key}" = $1`,
    [keyOf(table, scene.theirs)],
  );
  const all = await as(scene, visitor, `update ${quoted(table.name)} set "${table.key}" = $1`, [
    keyOf(table, scene.theirs),
  ]);
  const stops = [reach, all].map(
    (result) => stoppedBy(result) ?? (result.affected === 0 && !result.refusal ? "0 rows" : undefined),
  );
  if (stops[0] === undefined) return through(`${reach.affected} rows of another tenant were changed`, reach);
  if (stops[1] === undefined) return through("rows were given to another tenant", all);
  return fenced([...new Set(stops)].join(", "));
}

export async function remove(scene: Scene, visitor: Visitor, table: Table): Promise<Cell> {
  const result = await as(scene, visitor, `delete from ${quoted(table.name)} where "${table.key}" = $1`, [
    keyOf(table, scene.theirs),
  ]);
  const stop = stoppedBy(result);
  if (stop) return fenced(stop);
  return result.affected === 0 && !result.refusal
    ? fenced("0 rows")
    : through(`${result.affected} rows of another tenant were deleted`, result);
}

/** COPY reaches past SELECT and INSERT's usual paths: out must obey the policy, in must not be offered. */
export async function copy(scene: Scene, visitor: Visitor, table: Table): Promise<Cell> {
  const { client } = scene;
  const lines: string[] = [];
  const { connection } = client as unknown as { readonly connection: NodeJS.EventEmitter };
  const keep = ({ chunk }: { readonly chunk: Buffer }) => void lines.push(chunk.toString());
  connection.on("copyData", keep);
  const out = await as(scene, visitor, `copy ${quoted(table.name)} to stdout`);
  connection.off("copyData", keep);
  const foreign = lines.filter((line) => line.includes(keyOf(table, scene.theirs)));
  if (foreign.length > 0) return open(`${foreign.length} rows of another tenant copied out`);
  if (!visitor.isTenant && lines.length > 0) return open(`${lines.length} rows copied out without a tenant`);
  const stopOut = stoppedBy(out);
  if (out.refusal && !stopOut) return through("copying out", out);
  const back = await as(scene, visitor, `copy ${quoted(table.name)} from stdin`);
  const stopBack = stoppedBy(back);
  if (!stopBack) return through("rows may be copied in", back);
  return fenced(stopOut === stopBack ? stopBack : `out: ${stopOut ?? "0 rows"}, in: ${stopBack}`);
}

export async function truncate(scene: Scene, visitor: Visitor, { name }: Table): Promise<Cell> {
  if (visitor.role === "outrider_owner") return none("an owner may always; nobody logs in as it and no function does");
  const result = await as(scene, visitor, `truncate ${quoted(name)} cascade`);
  const stop = stoppedBy(result);
  return stop ? fenced(stop) : through("everything is gone", result);
}

export async function view(scene: Scene, visitor: Visitor, { name, key, isMaterialized }: View): Promise<Cell> {
  if (isMaterialized) return open("materialized: row-level security does not reach it");
  if (key === null) return open("does not say whose its rows are");
  const theirs = key === "tenant_id" ? scene.theirs.tenantId : scene.theirs.organizationId;
  const counting = `select count(*) filter (where "${key}" = $1)::int as theirs, count(*)::int as total from ${quoted(name)}`;
  const { rows } = await scene.client.query<{ theirs: number }>(counting, [theirs]);
  if (rows[0]?.theirs === 0) return open("shows nothing to anybody: the cell proves nothing");
  const result = await as(scene, visitor, counting, [theirs]);
  const stop = stoppedBy(result);
  if (stop) return fenced(stop);
  const [row] = result.rows;
  if (!row || result.refusal) return through("could not be asked", result);
  if (row["theirs"] !== 0) return open(`${row["theirs"]} rows of another tenant`);
  if (!visitor.isTenant) return row["total"] === 0 ? fenced("0 rows") : open(`${row["total"]} rows without a tenant`);
  return row["total"] === 0 ? open("shows not even its own: the cell proves nothing") : fenced("0 rows");
}
