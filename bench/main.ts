/**
 * `npm run bench [-- --only send,claim] [--quick] [--rounds n]`: each line is Outrider against a baseline measured in the same run, as one
 * JSON object on stdout; what happens meanwhile goes to stderr. bench/README.md says what each line means.
 */
import os from "node:os";
import { parseArgs } from "node:util";
import { claimLines } from "./claim.ts";
import { intakeLines, verifyLines } from "./intake.ts";
import { promoteLines } from "./promote.ts";
import { type Rig, startRig } from "./rig.ts";
import { sendLines } from "./send.ts";

const lines: Readonly<Record<string, (rig: Rig) => Promise<void>>> = {
  intake: intakeLines,
  verify: verifyLines,
  send: sendLines,
  claim: claimLines,
  promote: promoteLines,
};

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    quick: { type: "boolean", default: false },
    rounds: { type: "string" },
  },
});
const wanted = values.only?.split(",") ?? Object.keys(lines);
const unknown = wanted.filter((name) => !(name in lines));
if (unknown.length > 0) {
  process.stderr.write(`No line ${unknown.join(", ")}. There are: ${Object.keys(lines).join(", ")}.\n`);
  process.exit(2);
}

const rig = await startRig({ quick: values.quick, rounds: Number(values.rounds ?? (values.quick ? 3 : 5)) });
let failed = false;
try {
  rig.note(
    `node ${process.version}, ${os.cpus().length} cores, load ${os.loadavg()[0]?.toFixed(2)}, ${rig.rounds} rounds`,
  );
  for (const name of wanted) {
    rig.note(name);
    await lines[name]?.(rig);
  }
  rig.note(`load at the end ${os.loadavg()[0]?.toFixed(2)}`);
} catch (error) {
  failed = true;
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
} finally {
  await rig.stop();
}
// Kept-alive sockets of provider pools would hold the process.
process.exit(failed ? 1 : 0);
