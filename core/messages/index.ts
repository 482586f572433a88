/**
 * Messages: the outbox and everything that decides whether something is sent. `outbound_messages` is the only thing that decides;
 * there is no other way out.
 */
export { type ClaimedMessage, callTimeoutMs, claimDue, startWithinMs, variablesOf } from "./claim.ts";
export { type Composed, type ContentSource, compose } from "./content.ts";
export { type DeliverDeps, type DeliverReport, deliver } from "./deliver.ts";
export { ExplainMessage, explainMessage, type MessageExplanation } from "./explain.ts";
export {
  type Addressed,
  type AddressFacts,
  addressFacts,
  addressKey,
  type Candidate,
  evidenceOf,
  gateFacts,
  readCandidates,
  type SendSpec,
} from "./facts.ts";
export {
  type CheckAnswer,
  checkAll,
  type DecisionFacts,
  decide,
  type GateFacts,
  quietFacts,
  recheckSeconds,
  type Verdict,
} from "./gate.ts";
export { appliedTo, type LimitRow, type RateSubject, turnOf } from "./limits.ts";
export { type Link, type LinkKind, linkUrl, readLink, signLink, trackedLinkId } from "./links.ts";
export { expireWindows, makePartitions } from "./maintain.ts";
export { cancelUnsent, enqueue, type NewMessage, type NotQueued, neverSent } from "./outbox.ts";
export type { CampaignPort, EnrollmentNews } from "./ports.ts";
export { type Applied, giveBack, type Limit, type Place, type Turn, takeTurn, Usage } from "./rate.ts";
export { getMessage, listEvents, listMessages } from "./read.ts";
export { expireLeases, minimumRemainingMs, type ReconcileDeps, type ReconcileReport, reconcile } from "./reconcile.ts";
export { type MovedWalk, type Renaming, recordNames, renameNodes, walkNode } from "./rename.ts";
export { type CallOutcome, type CallResult, storeResults } from "./results.ts";
export { type Segments, segmentsOf } from "./segments.ts";
export {
  type NodeRename,
  nodeRenames,
  onePerStep,
  type RenamedStep,
  stepPlace,
  type TakenStep,
  TakenSteps,
  takenSteps,
} from "./steps.ts";
