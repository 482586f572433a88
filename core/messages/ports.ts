/** What sending needs from the module that owns plans, without knowing it: handlers pass the campaigns module in. */
import type { TxContext } from "../kernel/index.ts";
import type { Stopped } from "../suppression/index.ts";
import type { Candidate, SendSpec } from "./facts.ts";

/** What became of one message, told to the enrollment it belongs to, in the transaction that stores it. */
export interface EnrollmentNews {
  readonly enrollmentId: string;
  readonly nodeId: string;
  readonly kind: "sent" | "failed";
  readonly reason?: string;
  readonly at: Date;
}

export interface CampaignPort {
  specsOf(ctx: TxContext, candidates: readonly Candidate[]): Promise<ReadonlyMap<string, SendSpec>>;
  /** Moves enrollments on. Called with their rows already locked, or lockable in id order. */
  tell(ctx: TxContext, news: readonly EnrollmentNews[]): Promise<void>;
  /** Messages that a suppression has ended belong to enrollments too. */
  tellStopped(ctx: TxContext, stopped: readonly Stopped[]): Promise<void>;
}
