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
  /** Waits from then on for the first run of this handler that comes to its nth turn, and comes in the middle of it. */
  readonly meets?: { readonly handler: "send" | "deliveries" | "actions"; readonly turn: number };
}

export interface TenantSettings {
  /** Mails to one address within a day. */
  readonly caps: number | null;
  readonly quiet: boolean;
  /** Messages of one channel within a window. */
  readonly rate: { readonly count: number; readonly seconds: number };
  /** Its providers lose answers, refuse and stay silent much more often. */
  readonly sick: boolean;
}

export interface Script {
  readonly seed: string;
  readonly events: readonly ScriptEvent[];
  /** Settings of each tenant. */
  readonly settings: readonly TenantSettings[];
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
  const add = (tenant: number, after: number, operation: Operation, meets?: ScriptEvent["meets"]) =>
    events.push({ id: events.length, tenant, after, operation, ...(meets && { meets }) });
  const some = (count: number, from = people.map((person) => person.email)): string[] => {
    const rest = [...from];
    return Array.from(
      { length: Math.min(count, rest.length) },
      () => rest.splice(rng.int(0, rest.length - 1), 1)[0] ?? "",
    );
  };
  const phoneOf = (email: string | undefined): string => people.find((person) => person.email === email)?.phone ?? "";
  // Both tenants know the same people; in some worlds both write to the same ones.
  const shared = rng.chance(0.4) ? some(2) : null;
  const withTexts = rng.chance(0.5);
  for (const tenant of [0, 1]) {
    // Both begin at the same moment, so that they meet everywhere.
    const at = rng.int(0, tenant === 0 ? 1 : 4) * 20 * minute;
    const plan: PlanName = (shared ? !withTexts : rng.chance(0.6)) ? "mailFirst" : "textFirst";
    const chosen = shared ?? some(2);
    add(tenant, at, { kind: "launch", plan, people: chosen });
    if (rng.chance(0.25)) add(tenant, at + rng.int(0, 2), { kind: "enroll_again", plan, people: chosen });
    if (rng.chance(0.25)) add(tenant, at + rng.int(1, 20) * minute, { kind: "enroll_again", plan, people: some(2) });
    if (rng.chance(0.5)) {
      // Often to people that the first campaign writes to as well: a no is about the address, not about the campaign.
      const other: PlanName =
        plan === "mailFirst" ? rng.pick(["textFirst", "announcement"]) : rng.pick(["mailFirst", "announcement"]);
      const again = rng.chance(0.7) ? some(rng.int(1, 2), chosen) : some(rng.int(1, 2));
      add(tenant, at + (rng.chance(0.3) ? rng.int(0, 30) * minute : rng.int(0, 30 * hour)), {
        kind: "launch",
        plan: other,
        people: again,
      });
    }
    // Somebody says no, or shuts something, in the middle of a run that is about to write to them.
    if (rng.chance(0.5)) {
      const meets = { handler: rng.weighted({ send: 6, deliveries: 1, actions: 1 }), turn: rng.int(2, 13) };
      const no = rng.weighted<"suppress" | "do_not_call" | "pause" | "suspend">({
        suppress: 3,
        do_not_call: 5,
        pause: 2,
        suspend: 2,
      });
      const person = rng.pick(chosen);
      const from = Math.max(0, at - minute) + (rng.chance(0.6) ? 0 : rng.int(0, 30 * hour));
      if (no === "suppress") add(tenant, from, { kind: "suppress", email: person }, meets);
      // Of either tenant: do-not-call is the organization's.
      if (no === "do_not_call") add(rng.int(0, 1), from, { kind: "do_not_call", phone: phoneOf(person) }, meets);
      if (no === "pause") {
        add(tenant, from, { kind: "pause", plan }, meets);
        add(tenant, from + rng.int(hour, 50 * hour), { kind: "resume", plan });
      }
      if (no === "suspend") {
        add(tenant, from, { kind: "suspend" }, meets);
        add(tenant, from + rng.int(hour, 30 * hour), { kind: "reactivate" });
      }
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
      add(tenant, at + rng.int(0, 50 * hour), { kind: "do_not_call", phone: phoneOf(chosen[0]) });
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
      rate: rng.chance(0.4)
        ? { count: rng.int(1, 2), seconds: rng.pick([60, 600, 3_600]) }
        : { count: 1_000, seconds: 3_600 },
      sick: rng.chance(0.3),
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
