/**
 * Campaigns: plans, the contacts walking them, and what moves them on. The engine (`engine.ts`) is pure; everything that touches rows goes
 * through `applyEvents`.
 */
export { applyEvents, type EnrollmentEvent } from "./apply.ts";
export { type Comparison, compareWithLive, type Difference, type Drift, driftOf } from "./compare.ts";
export { type Compiled, compilePlan, DaySteps, HourSteps } from "./compile.ts";
export { setLeadStatus, updateLead } from "./convert.ts";
export { describePlan } from "./describe.ts";
export {
  Audience,
  Enroll,
  type EnrollReport,
  enroll,
  getEnrollment,
  listEnrollments,
  listTransitions,
  pauseEnrollment,
  resumeEnrollment,
  stopEnrollment,
} from "./enroll.ts";
export { Explain, type Explanation, explain, explainCodes } from "./explain.ts";
export { planHash } from "./hash.ts";
export { activate, pause, resume, stop } from "./lifecycle.ts";
export {
  addPlanVersion,
  type Campaign,
  type CountedCampaign,
  CreateCampaign,
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
export * from "./seed-names.ts";
export {
  getSimulation,
  listSimulatedSends,
  Simulate,
  type SimulateOptions,
  type Simulation,
  type SimulationRun,
  type StoredSend,
  simulate,
} from "./simulate.ts";
export type { EngineEvent, EnrollmentState } from "./state.ts";
export { addToDnc, suppress, tellStopped } from "./suppress.ts";
export { getTask, listTasks, taskStatuses, updateTask } from "./tasks.ts";
export { completeFinished } from "./write.ts";
