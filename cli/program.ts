/** The command line as a whole: every verb, in the order in which a newcomer needs them. docs/cli.md is generated from it. */
import { Command } from "commander";
import { campaigns } from "./verbs/campaigns.ts";
import { deliveries, replay } from "./verbs/deliveries.ts";
import { dnc } from "./verbs/dnc.ts";
import { enroll } from "./verbs/enroll.ts";
import { enrollments, tasks } from "./verbs/enrollments.ts";
import { explain, trace } from "./verbs/explain.ts";
import { imports } from "./verbs/import.ts";
import { doctor, migrate, tenants } from "./verbs/installation.ts";
import { conversations, leads, messages } from "./verbs/reading.ts";
import { segments } from "./verbs/segments.ts";
import { channels, keys, senders, templates } from "./verbs/setup.ts";
import { simulate } from "./verbs/simulate.ts";
import { open, status } from "./verbs/status.ts";
import { suppress } from "./verbs/suppress.ts";
import { limits, tenant } from "./verbs/tenant.ts";

export const exitCodeHelp = `
Exit codes: 0 done · 1 refused, or there is a problem · 2 wrong usage · 4 server or database not reachable
Which server: --url and --key, else OUTRIDER_URL and OUTRIDER_API_KEY, else local.json of OUTRIDER_HOME (npm start)`;

/** @param json true: what is wrong with the arguments is left to the caller to say */
export function createProgram(json = false): Command {
  const program = new Command("outrider")
    .description("Raw leads in, campaigns out, every message explainable: the operator's command line.")
    .version("0.1.0")
    .option("--json", "machine-readable: one JSON value on stdout, one per line for lists")
    .option("--url <url>", "address of the server")
    .option("--key <key>", "API key; OUTRIDER_API_KEY keeps it out of the process list")
    .configureHelp({ showGlobalOptions: true })
    .addHelpText("after", exitCodeHelp)
    .showHelpAfterError("(add --help to see what there is)")
    .configureOutput(json ? { writeErr: () => {} } : {})
    .exitOverride();
  // Each takes the settings above with it.
  for (const add of [
    imports,
    campaigns,
    simulate,
    segments,
    enroll,
    enrollments,
    tasks,
    status,
    messages,
    explain,
    trace,
    conversations,
    leads,
    suppress,
    dnc,
    deliveries,
    replay,
    templates,
    senders,
    channels,
    limits,
    keys,
    tenant,
    tenants,
    migrate,
    doctor,
    open,
  ]) {
    add(program);
  }
  return program;
}
