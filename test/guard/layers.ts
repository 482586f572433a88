/** The direction of imports and the few places that may touch the world, as a function from sources to broken rules. */
import path from "node:path";

export const nouns = [
  "tenancy",
  "companies",
  "people",
  "leads",
  "segments",
  "scoring",
  "assignment",
  "templates",
  "suppression",
  "compliance",
  "artifacts",
];
export const processes = [
  "intake",
  "campaigns",
  "messages",
  "deliveries",
  "enrichment",
  "pipelines",
  "conversations",
  "analytics",
];
const ground = ["kernel", "db", "ports"];

/** What a module of core may import beside itself. */
function allowedIn(module: string): readonly string[] {
  if (module === "kernel") return [];
  if (module === "db" || module === "ports") return ["kernel"];
  if (module === "providers") return ["kernel", "ports"];
  if (nouns.includes(module)) return ground;
  if (processes.includes(module) || module === "operator") return [...ground, ...nouns, ...processes];
  return [];
}

export interface Import {
  readonly line: number;
  /** As written. */
  readonly specifier: string;
  readonly typeOnly: boolean;
}

/** Comments become spaces, so that line numbers stay. */
export const withoutComments = (source: string): string =>
  source.replace(
    /("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g,
    (match, text: string | undefined) => text ?? match.replace(/[^\n]/g, " "),
  );

export function importsOf(source: string): Import[] {
  const code = withoutComments(source);
  const statements =
    /^[ \t]*(?:import|export)\s+(type\s)?(?:[^"'`;]*?\sfrom\s+)?["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']\s*\)/gm;
  return [...code.matchAll(statements)].map((match) => ({
    line: code.slice(0, match.index + (match[0].length - match[0].trimStart().length)).split("\n").length,
    specifier: match[2] ?? match[3] ?? "",
    typeOnly: match[1] !== undefined,
  }));
}

/** A path of the repository, or null for a package. */
function resolve(file: string, specifier: string): string | null {
  if (specifier.startsWith("@outrider/core/")) return `core/${specifier.slice("@outrider/core/".length)}/index.ts`;
  return specifier.startsWith(".") ? path.posix.join(path.posix.dirname(file), specifier) : null;
}

/** Composition roots may name adapters. */
const isRoot = (file: string): boolean =>
  file === "functions/lib/runtime.ts" || /^(local|bench|cli|test|infra)\//.test(file);

const moduleOf = (file: string): string => file.split("/")[1] ?? "";

/** Why this import is not allowed, or null. */
function refusal(file: string, to: string, typeOnly: boolean): string | null {
  const [from, target] = [file.split("/")[0], to.split("/")[0]];
  if (from === "test") return null;
  if (target === "test") return "only tests import test/";
  if (to.startsWith("core/providers/") && !file.startsWith("core/providers/") && !isRoot(file)) {
    return "only composition roots name providers";
  }
  if (from === "core") return target === "core" ? inCore(file, to, typeOnly) : "core imports nothing outside core/";
  if (from === "functions") return inFunctions(file, to, target ?? "", typeOnly);
  return null;
}

function inCore(file: string, to: string, typeOnly: boolean): string | null {
  const [module, other] = [moduleOf(file), moduleOf(to)];
  if (module === "providers" && other === "providers") {
    const [own, theirs] = [file.split("/"), to.split("/")];
    // What lies beside the folders is shared by all of them.
    return own[2] === theirs[2] || theirs.length === 3 ? null : "providers do not import each other";
  }
  if (module === other) return null;
  // The generated types are the kernel's only look outside, and leave nothing at run time.
  if (module === "kernel" && to === "core/db/types.gen.ts" && typeOnly) return null;
  if (!allowedIn(module).includes(other)) return `core/${module} may not import core/${other}`;
  const inside = !ground.includes(other) && to !== `core/${other}/index.ts`;
  return inside ? `core/${other} is imported through its index.ts only` : null;
}

function inFunctions(file: string, to: string, target: string, typeOnly: boolean): string | null {
  if (file === "functions/topology.ts") return "functions/topology.ts imports nothing";
  if (target === "core") {
    const deep = !/^core\/[^/]+\/index\.ts$/.test(to);
    return deep && !isRoot(file) && !(typeOnly && to === "core/db/types.gen.ts")
      ? "handlers import the index of a core module"
      : null;
  }
  if (target !== "functions") return "functions/ imports core/ and functions/lib/ only";
  const own = file.replace(/^functions\/([^/.]+).*$/, "$1");
  const inLib = to.startsWith("functions/lib/") || to === "functions/topology.ts";
  return inLib || to.startsWith(`functions/${own}/`) || (own !== "lib" && to === `functions/${own}.ts`)
    ? null
    : "handlers do not import each other";
}

/** Packages of providers, clouds and databases: they come in through adapters. */
const sdks = /^(@aws-sdk\/|@sendgrid\/|@neondatabase\/|twilio(\/|$)|stripe(\/|$)|sst(\/|$)|undici$|pg$)/;
const mayNameSdks = (file: string): boolean =>
  file.startsWith("core/providers/") || file === "core/db/connect.ts" || file === "core/db/migrate.ts" || isRoot(file);

/** What makes core depend on when and where it runs. Time and chance come in as arguments. */
const ambient: readonly [RegExp, string][] = [
  [/\bDate\.now\s*\(/, "Date.now()"],
  [/\bnew Date\s*\(\s*\)/, "new Date()"],
  [/\bMath\.random\s*\(/, "Math.random()"],
  [/\brandomUUID\b/, "randomUUID"],
  [/\bset(?:Timeout|Interval)\s*\(/, "timers"],
  [/\bprocess\.env\b/, "process.env"],
];
const mayTouchTheWorld = (file: string): boolean => /^core\/(kernel|providers)\//.test(file);

/** @param sources by path from the root of the repository, with `/`; tests and generated files may be among them */
export function layerViolations(sources: ReadonlyMap<string, string>): string[] {
  const found: string[] = [];
  const edges = new Map<string, Set<string>>();
  for (const [file, source] of sources) {
    for (const { specifier, line, typeOnly } of importsOf(source)) {
      const to = resolve(file, specifier);
      const where = `${file}:${line} imports ${specifier}:`;
      if (to === null) {
        if (sdks.test(specifier) && /^(core|functions)\//.test(file) && !mayNameSdks(file)) {
          found.push(`${where} packages of providers are named by adapters and composition roots`);
        }
        continue;
      }
      const why = refusal(file, to, typeOnly);
      if (why) found.push(`${where} ${why}`);
      const [a, b] = [moduleOf(file), moduleOf(to)];
      if (
        file.startsWith("core/") &&
        to.startsWith("core/") &&
        processes.includes(a) &&
        processes.includes(b) &&
        a !== b
      ) {
        edges.set(a, (edges.get(a) ?? new Set()).add(b));
      }
    }
    if (!file.startsWith("core/") || mayTouchTheWorld(file)) continue;
    for (const [at, text] of withoutComments(source).split("\n").entries()) {
      for (const [pattern, name] of ambient) {
        if (pattern.test(text))
          found.push(`${file}:${at + 1} uses ${name}: time, chance and environment are arguments in core/`);
      }
    }
  }
  return [...found, ...cycles(edges)].sort();
}

function cycles(edges: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const found = new Set<string>();
  const walk = (trail: readonly string[]): void => {
    const last = trail.at(-1) ?? "";
    for (const next of edges.get(last) ?? []) {
      const at = trail.indexOf(next);
      if (at < 0) walk([...trail, next]);
      // Named from its smallest member on, so that one cycle is one sentence wherever it was entered.
      else if (next === trail.slice(at).toSorted()[0]) found.add([...trail.slice(at), next].join(" → "));
    }
  };
  for (const start of edges.keys()) walk([start]);
  return [...found].map((cycle) => `processes import each other in a circle: ${cycle}`);
}

export const readableLines = 400;

/** Files of more than so many lines, with their length. */
export const longFiles = (sources: ReadonlyMap<string, string>, most: number): string[] =>
  [...sources]
    .filter(([file]) => !file.endsWith(".gen.ts") && !file.startsWith("test/"))
    .map(([file, source]) => [file, source.split("\n").length - 1] as const)
    .filter(([, lines]) => lines > most)
    .map(([file, lines]) => `${file} has ${lines} lines`);
