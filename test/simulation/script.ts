/**
 * What happens in one world, drawn from its seed before it starts: who is enrolled, which settings hold, what operators do and when.
 *
 * Invariant: a list of independent events, so that a failing world can be made smaller by leaving some away.
 */
import { type PlanName, people } from "./base.ts";
import { Rng } from "./rng.ts";

export type Operation =
  | { readonly kind: "launch"; readonly plan: PlanName; readonly people: readonly string[] }
  | { readonly kind: "enroll_again"; readonly plan: PlanName; readonly people: readonly string[] }
  | { readonly kind: "import" }
  | { readonly kind: "enroll_all"; readonly plan: PlanName }
  | { readonly kind: "pause" | "resume" | "stop"; readonly plan: PlanName }
  | { readonly kind: "suspend" | "reactivate" }
  | { readonly kind: "suppress"; readonly email: string }
  | { readonly kind: "do_not_call"; readonly phone: string }
  | { readonly kind: "forged_webhook" }
  | { readonly kind: "stranger_event" }
  | { readonly kind: "clock_jump"; readonly milliseconds: number }
  | { readonly kind: "sweep" };

export interface ScriptEvent {
  readonly id: number;
  /** Milliseconds after the start. */
  readonly after: number;
  /** 0 or 1. */
  readonly tenant: number;
  readonly operation: Operation;
}

export interface Script {
  readonly seed: string;
  readonly events: readonly ScriptEvent[];
  /** Settings of each tenant. */
  readonly settings: readonly { readonly caps: number | null; readonly quiet: boolean; readonly rate: number }[];
  /** Kinds of fault that may strike. */
  readonly faults: Readonly<Record<FaultFamily, boolean>>;
}

export const faultFamilies = [
  "bells",
  "webhooks",
  "kills",
  "freezes",
  "connections",
  "providers",
  "skew",
  "interleaving",
] as const;
export type FaultFamily = (typeof faultFamilies)[number];

const minute = 60_000;
const hour = 60 * minute;

export function writeScript(seed: string): Script {
  const rng = new Rng(`${seed}/script`);
  const events: ScriptEvent[] = [];
  const add = (tenant: number, after: number, operation: Operation) =>
    events.push({ id: events.length, tenant, after, operation });
  const some = (count: number): string[] => {
    const rest = people.map((person) => person.email);
    return Array.from({ length: count }, () => rest.splice(rng.int(0, rest.length - 1), 1)[0] ?? "");
  };
  for (const tenant of [0, 1]) {
    // Both begin at the same moment, so that they meet everywhere.
    const at = rng.int(0, tenant === 0 ? 1 : 4) * 20 * minute;
    const plan: PlanName = rng.chance(0.6) ? "mailFirst" : "textFirst";
    const chosen = some(2);
    add(tenant, at, { kind: "launch", plan, people: chosen });
    if (rng.chance(0.25)) add(tenant, at + rng.int(0, 2), { kind: "enroll_again", plan, people: chosen });
    if (rng.chance(0.35)) {
      const other: PlanName = plan === "mailFirst" ? "textFirst" : "announcement";
      add(tenant, at + rng.int(0, 30 * hour), { kind: "launch", plan: other, people: some(rng.int(1, 2)) });
    }
    if (rng.chance(0.35)) {
      const when = at + (rng.chance(0.5) ? rng.int(0, 2_000) : rng.int(0, 40 * hour));
      add(tenant, when, { kind: "pause", plan });
      if (rng.chance(0.8)) add(tenant, when + rng.int(minute, 50 * hour), { kind: "resume", plan });
    }
    if (rng.chance(0.08)) add(tenant, at + rng.int(0, 60 * hour), { kind: "stop", plan });
    if (rng.chance(0.12)) {
      const when = at + (rng.chance(0.5) ? rng.int(0, 2_000) : rng.int(0, 40 * hour));
      add(tenant, when, { kind: "suspend" });
      add(tenant, when + rng.int(minute, 30 * hour), { kind: "reactivate" });
    }
    if (rng.chance(0.3)) {
      const email = rng.pick(chosen);
      add(tenant, at + (rng.chance(0.6) ? rng.int(0, 2_000) : rng.int(0, 50 * hour)), { kind: "suppress", email });
    }
    if (rng.chance(0.15)) {
      const phone = people.find((person) => person.email === chosen[0])?.phone ?? "";
      add(tenant, at + rng.int(0, 50 * hour), { kind: "do_not_call", phone });
    }
    if (rng.chance(0.12)) {
      const when = at + rng.int(0, 24 * hour);
      add(tenant, when, { kind: "import" });
      add(tenant, when + rng.int(10 * minute, hour), { kind: "enroll_all", plan: "announcement" });
    }
    if (rng.chance(0.3)) add(tenant, at + rng.int(0, 40 * hour), { kind: "forged_webhook" });
    if (rng.chance(0.2)) add(tenant, at + rng.int(8 * hour, 60 * hour), { kind: "stranger_event" });
  }
  if (rng.chance(0.3)) add(0, rng.int(0, 60 * hour), { kind: "clock_jump", milliseconds: rng.int(hour, 14 * hour) });
  return {
    seed,
    events,
    settings: [0, 1].map(() => ({
      caps: rng.chance(0.4) ? 1 : null,
      quiet: rng.chance(0.4),
      rate: rng.chance(0.4) ? rng.int(1, 2) : 1_000,
    })),
    faults: Object.fromEntries(faultFamilies.map((family) => [family, true])) as Record<FaultFamily, boolean>,
  };
}

/** In plain words. */
export function tell({ operation: op }: ScriptEvent): string {
  switch (op.kind) {
    case "launch":
      return `enrolls ${op.people.map((one) => one.split("@")[0]).join(", ")} in ${op.plan} and activates it`;
    case "enroll_again":
      return `enrolls ${op.people.map((one) => one.split("@")[0]).join(", ")} in ${op.plan} once more`;
    case "import":
      return "imports a list";
    case "enroll_all":
      return `enrolls everybody in ${op.plan} and activates it`;
    case "pause":
    case "resume":
    case "stop":
      return `${op.kind}s ${op.plan}`;
    case "suspend":
      return "is suspended";
    case "reactivate":
      return "is active again";
    case "suppress":
      return `suppresses ${op.email}`;
    case "do_not_call":
      return `puts ${op.phone} on the do-not-call list`;
    case "forged_webhook":
      return "gets a webhook with a forged signature";
    case "stranger_event":
      return "gets an event about another tenant's message";
    case "clock_jump":
      return `(the clock jumps ${Math.round(op.milliseconds / 60_000)} minutes ahead)`;
    case "sweep":
      return "(a sweep)";
  }
}
