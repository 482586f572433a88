/** The house keeps its direction, and the rules that say so bite. */
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { importsOf, layerViolations, longFiles, readableLines } from "./layers.ts";

const root = path.resolve(import.meta.dirname, "../..");
const sources = new Map(
  globSync("{core,functions,local,cli,bench,test}/**/*.ts", {
    cwd: root,
    exclude: (name) => name === "node_modules",
  }).map((file) => [file.split(path.sep).join("/"), readFileSync(path.join(root, file), "utf8")] as const),
);

test("every file keeps the direction of the house", () => {
  expect(sources.size).toBeGreaterThan(100);
  expect(layerViolations(sources)).toEqual([]);
});

test("no file is beyond reading; those too long for one sitting are listed", () => {
  for (const file of longFiles(sources, readableLines))
    console.warn(`${file}; ${readableLines} can be read in one sitting`);
  expect(longFiles(sources, 1.5 * readableLines)).toEqual([]);
});

describe("planted", () => {
  const broken: readonly [string, string, string, string][] = [
    [
      "kernel out",
      "core/kernel/x.ts",
      'import { a } from "../ports/index.ts";',
      "core/kernel may not import core/ports",
    ],
    [
      "kernel and generated values",
      "core/kernel/x.ts",
      'import { DB } from "../db/types.gen.ts";',
      "core/kernel may not import core/db",
    ],
    ["ports to a noun", "core/ports/x.ts", 'import "../leads/index.ts";', "core/ports may not import core/leads"],
    [
      "a noun to a process",
      "core/leads/x.ts",
      'export { a } from "../campaigns/index.ts";',
      "core/leads may not import core/campaigns",
    ],
    [
      "a noun to a noun",
      "core/leads/x.ts",
      'import { a } from "../people/index.ts";',
      "core/leads may not import core/people",
    ],
    [
      "past an index",
      "core/messages/x.ts",
      'import { a } from "../suppression/add.ts";',
      "core/suppression is imported through its index.ts only",
    ],
    [
      "a noun to operator",
      "core/leads/x.ts",
      'import { a } from "../operator/index.ts";',
      "core/leads may not import core/operator",
    ],
    [
      "core to a provider",
      "core/messages/x.ts",
      'import { a } from "../providers/sendgrid/index.ts";',
      "only composition roots name providers",
    ],
    [
      "provider to provider",
      "core/providers/twilio/x.ts",
      'import { a } from "../sendgrid/index.ts";',
      "providers do not import each other",
    ],
    [
      "provider to a noun",
      "core/providers/twilio/x.ts",
      'import { a } from "../../leads/index.ts";',
      "core/providers may not import core/leads",
    ],
    [
      "core to functions",
      "core/leads/x.ts",
      'import { a } from "../../functions/lib/http.ts";',
      "core imports nothing outside core/",
    ],
    [
      "an unplaced module",
      "core/shiny/x.ts",
      'import { a } from "../kernel/index.ts";',
      "core/shiny may not import core/kernel",
    ],
    [
      "handler to handler",
      "functions/send.ts",
      'import { a } from "./actions.ts";',
      "handlers do not import each other",
    ],
    [
      "handler past an index",
      "functions/send.ts",
      'import { a } from "../core/leads/leads.ts";',
      "handlers import the index of a core module",
    ],
    [
      "handler to a provider",
      "functions/send.ts",
      'const a = await import("@outrider/core/providers");',
      "only composition roots name providers",
    ],
    [
      "topology",
      "functions/topology.ts",
      'import { a } from "./lib/http.ts";',
      "functions/topology.ts imports nothing",
    ],
    [
      "handler to local",
      "functions/send.ts",
      'import { a } from "../local/host.ts";',
      "functions/ imports core/ and functions/lib/ only",
    ],
    ["anything to test", "local/x.ts", 'import { a } from "../test/support/tenant.ts";', "only tests import test/"],
    [
      "an SDK in core",
      "core/messages/x.ts",
      'import { S3Client } from "@aws-sdk/client-s3";',
      "packages of providers are named by adapters",
    ],
    [
      "an SDK in a handler",
      "functions/send.ts",
      'import twilio from "twilio";',
      "packages of providers are named by adapters",
    ],
    ["the wall clock", "core/leads/x.ts", "const at = Date.now();", "uses Date.now()"],
    ["the wall clock as a date", "core/leads/x.ts", "const at = new Date();", "uses new Date()"],
    ["chance", "core/leads/x.ts", "const n = Math.random();", "uses Math.random()"],
    ["random ids", "core/leads/x.ts", 'import { randomUUID } from "node:crypto";', "uses randomUUID"],
    ["timers", "core/leads/x.ts", "setTimeout(() => {}, 1);", "uses timers"],
    ["the environment", "core/db/x.ts", "const url = process.env.DATABASE_URL;", "uses process.env"],
  ];

  test.each(broken)("reported: %s", (_, file, source, violation) => {
    expect(layerViolations(new Map([[file, `/** A file. */\n${source}\n`]]))).toEqual([
      expect.stringContaining(violation),
    ]);
  });

  test("reported: processes in a circle", () => {
    const files = new Map([
      ["core/messages/x.ts", 'import { a } from "../campaigns/index.ts";'],
      ["core/campaigns/x.ts", 'import { a } from "../deliveries/index.ts";'],
      ["core/deliveries/x.ts", 'import { a } from "../messages/index.ts";'],
    ]);
    expect(layerViolations(files)).toEqual([
      "processes import each other in a circle: campaigns → deliveries → messages → campaigns",
    ]);
  });

  test("reported: a file too long to read", () => {
    expect(longFiles(new Map([["core/leads/x.ts", "\n".repeat(401)]]), 400)).toEqual(["core/leads/x.ts has 401 lines"]);
  });

  test.each([
    ["a type of the generated ones", "core/kernel/x.ts", 'import type { DB } from "../db/types.gen.ts";'],
    [
      "what is only spoken of",
      "core/leads/x.ts",
      '// import { a } from "../campaigns/index.ts"; Date.now()\n/* process.env */',
    ],
    ["time in the kernel", "core/kernel/x.ts", "const at = new Date();"],
    ["an instant that was given", "core/leads/x.ts", "const at = new Date(ms);"],
    [
      "an adapter in a composition root",
      "functions/lib/runtime.ts",
      'const a = await import("../../core/providers/s3/index.ts");',
    ],
    ["a handler's own folder", "functions/console.ts", 'import { page } from "./console/page.ts";'],
    ["what providers share", "core/providers/twilio/x.ts", 'import { a } from "../http.ts";'],
  ])("allowed: %s", (_, file, source) => {
    expect(layerViolations(new Map([[file, source]]))).toEqual([]);
  });

  test("imports are found in every form, with their line", () => {
    const source =
      'import "a";\nimport type { B } from "b";\nimport {\n  c,\n} from "c";\nexport * from "d";\nconst e = import("e");\nconst text = \'import "no"\';\n';
    expect(importsOf(source).map(({ specifier, line, typeOnly }) => [specifier, line, typeOnly])).toEqual([
      ["a", 1, false],
      ["b", 2, true],
      ["c", 3, false],
      ["d", 6, false],
      ["e", 7, false],
    ]);
  });
});
