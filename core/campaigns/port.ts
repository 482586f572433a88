/** What sending asks of campaigns: the plan's word on a message, and to be told what became of it. */
import { sql } from "kysely";
import type { TxContext } from "../kernel/index.ts";
import type { CampaignPort, Candidate, EnrollmentNews, SendSpec } from "../messages/index.ts";
import { applyEvents } from "./apply.ts";
import { nodeOf } from "./graph.ts";
import { resolveContent } from "./hash.ts";
import type { Plan, SendNode } from "./plan.ts";
import { tellStopped } from "./suppress.ts";
import { planVersions } from "./versions.ts";

const weekdays = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

interface TemplateRow {
  readonly id: string;
  readonly subject: string | null;
  readonly body_html: string | null;
  readonly body_text: string | null;
}

/** Subject, body and hours of one send node for the holder of a variant. Pure. */
export function specOf(
  plan: Plan,
  node: SendNode,
  variantId: string | null,
  template: TemplateRow | undefined,
): SendSpec {
  const resolved = resolveContent(node, variantId);
  const content = {
    subject: resolved.subject ?? template?.subject ?? undefined,
    html: resolved.html ?? template?.body_html ?? undefined,
    text: resolved.text ?? template?.body_text ?? undefined,
  };
  const { schedule } = node;
  return {
    content,
    ...(schedule && {
      nodeWindow: {
        start: schedule.from,
        end: schedule.to,
        days: schedule.days.map((day) => weekdays.indexOf(day) + 1) as NonNullable<SendSpec["nodeWindow"]>["days"],
      },
    }),
    planQuietHours: plan.quietHours,
    timeZone: plan.timeZone,
  };
}

async function templatesOf(ctx: TxContext, ids: readonly string[]): Promise<ReadonlyMap<string, TemplateRow>> {
  if (ids.length === 0) return new Map();
  const { rows } = await sql<TemplateRow>`
    select id, subject, body_html, body_text from email_templates where tenant_id = ${ctx.tenantId} and id = any(${ids as string[]})`.execute(
    ctx.db,
  );
  return new Map(rows.map((row) => [row.id, row]));
}

async function specsOf(
  ctx: TxContext,
  candidates: readonly Pick<Candidate, "id" | "plan_version_id" | "node_id" | "variant_id" | "template_id">[],
): Promise<ReadonlyMap<string, SendSpec>> {
  const plans = await planVersions(
    ctx,
    candidates.flatMap((row) => (row.plan_version_id === null ? [] : [row.plan_version_id])),
  );
  const templates = await templatesOf(ctx, [
    ...new Set(candidates.flatMap((row) => (row.template_id === null ? [] : [row.template_id]))),
  ]);
  // Many candidates share a node; what the plan says of it is made once.
  const made = new Map<string, SendSpec>();
  return new Map(
    candidates.flatMap((row): [string, SendSpec][] => {
      const name = `${row.plan_version_id} ${row.node_id} ${row.variant_id} ${row.template_id}`;
      const known = made.get(name);
      if (known) return [[row.id, known]];
      const version = row.plan_version_id === null ? undefined : plans.get(row.plan_version_id);
      const node = version && nodeOf(version.plan, row.node_id);
      const template = row.template_id === null ? undefined : templates.get(row.template_id);
      if (!version || node?.type !== "send") return [];
      const spec = specOf(version.plan, node, row.variant_id, template);
      made.set(name, spec);
      return [[row.id, spec]];
    }),
  );
}

async function tell(ctx: TxContext, news: readonly EnrollmentNews[]): Promise<void> {
  await applyEvents(
    ctx,
    news.map(({ enrollmentId, nodeId, kind, reason, at }) => ({
      enrollmentId,
      event:
        kind === "sent"
          ? { type: "sent", nodeId, at: at.toISOString() }
          : { type: "send_failed", nodeId, at: at.toISOString(), ...(reason !== undefined && { reason }) },
    })),
  );
}

export const campaignPort: CampaignPort = { specsOf, tell, tellStopped };
export { templatesOf };
