/** The error catalogue is read from the source, and nothing can hide from it. */
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { errorCatalogue, refusalsOf } from "../../../local/gen/errors.ts";

const root = path.resolve(import.meta.dirname, "../../..");

test("a refusal is read with its kind, code and words, wherever its lines break", () => {
  const source = `
    const errors = {
      notFound: (id: string) => new DomainError("not_found", "lead.not_found", \`No lead \${id}.\`),
      odd: (a: string) =>
        new DomainError(
          "conflict",
          "lead.odd",
          isLeft(a) ? "It is left (really), so no." : \`It is \${sideOf({ a, b: "}" })}, so no.\`,
          { fields: [] },
        ),
    };`;
  expect(refusalsOf(source, "x.ts")).toEqual([
    { code: "lead.not_found", kind: "not_found", message: "No lead {id}.", file: "x.ts" },
    expect.objectContaining({
      code: "lead.odd",
      kind: "conflict",
      message: expect.stringContaining("It is left (really), so no. / It is "),
    }),
  ]);
});

test("a message may quote: what it quotes is a part of it, not the message", () => {
  const source = `
    new DomainError("conflict", "sender.none", 'None. Add one, or send "attested": true.');
    new DomainError("conflict", "sender.odd", \`It is \${odd ? 'very "odd"' : "odd"}: say "even".\`);`;
  expect(refusalsOf(source, "x.ts").map(({ message }) => message)).toEqual([
    'None. Add one, or send "attested": true.',
    expect.stringMatching(/^It is .+: say "even"\.$/),
  ]);
});

test("a helper that takes the code is followed to its calls, a name to its definition", () => {
  const source = `
    const refused = (code: string, message: string) => new DomainError("invalid", code, message);
    const a = refused("file.empty", "It is empty.");
    const message = "Too much.";
    throw new DomainError("too_large", "file.large", message);`;
  expect(refusalsOf(source, "x.ts").map(({ code, message }) => `${code}: ${message}`)).toEqual([
    "file.empty: It is empty.",
    "file.large: Too much.",
  ]);
});

test("a code that cannot be searched for stops the generator", () => {
  expect(() => refusalsOf('new DomainError("invalid", codeOf(reason), "No.")', "x.ts")).toThrow("must be a literal");
  expect(() => refusalsOf('new DomainError(kind, "a.b", "No.")', "x.ts")).toThrow("must be a literal");
});

test("every code that the source throws is in the catalogue", () => {
  const { content } = errorCatalogue();
  const files = globSync(["core/**/*.ts", "functions/**/*.ts"], { cwd: root, exclude: ["**/node_modules/**"] });
  const codes = files.flatMap((file) =>
    [...readFileSync(path.join(root, file), "utf8").matchAll(/new DomainError\(\s*"\w+",\s*"([\w.]+)"/g)].map(
      ([, code]) => code,
    ),
  );
  expect(codes.length).toBeGreaterThan(50);
  for (const code of codes) expect(content).toContain(`| \`${code}\` |`);
});
