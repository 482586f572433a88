/** The documentation is true where a machine can tell: links, files, scripts, settings and exit codes that it names exist, and none is left out. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { remedies } from "../../core/messages/remedies.ts";

const root = path.resolve(import.meta.dirname, "../..");
const read = (file: string): string => readFileSync(path.join(root, file), "utf8");
const exists = (file: string): boolean => existsSync(path.join(root, file));

const documents = [
  "README.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  ...readdirSync(path.join(root, "docs"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".md"))
    .map((file) => path.posix.join("docs", file.split(path.sep).join("/"))),
];

/** What stands in code blocks is not a link and no heading. */
const prose = (markdown: string): string => markdown.replace(/^[ \t]*```[\s\S]*?^[ \t]*```/gm, "");

/** As GitHub names the headings of a page. */
const anchorsOf = (markdown: string): string[] => {
  const seen = new Map<string, number>();
  return [...prose(markdown).matchAll(/^#{1,6} +(.+?) *$/gm)].map(([, title = ""]) => {
    const name = title
      .replace(/[`*]|\[([^\]]*)\]\([^)]*\)/g, "$1")
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\p{M} _-]/gu, "")
      .replace(/ /g, "-");
    const before = seen.get(name) ?? 0;
    seen.set(name, before + 1);
    return before === 0 ? name : `${name}-${before}`;
  });
};

interface Tree {
  exists(file: string): boolean;
  read(file: string): string;
}

/** Links that lead to no file, or to no heading of it. Addresses on the web are not looked at. */
function brokenLinks(file: string, markdown: string, tree: Tree): string[] {
  return [...prose(markdown).matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, target = ""]) => {
    if (/^[a-z]+:/.test(target)) return [];
    const [relative = "", anchor] = target.split("#", 2);
    const to = relative === "" ? file : path.posix.join(path.posix.dirname(file), relative);
    if (!tree.exists(to)) return [`${file}: ${target} leads nowhere`];
    if (anchor === undefined) return [];
    return anchorsOf(tree.read(to)).includes(anchor) ? [] : [`${file}: ${to} has no heading #${anchor}`];
  });
}

const folders = ["bench", "cli", "core", "docs", "functions", "infra", "local", "migrations", "test"];
/** Names of files in backquotes and in commands, without placeholders. Generated pages cite other things in this form. */
function missingFiles(file: string, markdown: string, tree: Tree): string[] {
  const named = new RegExp(`(?:^|[\\s\`(])((?:${folders.join("|")})/[\\w./-]*\\w/?)(?=[\\s\`),:]|$)`, "gm");
  return [...new Set([...markdown.matchAll(named)].map(([, name = ""]) => name))]
    .filter((name) => !/NNNN/.test(name) && !tree.exists(name))
    .map((name) => `${file} names ${name}, which does not exist`);
}

/** `npm run x`, `npm start` and `npm test` that package.json does not have. */
function missingScripts(file: string, markdown: string, scripts: ReadonlySet<string>): string[] {
  const named = [...markdown.matchAll(/\bnpm (?:run ([\w:-]+)|(start|test))\b/g)].map(
    ([, run, own]) => run ?? own ?? "",
  );
  return [...new Set(named)].filter((name) => !scripts.has(name)).map((name) => `${file} names npm run ${name}`);
}

const scripts = new Set(Object.keys((JSON.parse(read("package.json")) as { scripts: object }).scripts));
const tree: Tree = { exists, read };

describe.each(documents)("%s", (file) => {
  test("every link leads to a file and a heading", () => {
    expect(brokenLinks(file, read(file), tree)).toEqual([]);
  });
  test("every file that it names exists", () => {
    expect(missingFiles(file, read(file), tree)).toEqual([]);
  });
  test("every npm script that it names exists", () => {
    expect(missingScripts(file, read(file), scripts)).toEqual([]);
  });
});

const rowsOf = (markdown: string, heading: string): string[] => {
  const section = markdown.split(/^#{2,} /m).find((part) => part.startsWith(heading)) ?? "";
  return [...section.matchAll(/^\| (.+?) \|/gm)].map(([, cell = ""]) => cell);
};

test("the README explains every environment variable that local commands read", () => {
  const variables = [...read("local/settings.ts").matchAll(/^ {2}([A-Z][A-Z_]+): z$|^ {2}([A-Z][A-Z_]+): z\./gm)];
  const names = variables.map(([, first, second]) => first ?? second ?? "");
  expect(names.length).toBeGreaterThan(5);
  const explained = rowsOf(read("README.md"), "Environment variables").join(" ");
  expect(names.filter((name) => !explained.includes(`\`${name}\``))).toEqual([]);
});

test("docs/operating.md explains every exit code of local/failure.ts and no other failure", () => {
  const union = /readonly exitCode: ([\d| ]+);/.exec(read("local/failure.ts"))?.[1] ?? "";
  const codes = union.split("|").map((code) => code.trim());
  expect(codes.length).toBeGreaterThan(3);
  const explained = rowsOf(read("docs/operating.md"), "Exit codes").filter((cell) => /^\d+$/.test(cell));
  expect(explained).toEqual(["0", ...codes, "130"]);
});

test("docs/operating.md tells what explain tells to do about each reason for which a message waits", () => {
  const section =
    read("docs/operating.md")
      .split(/^### /m)
      .find((part) => part.startsWith("Held messages")) ?? "";
  const told = [...section.matchAll(/^\| (`.+?) \| (.+) \|$/gm)].flatMap(([, reasons = "", remedy = ""]) =>
    [...reasons.matchAll(/`(\w+)`/g)].map(([, reason = ""]) => [reason, remedy.replaceAll("\\|", "|")] as const),
  );
  expect(Object.fromEntries(told)).toEqual(
    Object.fromEntries(Object.entries(remedies).filter(([, remedy]) => remedy !== null)),
  );
});

test("the decisions are numbered without gaps and have the three parts", () => {
  const files = documents.filter((file) => file.startsWith("docs/decisions/")).sort();
  expect(files.map((file) => Number(path.basename(file).slice(0, 4)))).toEqual(files.map((_, index) => index + 1));
  for (const file of files) {
    expect(read(file), file).toMatch(
      /^# \d{4} .+\n\n\*\*Context\.\*\* [\s\S]+\n\n\*\*Decision\.\*\* [\s\S]+\n\n\*\*Consequences\.\*\* /,
    );
  }
});

test("the licence is Apache-2.0, in the text and in every package", () => {
  expect(read("LICENSE")).toMatch(/Apache License\s+Version 2\.0, January 2004/);
  for (const file of ["package.json", "core/package.json", "cli/package.json"]) {
    expect((JSON.parse(read(file)) as { license: string }).license, file).toBe("Apache-2.0");
  }
});

describe("what is planted is found", () => {
  const planted: Tree = { exists: (file) => file === "docs/a.md", read: () => "# One thing\n\n## One `thing`\n" };

  test("a link to no file and a link to no heading", () => {
    const markdown =
      "[a](docs/a.md) [b](docs/b.md) [c](docs/a.md#one-thing-1) [d](docs/a.md#two) [e](https://example.com)";
    expect(brokenLinks("README.md", markdown, planted)).toEqual([
      "README.md: docs/b.md leads nowhere",
      "README.md: docs/a.md has no heading #two",
    ]);
  });

  test("a file that does not exist, but not a pattern of names", () => {
    const markdown = "`docs/a.md`, `docs/b.md`, `docs/decisions/NNNN-title.md`, run `node core/x.ts --now`";
    expect(missingFiles("README.md", markdown, planted)).toEqual([
      "README.md names docs/b.md, which does not exist",
      "README.md names core/x.ts, which does not exist",
    ]);
  });

  test("a script that does not exist", () => {
    expect(missingScripts("README.md", "npm test, npm run fly, npm start", new Set(["test", "start"]))).toEqual([
      "README.md names npm run fly",
    ]);
  });
});
