/** Routes of campaigns and enrollments. Invariant: an active campaign's plan never changes under those who walk it; moving them is a request of its own. */
import * as campaigns from "@outrider/core/campaigns";
import { campaignStatuses, channels, enrollmentStatuses, idOf } from "@outrider/core/kernel";
import * as z from "zod";
import { type Endpoint, endpoint, id, maybeText, maybeTime, page, text, time } from "./endpoint.ts";
import { Explanation } from "./messages.ts";

const Campaign = z
  .object({
    id,
    name: text,
    type: text,
    status: z.enum(campaignStatuses),
    planVersionId: id.nullable(),
    planHash: maybeText,
    settings: z.unknown(),
    responseCount: z.int(),
    createdAt: time,
    startedAt: maybeTime,
    endedAt: maybeTime,
  })
  .meta({ id: "Campaign" });

const CountedCampaign = Campaign.extend({
  sentCount: z.int().describe("messages that a provider accepted, counted for this answer"),
}).meta({ id: "CountedCampaign" });

const PlanVersion = z
  .object({
    id,
    versionNumber: z.int(),
    planHash: text,
    plan: z.unknown(),
    createdBy: maybeText,
    reason: maybeText,
    createdAt: time,
  })
  .meta({ id: "PlanVersion" });

const EnrollReport = z
  .object({
    audience: z.int(),
    enrolled: z.int(),
    alreadyEnrolled: z.int(),
    busy: z.int().describe("walking another campaign on the same channel"),
    noAddress: z.int(),
    unavailable: z.int().describe("deleted, do-not-contact, inactive or unknown"),
  })
  .meta({ id: "EnrollReport" });

const Enrollment = z
  .object({
    id,
    campaignId: id,
    contactId: id,
    leadId: id,
    channel: z.enum(channels),
    status: z.enum(enrollmentStatuses),
    nodeId: maybeText,
    planVersionId: id,
    planHash: text,
    state: z.unknown(),
    entry: z.int(),
    exitReason: maybeText,
    supersededBy: id.nullable(),
    startedAt: maybeTime,
    completedAt: maybeTime,
    createdAt: time,
  })
  .meta({ id: "Enrollment" });

const Transition = z
  .object({
    id,
    fromStatus: maybeText,
    toStatus: text,
    fromNodeId: maybeText,
    toNodeId: maybeText,
    reason: maybeText,
    triggeredBy: text,
    at: time,
  })
  .meta({ id: "Transition" });

const ById = z.object({ id: idOf("campaign") });
/** The forms of a plan, for the document. The compiler reads them itself, because it names what is wrong by node and field. */
export const PlanForm = z
  .union([
    campaigns.Plan.meta({ id: "PlanGraph" }),
    campaigns.HourSteps.meta({ id: "PlanInHours" }),
    campaigns.DaySteps.meta({ id: "PlanInDays" }),
    campaigns.HourSteps.shape.steps,
    campaigns.DaySteps.shape.steps,
  ])
  .describe("a graph of nodes, or steps in hours or in days: docs/plans.md");
const plan = {
  start: "intro",
  nodes: [
    {
      id: "intro",
      type: "send",
      channel: "email",
      content: { subject: "A question about {{ company.name }}", text: "Hello {{ contact.firstName }}, …" },
      transitions: [{ on: "no_open", to: "bump" }],
    },
    { id: "bump", type: "send", channel: "email", content: { subject: "Once more", text: "…" } },
  ],
};

const moves = {
  activate: campaigns.activate,
  pause: campaigns.pause,
  resume: campaigns.resume,
  stop: campaigns.stop,
} as const;

const move = (name: keyof typeof moves, summary: string): Endpoint =>
  endpoint({
    method: "post",
    path: `/v1/campaigns/{id}/${name}`,
    tag: "Campaigns",
    summary,
    scope: "campaigns:write",
    input: moves[name].schema,
    answer: Campaign,
    example: { reason: "as agreed" },
    run: ({ ctx, input }) => moves[name](ctx, input),
  });

const steer = (name: "pause" | "resume" | "stop", run: typeof campaigns.pauseEnrollment, summary: string): Endpoint =>
  endpoint({
    method: "post",
    path: `/v1/enrollments/{id}/${name}`,
    tag: "Enrollments",
    summary,
    scope: "campaigns:write",
    input: run.schema,
    answer: Enrollment,
    run: ({ ctx, input }) => run(ctx, input),
  });

export const campaignEndpoints: readonly Endpoint[] = [
  endpoint({
    method: "get",
    path: "/v1/campaigns",
    tag: "Campaigns",
    summary: "Campaigns",
    scope: "campaigns:read",
    input: campaigns.listCampaigns.schema,
    answer: page(CountedCampaign),
    run: ({ ctx, input }) => campaigns.listCampaigns(ctx, input),
  }),
  endpoint({
    method: "post",
    path: "/v1/campaigns",
    tag: "Campaigns",
    summary: "Make a campaign, with a plan or without",
    description: "What is wrong with its plan is named by node and field.",
    scope: "campaigns:write",
    status: 201,
    input: campaigns.createCampaign.schema,
    documented: campaigns.createCampaign.schema.extend({ plan: PlanForm.optional() }),
    answer: Campaign,
    example: { name: "Autumn", plan },
    run: ({ ctx, input }) => campaigns.createCampaign(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/campaigns/{id}",
    tag: "Campaigns",
    summary: "One campaign",
    scope: "campaigns:read",
    input: ById,
    answer: CountedCampaign,
    run: ({ ctx, input }) => campaigns.getCampaign(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/campaigns/{id}/versions",
    tag: "Campaigns",
    summary: "Its plan versions, latest first",
    scope: "campaigns:read",
    input: ById,
    answer: z.object({ versions: z.array(PlanVersion) }),
    run: async ({ ctx, input }) => ({ versions: await campaigns.listPlanVersions(ctx, input) }),
  }),
  endpoint({
    method: "post",
    path: "/v1/campaigns/{id}/versions",
    tag: "Campaigns",
    summary: "Change the plan for contacts who enroll from now on",
    description:
      "Those on their way keep their version until they are migrated. The same plan again is the same version.",
    scope: "campaigns:write",
    status: 201,
    input: campaigns.addPlanVersion.schema,
    documented: campaigns.addPlanVersion.schema.extend({ plan: PlanForm }),
    answer: Campaign,
    example: { plan, reason: "a friendlier bump" },
    run: ({ ctx, input }) => campaigns.addPlanVersion(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/campaigns/{id}/diagram",
    tag: "Campaigns",
    summary: "Its plan as a Mermaid flowchart",
    scope: "campaigns:read",
    textType: "text/plain; charset=utf-8",
    input: ById,
    answer: z.string(),
    run: ({ ctx, input }) => campaigns.diagram(ctx, input),
  }),
  move("activate", "Start everybody who is enrolled; who enrolls later starts at once"),
  move("pause", "Start nothing more until it is resumed"),
  move("resume", "Go on; what is overdue passes every check again"),
  move("stop", "End it for good and cancel everything unsent"),
  endpoint({
    method: "post",
    path: "/v1/campaigns/{campaignId}/enroll",
    tag: "Campaigns",
    summary: "Take contacts in",
    description: "A list of contacts, a segment, a filter, or everybody. The parts of the answer add up to `audience`.",
    scope: "campaigns:write",
    maxKeys: 20_000,
    input: campaigns.enroll.schema,
    answer: EnrollReport,
    example: { audience: { all: true } },
    run: ({ ctx, input }) => campaigns.enroll(ctx, input),
  }),
  endpoint({
    method: "post",
    path: "/v1/campaigns/{campaignId}/migrate",
    tag: "Campaigns",
    summary: "Move those on their way to the current plan",
    description:
      "Up to 5,000 a call; while `more`, call again with `nextCursor` as `cursor`. Nodes that keep their id need no entry in `nodeMap`; all change at once, so two may change places. A node that has no entry and whose id goes to another one has no counterpart. Whoever stands on a node without counterpart is paused there (`needMapping`) until a call brings one. A map that names a node nobody has is refused, and nobody is touched.",
    scope: "campaigns:write",
    input: campaigns.migrateEnrollments.schema,
    answer: z.object({
      migrated: z.int(),
      needMapping: z
        .array(z.object({ enrollmentId: id, problem: text }))
        .describe("paused: the node they stand on has no counterpart"),
      nextCursor: z.string().nullable(),
      more: z.boolean(),
    }),
    example: { nodeMap: { bump: "second-bump" } },
    run: ({ ctx, input }) => campaigns.migrateEnrollments(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/enrollments",
    tag: "Enrollments",
    summary: "Who walks a plan",
    scope: "campaigns:read",
    input: campaigns.listEnrollments.schema,
    answer: page(Enrollment),
    run: ({ ctx, input }) => campaigns.listEnrollments(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/enrollments/{id}",
    tag: "Enrollments",
    summary: "One enrollment",
    scope: "campaigns:read",
    input: campaigns.getEnrollment.schema,
    answer: Enrollment,
    run: ({ ctx, input }) => campaigns.getEnrollment(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/enrollments/{id}/transitions",
    tag: "Enrollments",
    summary: "What moved it, oldest first",
    scope: "campaigns:read",
    input: campaigns.listTransitions.schema,
    answer: z.object({ transitions: z.array(Transition) }),
    run: async ({ ctx, input }) => ({ transitions: await campaigns.listTransitions(ctx, input) }),
  }),
  endpoint({
    method: "get",
    path: "/v1/enrollments/{id}/explain",
    tag: "Enrollments",
    summary: "Why it stands where it stands",
    scope: "campaigns:read",
    input: campaigns.getEnrollment.schema,
    answer: Explanation,
    run: async ({ ctx, input }) => {
      const { campaignId, contactId } = await campaigns.getEnrollment(ctx, input);
      return campaigns.explain(ctx, { campaignId, contactId } as z.input<typeof campaigns.Explain>);
    },
  }),
  steer("pause", campaigns.pauseEnrollment, "Hold one enrollment"),
  steer("resume", campaigns.resumeEnrollment, "Let it go on"),
  steer("stop", campaigns.stopEnrollment, "End it"),
];
