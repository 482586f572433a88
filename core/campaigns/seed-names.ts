/** Schemas under the names that the e-mail campaign source exports them by. Invariant: aliases only; each is the schema the command parses with. */
import { DaySteps, HourSteps } from "./compile.ts";
import { addPlanVersion, CreateCampaign } from "./manage.ts";

export const EmailCampaignCreateSchema = CreateCampaign;
/** What may change of a campaign is its plan; the version before it stays. */
export const EmailCampaignUpdateSchema = addPlanVersion.schema;
/** One step of a sequence with delays in hours. */
export const EmailSequenceStepCreateSchema = HourSteps.shape.steps.element;
/** One step of a nurture sequence: {step, delay_days, channel, template_id}. */
export const NurtureStepSchema = DaySteps.shape.steps.element;
