/** What goes into a simulation and what comes out of it. All of it is plain data: an input can be kept, and run again to the same end. */
import type { Channel, GateReason } from "../kernel/index.ts";
import type { AddressFacts, Candidate, LimitRow, NodeRename, SendSpec, TakenStep, Turn } from "../messages/index.ts";
import type { Restraint, TenantSettings } from "../tenancy/index.ts";
import type { Plan } from "./plan.ts";
import type { EnrollmentState, StateStatus } from "./state.ts";

type Row = Readonly<Record<string, unknown>>;

export interface SimulationInput {
  readonly startAt: Date;
  readonly tenant: {
    readonly id: string;
    readonly name: string;
    readonly status: "active" | "suspended";
    readonly settings: TenantSettings;
    readonly unread: readonly Restraint[];
  };
  readonly campaign: { readonly id: string; readonly name: string };
  /** By plan version id. */
  readonly plans: ReadonlyMap<string, Plan>;
  /** Do branches read fields of leads, contacts or companies? */
  readonly needsFields: boolean;
  readonly walkers: readonly Walking[];
  readonly contacts: ReadonlyMap<string, SimulatedContact>;
  readonly leads: ReadonlyMap<string, Row>;
  readonly companies: ReadonlyMap<string, Row>;
  /** By `specKey`. */
  readonly specs: ReadonlyMap<string, SendSpec>;
  /** By `routeKey`. */
  readonly routes: ReadonlyMap<string, Route>;
  readonly known: AddressFacts;
  readonly limits: readonly LimitRow[];
  readonly windows: readonly {
    readonly limitId: string;
    readonly key: string;
    readonly windowStart: Date;
    readonly used: number;
    readonly reserved: number;
  }[];
  /** Dedupe keys of this campaign's messages that were or may still be sent, and their enrollments. */
  readonly owners: ReadonlyMap<string, string>;
  /** What was said of the campaign's nodes by those who moved enrollments. */
  readonly renames: readonly NodeRename[];
  /** Steps that addresses have had; empty where nothing was renamed. */
  readonly taken: readonly TakenStep[];
}

export const specKey = (planVersionId: string, nodeId: string, variantId: string | null): string =>
  `${planVersionId} ${nodeId} ${variantId ?? ""}`;
export const routeKey = (channel: string, senderId: string | null): string => `${channel} ${senderId ?? ""}`;

/** Through whom a message leaves. */
export interface Route {
  readonly sender: Candidate["sender"];
  readonly account: Candidate["channel_config"];
}

export interface Walking {
  /** The enrollment's id; of a contact that is not enrolled yet, a name that sorts as its enrollment would. */
  readonly id: string;
  readonly contactId: string;
  readonly leadId: string;
  readonly planVersionId: string;
  readonly senderId: string | null;
  readonly entry: number;
  /** Begins at the start of the simulation. */
  readonly isDraft: boolean;
  readonly state: EnrollmentState | null;
  readonly actions: readonly Waiting[];
  readonly messages: readonly WaitingMessage[];
}

export interface Waiting {
  readonly id: string;
  readonly action: "node" | "timeout";
  readonly nodeId: string;
  readonly watch: string | null;
  readonly runAt: Date;
}

export interface WaitingMessage {
  readonly id: string;
  readonly planVersionId: string;
  readonly nodeId: string;
  /** By which node its walk knows it. */
  readonly walkNodeId: string;
  readonly variantId: string | null;
  readonly address: string;
  readonly suppressionKey: string;
  readonly dedupeKey: string;
  /** Was handed to a provider before, and put back. */
  readonly wasClaimed: boolean;
  readonly runAt: Date;
  readonly expiresAt: Date;
  readonly turn: Turn | null;
}

export interface SimulatedContact {
  readonly record: Row;
  readonly companyId: string | null;
  readonly channels: readonly {
    readonly id: string;
    readonly channel: string;
    readonly address: string;
    readonly isPrimary: boolean;
    readonly status: "active" | "invalid" | "bounced";
  }[];
}

export function companyOf({ contacts, companies }: SimulationInput, contactId: string): Row | null {
  const companyId = contacts.get(contactId)?.companyId ?? null;
  return (companyId !== null && companies.get(companyId)) || null;
}

/** A stretch for which a rule held a message back. */
export interface Held {
  readonly reason: GateReason;
  readonly from: Date;
  readonly until: Date;
  readonly detail: string;
}

/** One message of the simulated run. */
export interface SimulatedSend {
  readonly ordinal: number;
  readonly enrollmentId: string;
  readonly contactId: string;
  readonly nodeId: string;
  readonly variantId: string | null;
  readonly channel: Channel;
  readonly address: string;
  /** When it was sent, or came to another end; null: it was still held when the simulation ended. */
  readonly at: Date | null;
  readonly verdict: "sent" | GateReason;
  readonly held: readonly Held[];
  /** Of a text message that was sent. */
  readonly segments: number | null;
}

export interface Simulated {
  readonly sends: readonly SimulatedSend[];
  readonly enrollments: readonly {
    readonly id: string;
    readonly contactId: string;
    readonly status: StateStatus;
    readonly nodeId: string | null;
    readonly exitReason: string | null;
  }[];
  /** The last instant at which anything happened. */
  readonly endedAt: Date;
  /** Engine events and gate decisions: the unit in which speed is measured. */
  readonly steps: number;
}
