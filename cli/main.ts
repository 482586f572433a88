/** `npx outrider`: runs one verb. Exit codes: docs/cli.md. */
import { CommanderError } from "commander";
import { exitCodes, failureOf, usageError } from "./errors.ts";
import { createOutput, endQuietlyOnClosedPipe } from "./output.ts";
import { createProgram } from "./program.ts";

async function main(): Promise<void> {
  endQuietlyOnClosedPipe();
  const args = process.argv.slice(2);
  const json = args.includes("--json");
  const program = createProgram(json);
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) {
      // Commander has said what is wrong, and suggested what may have been meant.
      process.exitCode = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
      if (json && error.exitCode !== 0) createOutput(json).failure(usageError("cli.usage", error.message).failure);
      return;
    }
    const failure = failureOf(error);
    createOutput(json).failure(failure);
    process.exitCode = failure.exitCode;
  }
}

await main();
