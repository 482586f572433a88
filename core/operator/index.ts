/** Operator: read models for those who run the installation. Invariant: nothing here writes, but the record that it looked. */
export { catalogueViolations, requireFences } from "./catalogue.ts";
export { type Health, health } from "./health.ts";
export {
  checkInstallation,
  checkInvariants,
  checkSeclusion,
  checkTenantInvariants,
  type Examination,
  examinationMs,
  examineTenant,
  type InvariantResult,
  requireSight,
} from "./invariants.ts";
export { type DoctorRun, expireRuns, lastRun, longestUnexamined, recordRun } from "./runs.ts";
export { type Queue, type TenantStatus, tenantStatus } from "./status.ts";
