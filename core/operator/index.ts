/** Operator: read models for those who run the installation. Invariant: nothing here writes. */
export { catalogueViolations, requireFences } from "./catalogue.ts";
export { type Health, health } from "./health.ts";
export { checkInvariants, checkTenantInvariants, type InvariantResult } from "./invariants.ts";
