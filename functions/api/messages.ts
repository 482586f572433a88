/** Routes of messages, their events, explanations and traces, and of the tasks people get. Invariant: nothing here sends. */
import * as analytics from "@outrider/core/analytics";
import * as campaigns from "@outrider/core/campaigns";
import { eventTypes, gateReasons, idOf, messageStatuses } from "@outrider/core/kernel";
import * as messages from "@outrider/core/messages";
import * as z from "zod";
import { type Endpoint, endpoint, id, maybeText, maybeTime, page, text, time } from "./endpoint.ts";

const Message = z
  .object({
    id,
    campaignId: id.nullable(),
    enrollmentId: id.nullable(),
    contactId: id.nullable(),
    leadId: id.nullable(),
    nodeId: maybeText,
    variantId: maybeText,
    channel: text,
    messageClass: text,
    channelConfigId: id.nullable(),
    senderId: id.nullable(),
    address: text,
    templateId: id.nullable(),
    subject: maybeText,
    status: z.enum(messageStatuses),
    reason: maybeText.describe("why it is held or has ended"),
    detail: maybeText,
    attempts: z.int(),
    provider: maybeText,
    providerMessageId: maybeText,
    dueAt: time,
    expiresAt: time,
    sentAt: maybeTime,
    deliveredAt: maybeTime,
    openedAt: maybeTime,
    clickedAt: maybeTime,
    repliedAt: maybeTime,
    bouncedAt: maybeTime,
    complainedAt: maybeTime,
    unsubscribedAt: maybeTime,
    failedAt: maybeTime,
    correlationId: maybeText,
    createdAt: time,
  })
  .meta({ id: "Message" });

const Event = z
  .object({
    id,
    at: time,
    type: z.enum(eventTypes),
    messageId: id.nullable(),
    enrollmentId: id.nullable(),
    deliveryId: id.nullable(),
    provider: text,
    channel: text,
    address: maybeText,
    machine: z.boolean().describe("made by a privacy proxy or a link scanner: a fact, but not engagement"),
    code: maybeText,
    reason: maybeText,
    url: maybeText,
  })
  .meta({ id: "MessageEvent" });

const MessageExplanation = z
  .object({
    messageId: id,
    status: text,
    code: text.describe("stable: sent, in_flight, ambiguous, waiting, or the gate's reason"),
    sentences: z.array(text),
    remedy: maybeText.describe("what to do about the code"),
    about: z.object({
      campaignId: id.nullable(),
      enrollmentId: id.nullable(),
      contactId: id.nullable(),
      nodeId: maybeText,
      variantId: maybeText,
      channel: text,
      address: text,
      queuedAt: time,
      nextLookAt: maybeTime,
      expiresAt: time,
      sentAt: maybeTime,
    }),
    decided: z.object({ reason: maybeText, detail: maybeText, facts: z.unknown() }),
    now: z
      .object({
        at: time,
        verdict: z.enum(["send", "hold", "end"]),
        reason: z.enum(gateReasons).nullable(),
        detail: maybeText,
        until: maybeTime,
        checks: z.array(
          z.object({
            asks: z.array(z.enum(gateReasons)),
            passed: z.boolean(),
            reason: z.enum(gateReasons).exactOptional(),
            detail: text.exactOptional(),
          }),
        ),
        where: z.unknown(),
      })
      .nullable()
      .describe("what the gate says now; null once the message has left or ended"),
    attempts: z.array(
      z.object({
        id,
        generation: z.int(),
        provider: text,
        outcome: maybeText,
        code: maybeText,
        reason: maybeText,
        startedAt: time,
        finishedAt: maybeTime,
        resolvedBy: maybeText,
      }),
    ),
    suppressions: z.array(
      z.object({
        list: z.enum(["suppression", "dnc"]),
        id,
        reason: maybeText,
        source: maybeText,
        since: time,
        liftedAt: maybeTime,
      }),
    ),
  })
  .meta({ id: "MessageExplanation" });

/** Of a contact in a campaign, at a node or wherever it stands. */
export const Explanation = z
  .object({
    code: text.describe("stable"),
    sentences: z.array(text),
    facts: z.record(z.string(), z.unknown()),
    message: MessageExplanation.nullable(),
  })
  .meta({ id: "Explanation" });

const Trace = z
  .object({
    messageId: id.nullable(),
    correlationIds: z.array(text),
    steps: z.array(
      z.object({
        stage: z.enum(analytics.traceStages),
        id,
        at: time,
        what: text,
        correlationId: maybeText,
        facts: z.record(z.string(), z.unknown()),
      }),
    ),
  })
  .meta({ id: "Trace" });

const Task = z
  .object({
    id,
    kind: text,
    title: text,
    status: z.enum(campaigns.taskStatuses),
    enrollmentId: id.nullable(),
    leadId: id.nullable(),
    contactId: id.nullable(),
    nodeId: maybeText,
    assigneeId: id.nullable(),
    dueAt: maybeTime,
    doneAt: maybeTime,
    createdAt: time,
  })
  .meta({ id: "Task" });

export const messageEndpoints: readonly Endpoint[] = [
  endpoint({
    method: "get",
    path: "/v1/messages",
    tag: "Messages",
    summary: "Messages, newest first, also those that were never sent",
    scope: "messages:read",
    input: messages.listMessages.schema,
    answer: page(Message),
    run: ({ ctx, input }) => messages.listMessages(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/messages/{id}",
    tag: "Messages",
    summary: "One message",
    scope: "messages:read",
    input: messages.getMessage.schema,
    answer: Message,
    run: ({ ctx, input }) => messages.getMessage(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/messages/{messageId}/explain",
    tag: "Messages",
    summary: "Why it was sent, or was not, or has not been yet",
    scope: "messages:read",
    input: messages.ExplainMessage,
    answer: MessageExplanation,
    run: ({ ctx, input }) => messages.explainMessage(ctx, campaigns.campaignPort, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/messages/{messageId}/trace",
    tag: "Messages",
    summary: "From the imported row to the reply: every step that led to it and came of it",
    scope: "messages:read",
    input: z.object({ messageId: idOf("message") }),
    answer: Trace,
    run: ({ ctx, input }) => analytics.trace(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/events",
    tag: "Messages",
    summary: "Facts about messages, latest first by when they happened",
    scope: "messages:read",
    input: messages.listEvents.schema,
    answer: page(Event),
    run: ({ ctx, input }) => messages.listEvents(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/explain",
    tag: "Messages",
    summary: "Why a contact got a node's message, or did not: also where nothing was ever queued",
    scope: "messages:read",
    input: campaigns.Explain,
    answer: Explanation,
    run: ({ ctx, input }) => campaigns.explain(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/tasks",
    tag: "Tasks",
    summary: "Work for people, in the order it was made",
    scope: "campaigns:read",
    input: campaigns.listTasks.schema,
    answer: page(Task),
    run: ({ ctx, input }) => campaigns.listTasks(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/tasks/{id}",
    tag: "Tasks",
    summary: "One task",
    scope: "campaigns:read",
    input: campaigns.getTask.schema,
    answer: Task,
    run: ({ ctx, input }) => campaigns.getTask(ctx, input),
  }),
  endpoint({
    method: "patch",
    path: "/v1/tasks/{id}",
    tag: "Tasks",
    summary: "End a task or give it to somebody",
    scope: "campaigns:write",
    input: campaigns.updateTask.schema,
    answer: Task,
    example: { status: "done" },
    run: ({ ctx, input }) => campaigns.updateTask(ctx, input),
  }),
];
