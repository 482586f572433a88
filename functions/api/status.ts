/** The route of a tenant's state in numbers. Invariant: it names states, rules and ids, never a person. */
import { tenantStatus } from "@outrider/core/operator";
import * as z from "zod";
import { type Endpoint, endpoint, text, time } from "./endpoint.ts";

const counts = z.record(text, z.int());
const Queue = z
  .object({
    waiting: z.int(),
    running: z.int(),
    failed: z.int().describe("set aside: needs a person"),
    oldestDueSeconds: z.int().nullable().describe("how long the oldest row that is due has been; null when nothing is"),
  })
  .meta({ id: "Queue" });

const Status = z
  .object({
    at: time,
    contacts: z.int(),
    leads: z.int(),
    campaigns: counts.describe("by status"),
    enrollments: counts.describe("by status"),
    messages: counts.describe("by status"),
    queued: counts.describe("messages that wait, by channel"),
    held: counts.describe("messages held back, by reason"),
    ambiguous: counts.describe("sends without a known end, by provider"),
    queues: z.object({ deliveries: Queue, actions: Queue, imports: Queue, send: Queue }),
    examined: z
      .object({
        ranAt: time,
        checks: z.int(),
        skipped: z.array(text).describe("rules that would have taken too long"),
        violations: z.int(),
        broken: z.array(z.object({ id: text, violations: z.int(), sample: z.array(text) })),
      })
      .nullable()
      .describe("what the hourly examination found; null before the first"),
  })
  .meta({ id: "Status" });

export const statusEndpoints: readonly Endpoint[] = [
  endpoint({
    method: "get",
    path: "/v1/status",
    tag: "Status",
    summary: "Count what there is, what waits and what is held",
    scope: "reports:read",
    input: z.object({}),
    answer: Status,
    run: ({ ctx }) => tenantStatus(ctx),
  }),
];
