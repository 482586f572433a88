/** Routes of templates. Invariant: a version never changes; saving makes the next one. */
import * as templates from "@outrider/core/templates";
import * as z from "zod";
import { type Endpoint, endpoint, id, maybeText, page, text, time } from "./endpoint.ts";

const Template = z
  .object({
    id,
    name: text,
    channel: text,
    subject: maybeText,
    html: maybeText,
    text: maybeText,
    variables: z.array(text),
    version: z.int(),
    supersededBy: id.nullable().describe("the version that took its place; null while it is the current one"),
    createdAt: time,
  })
  .meta({ id: "Template" });

const Problem = z
  .object({
    part: z.enum(["subject", "html", "text", "template"]),
    severity: z.enum(["error", "warning"]),
    message: text,
  })
  .meta({ id: "TemplateProblem" });

const Rendered = z.discriminatedUnion("ok", [
  z.object({ ok: z.literal(true), subject: text.exactOptional(), html: text.exactOptional(), text }),
  z.object({ ok: z.literal(false), reason: z.enum(["missing_variable", "limit", "syntax"]), detail: text }),
]);

export const templateEndpoints: readonly Endpoint[] = [
  endpoint({
    method: "get",
    path: "/v1/templates",
    tag: "Templates",
    summary: "Current versions, newest first; all versions of one when `name` is given",
    scope: "templates:read",
    input: templates.list.schema,
    answer: page(Template),
    run: ({ ctx, input }) => templates.list(ctx, input),
  }),
  endpoint({
    method: "post",
    path: "/v1/templates",
    tag: "Templates",
    summary: "Save a template, or its next version",
    description: "The same words again are the same version (`created: false`).",
    scope: "templates:write",
    status: 201,
    input: templates.create.schema,
    answer: z.object({ template: Template, created: z.boolean(), warnings: z.array(Problem) }),
    example: { name: "intro", subject: "Hello {{ contact.firstName }}", text: "A question about {{ company.name }}." },
    run: ({ ctx, input }) => templates.create(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/templates/{id}",
    tag: "Templates",
    summary: "One version",
    scope: "templates:read",
    input: templates.get.schema,
    answer: Template,
    run: ({ ctx, input }) => templates.get(ctx, input),
  }),
  endpoint({
    method: "post",
    path: "/v1/templates/{id}/preview",
    tag: "Templates",
    summary: "What a template makes of these variables",
    description: "A missing variable is part of the answer, as it would hold a real message.",
    scope: "templates:read",
    input: templates.preview.schema,
    answer: z.object({ rendered: Rendered, variables: z.array(text), problems: z.array(Problem) }),
    example: { variables: { contact: { firstName: "Kim" }, company: { name: "Acme" } } },
    run: ({ ctx, input }) => templates.preview(ctx, input),
  }),
];
