/** Analytics: what became of campaigns and of single messages, read from the rows that the work itself wrote. Invariant: nothing here writes. */
export { type CampaignReport, campaignReport, type NodeReport, type VariantReport } from "./report.ts";
export { type Trace, type TraceStep, trace, traceStages } from "./trace.ts";
