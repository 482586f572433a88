/** One mutant: planted into a copy of what a simulation runs, and played until it is seen. Invariant: the tree itself is never touched. */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { CloneSource } from "../support/clone.ts";
import { type Edit, editsOf, type Mutant } from "./mutants.ts";
import { openPlayer, type Player } from "./players.ts";
import { writeScript } from "./script.ts";

export interface Verdict {
  readonly name: string;
  /** null: it survived. */
  readonly checker: string | null;
  readonly seed: string;
  readonly detail: string;
  readonly played: number;
}

const root = path.resolve(import.meta.dirname, "../..");
const copied = [
  "core",
  "functions",
  "local/simulator",
  "test/simulation",
  "test/core/compliance/oracle.ts",
  "package.json",
];

/** @throws when the anchor is not found exactly once */
export function plant(source: string, { file, anchor, instead }: Edit): string {
  const parts = source.split(anchor);
  if (parts.length !== 2)
    throw new Error(`${file}: the anchor occurs ${parts.length - 1} times: ${anchor.slice(0, 80)}`);
  return parts.join(instead);
}

function copyTree(mutant: Mutant): string {
  const copy = mkdtempSync(path.join(os.tmpdir(), "outrider-mutant-"));
  for (const part of copied) cpSync(path.join(root, part), path.join(copy, part), { recursive: true });
  // Packages as they are; only our own must lead into the copy.
  const modules = path.join(copy, "node_modules");
  mkdirSync(path.join(modules, "@outrider"), { recursive: true });
  for (const name of readdirSync(path.join(root, "node_modules"))) {
    if (name !== "@outrider") symlinkSync(path.join(root, "node_modules", name), path.join(modules, name));
  }
  symlinkSync(path.join(copy, "core"), path.join(modules, "@outrider/core"));
  for (const edit of editsOf(mutant)) {
    const file = path.join(copy, edit.file);
    writeFileSync(file, plant(readFileSync(file, "utf8"), edit));
  }
  return copy;
}

export async function kill(
  server: CloneSource,
  mutant: Mutant,
  { from, seeds }: { readonly from: number; readonly seeds: number },
): Promise<Verdict> {
  const copy = copyTree(mutant);
  let player: Player | undefined;
  try {
    player = await openPlayer(server, { root: copy, sabotage: "sql" in mutant ? mutant.sql : undefined });
    const [fence] = player.fences;
    if (fence !== undefined) return { name: mutant.name, checker: "I-22", seed: "none", detail: fence, played: 0 };
    for (let played = 1; played <= seeds; played++) {
      const seed = String(from + played - 1);
      const { violation } = await player.play(writeScript(seed));
      if (violation) return { name: mutant.name, checker: violation.checker, seed, detail: violation.detail, played };
    }
    return { name: mutant.name, checker: null, seed: "none", detail: "", played: seeds };
  } finally {
    await player?.close();
    rmSync(copy, { recursive: true, force: true });
  }
}
