import { createHash } from "node:crypto";
import { expect, it } from "vitest";
import { placeOfZip } from "../../../core/compliance/places.ts";
import { createImport, getImport, runImports } from "../../../core/intake/index.ts";
import { memoryBlobs, memoryQueue } from "../../../core/providers/memory/index.ts";
import { columns, companies, countPeople, peopleCsv, peopleRows } from "../../../local/demo/people.ts";
import { testDatabase } from "../../support/database.ts";
import { newTenant } from "../../support/tenant.ts";

const database = await testDatabase();

const digest = async (seed: number) => {
  const hash = createHash("sha256");
  for await (const chunk of peopleCsv(seed)) hash.update(chunk);
  return hash.digest("hex");
};

it("the same seed gives the same list, another seed another", async () => {
  expect(await digest(1)).toBe(await digest(1));
  expect(await digest(2)).not.toBe(await digest(1));
});

it("there are two to four people at each of the 503 companies", async () => {
  const listed = await Array.fromAsync(companies());
  expect(listed).toHaveLength(503);
  const heads = new Map<string, number>();
  for await (const { kind, company } of peopleRows()) {
    if (kind !== "exact_duplicate" && kind !== "case_duplicate")
      heads.set(company.symbol, (heads.get(company.symbol) ?? 0) + 1);
  }
  expect(heads.size).toBe(503);
  expect(Math.min(...heads.values())).toBe(2);
  expect(Math.max(...heads.values())).toBe(4);
});

it("nobody real can be reached: reserved domains, fictional numbers given out once, places that agree", async () => {
  const numbers = new Set<string>();
  const cell = (cells: readonly string[], column: (typeof columns)[number]) => cells[columns.indexOf(column)] ?? "";
  for await (const { kind, cells } of peopleRows()) {
    expect(cells).toHaveLength(columns.length);
    if (kind !== "no_email") expect(cell(cells, "Email")).toMatch(/\.(example|test)$/i);
    const state = cell(cells, "State");
    if (state !== "") expect(placeOfZip(cell(cells, "Zip"))).toBe(`US-${state}`);
    if (kind !== "good" || cell(cells, "Phone") === "") continue;
    const digits = cell(cells, "Phone").replace(/\D/g, "").slice(-10);
    expect(digits).toMatch(/^\d{3}55501\d\d$/);
    expect(numbers).not.toContain(digits);
    numbers.add(digits);
  }
  expect(numbers.size).toBeGreaterThan(500);
});

it("imports with exactly the refusals and duplicates that were put in", async () => {
  const ctx = await newTenant(database);
  const deps = { blobs: memoryBlobs(), queue: memoryQueue() };
  const expected = await countPeople();
  const { id } = await createImport(deps, ctx, { source: "demo", fileName: "people.csv" }, peopleCsv());
  await runImports(deps, ctx, [id], { remainingMs: () => 600_000 });
  expect((await getImport(ctx, { id: id })).rows).toEqual({
    read: expected.total,
    warned: expected.malformed_phone,
    rejected: expected.no_email + expected.malformed_email,
    duplicate: expected.exact_duplicate + expected.case_duplicate,
    accepted: expected.good + expected.malformed_phone + expected.no_name,
    promoted: expected.good + expected.malformed_phone + expected.no_name,
  });
});
