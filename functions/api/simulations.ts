/** Routes of what a campaign would do, and of what it has done. Invariant: a stored simulation never changes. */
import * as analytics from "@outrider/core/analytics";
import * as campaigns from "@outrider/core/campaigns";
import { idOf } from "@outrider/core/kernel";
import * as z from "zod";
import { PlanForm } from "./campaigns.ts";
import { type Endpoint, endpoint, id, maybeText, maybeTime, page, text, time } from "./endpoint.ts";

const counts = z.record(z.string(), z.number());

const NodeFunnel = z.object({ queued: z.int(), sent: z.int(), ended: counts, held: counts, variants: counts });

const Summary = z
  .object({
    enrolled: z.int(),
    leftOut: counts.describe("who of an audience would not be enrolled, and why"),
    messages: z.int(),
    sent: z.int(),
    byVerdict: counts,
    byChannel: counts,
    held: z.record(z.string(), z.object({ messages: z.int(), seconds: z.number() })),
    nodes: z.record(z.string(), NodeFunnel),
    enrollments: counts,
    exitReasons: counts,
    perHour: counts,
    perDay: counts,
    timeZone: text,
    firstSendAt: maybeText,
    lastSendAt: maybeText,
    endedAt: text,
    cost: z.object({ currency: z.literal("USD"), emails: z.number(), smsSegments: z.number(), total: z.number() }),
  })
  .meta({ id: "SimulationSummary" });

const simulation = {
  id: id.nullable().describe("null: not stored"),
  campaignId: id,
  planHash: text,
  sendsHash: text.describe("the same input has the same"),
  startsAt: time,
  contacts: z.int(),
  summary: Summary,
};

const SimulatedSend = z
  .object({
    ordinal: z.int(),
    contactId: id,
    nodeId: text,
    variantId: maybeText,
    channel: text,
    address: text,
    at: maybeTime,
    verdict: text.describe("sent, or the rule that said no"),
    detail: z.unknown(),
  })
  .meta({ id: "SimulatedSend" });

const ById = z.object({ id: idOf("simulation") });

export const simulationEndpoints: readonly Endpoint[] = [
  endpoint({
    method: "post",
    path: "/v1/campaigns/{campaignId}/simulate",
    tag: "Campaigns",
    summary: "What would be sent to whom, when, and what would be held and why",
    description: "Nothing is sent. The same engine and the same gate as the live run decide, under a simulated clock.",
    scope: "campaigns:read",
    status: 201,
    input: campaigns.simulate.schema,
    documented: campaigns.simulate.schema.extend({ plan: PlanForm.optional() }),
    answer: z.object(simulation).meta({ id: "Simulation" }),
    example: { audience: { all: true }, engagement: "none" },
    run: async ({ ctx, input }) => {
      const { sends: _, enrollments: __, steps: ___, ...shown } = await campaigns.simulate(ctx, input);
      return shown;
    },
  }),
  endpoint({
    method: "get",
    path: "/v1/simulations/{id}",
    tag: "Campaigns",
    summary: "A stored simulation",
    scope: "campaigns:read",
    input: ById,
    answer: z.object({ ...simulation, createdAt: time }).meta({ id: "StoredSimulation" }),
    run: ({ ctx, input }) => campaigns.getSimulation(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/simulations/{id}/sends",
    tag: "Campaigns",
    summary: "Its messages, in the order of their ends",
    scope: "campaigns:read",
    input: campaigns.listSimulatedSends.schema,
    answer: page(SimulatedSend),
    run: ({ ctx, input }) => campaigns.listSimulatedSends(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/campaigns/{campaignId}/report",
    tag: "Campaigns",
    summary: "What became of a campaign: counts that add up, funnel per node, rates, cost",
    scope: "reports:read",
    input: analytics.campaignReport.schema,
    answer: Report(),
    run: ({ ctx, input }) => analytics.campaignReport(ctx, input),
  }),
];

function Report() {
  const funnel = {
    queued: z.int(),
    sent: z.int(),
    delivered: z.int(),
    opened: z.int(),
    clicked: z.int(),
    replied: z.int(),
    bounced: z.int(),
    complained: z.int(),
    unsubscribed: z.int(),
  };
  const rates = z
    .object({
      delivered: z.number(),
      bounced: z.number(),
      opened: z.number(),
      clicked: z.number(),
      replied: z.number(),
      complained: z.number(),
      unsubscribed: z.number(),
    })
    .describe("shares of 0 to 1")
    .meta({ id: "Rates" });
  return z
    .object({
      campaignId: id,
      name: text,
      status: text,
      enrolled: z.int(),
      enrollments: z
        .object({
          draft: z.int(),
          active: z.int(),
          paused: z.int(),
          completed: z.int(),
          stopped: z.int(),
          error: z.int(),
        })
        .describe("adds up to enrolled"),
      exitReasons: counts,
      messages: z.object({ ...funnel, byStatus: counts, rates }),
      nodes: z.array(
        z.object({ nodeId: text, channel: text, ...funnel, byStatus: counts, heldBy: counts, endedBy: counts, rates }),
      ),
      variants: z.array(z.object({ nodeId: text, variantId: text, ...funnel, rates })),
      perDay: counts,
      inbound: counts,
      cost: z.object({ currency: z.literal("USD"), emails: z.number(), texts: z.number(), total: z.number() }),
    })
    .meta({ id: "CampaignReport" });
}
