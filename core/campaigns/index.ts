/**
 * Campaigns: plans, the contacts walking them, and what moves them on. The engine (`engine.ts`) is pure; everything that touches rows goes
 * through `applyEvents`.
 */
export { applyEvents, type EnrollmentEvent } from "./apply.ts";
export { type Compiled, compilePlan } from "./compile.ts";
export { describePlan } from "./describe.ts";
export * from "./enroll.ts";
export { planHash } from "./hash.ts";
export { activate, pause, resume, stop } from "./lifecycle.ts";
export {
  addPlanVersion,
  type Campaign,
  CreateCampaign,
  checkPlan,
  createCampaign,
  diagram,
  getCampaign,
  listCampaigns,
  listPlanVersions,
  PlanSource,
} from "./manage.ts";
export { type MigrationReport, migrateEnrollments } from "./migration.ts";
export { Plan, type PlanInput } from "./plan.ts";
export { campaignPort } from "./port.ts";
export { runActions } from "./run.ts";
export type { EngineEvent, EnrollmentState } from "./state.ts";
export { addToDnc, suppress, tellStopped } from "./suppress.ts";
export { completeFinished } from "./write.ts";
