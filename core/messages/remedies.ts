/**
 * What to do about a message that the gate does not let go. Invariant: one sentence for each reason, here alone: `explain` says it, and the table
 * in docs/operating.md is compared with it.
 */
import type { GateReason } from "../kernel/index.ts";

const itself = "Nothing: it ends by itself, at an instant that is stored.";

/** null: the message has ended, and should have. */
export const remedies: Readonly<Record<GateReason, string | null>> = {
  quiet_hours: itself,
  rate_limit: itself,
  frequency_cap: itself,
  budget: itself,
  tz_unknown:
    "Give the contact a time zone, state or country; what no calling-time rule speaks about (e-mail, transactional texts) the tenant may let go with `holdUnknownZone: false`.",
  sender_unverified: "Verify the sender: `npx outrider senders verify <sender>`.",
  channel_unavailable: "Connect an account for this channel, or set one that is disabled to active.",
  credentials:
    "The provider refused the account, which is `degraded` with its `statusReason`: mend it there, then `PATCH /v1/channels/{id}` with credentials.",
  postal_address_missing: "Set the postal address: `npx outrider tenant set --postal-address <text>`.",
  render_failed:
    "Give the contact what the template names, or make a version of the plan with `| default:` for whoever has none.",
  campaign_not_active: "Activate or resume the campaign: `npx outrider campaigns resume <campaign>`.",
  enrollment_not_active: "Resume the enrollment: `npx outrider enrollments resume <enrollment>`.",
  tenant_suspended: "Resume the tenant: `npx outrider tenant resume --yes`.",
  no_consent:
    "Record the consent, if there is one, before the next message: `POST /v1/consents`, or a column `sms_consent` in an import.",
  lead_unavailable: null,
  suppressed: null,
  dnc: null,
  address_invalid: null,
  duplicate_address: null,
  expired: null,
};
