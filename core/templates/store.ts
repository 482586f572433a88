/**
 * Stored templates. Invariant: a version is never changed; saving a template under its name makes the next version, and messages go on
 * naming the version they were made from.
 */
import { sql } from "kysely";
import * as z from "zod";
import {
  command,
  DomainError,
  decodeCursor,
  type FieldProblem,
  idOf,
  newId,
  Page,
  paged,
  query,
} from "../kernel/index.ts";
import {
  type CompiledTemplate,
  compileTemplate,
  MAX_SMS_CHARS,
  type Rendered,
  render,
  type TemplateProblem,
} from "./render.ts";

/** Channels that a template is written for. */
export const templateChannels = ["email", "sms", "whatsapp", "messenger", "instagram"] as const;

export const TemplateInput = z
  .object({
    name: z.string().trim().min(1).max(200),
    channel: z.enum(templateChannels).default("email"),
    subject: z.string().min(1).max(998).optional(),
    html: z.string().min(1).max(500_000).optional(),
    text: z.string().min(1).max(500_000).optional(),
  })
  .superRefine((template, context) => {
    const issue = (field: "subject" | "html" | "text", message: string) =>
      context.addIssue({ code: "custom", path: [field], message });
    if (template.channel === "email") {
      if (template.subject === undefined) issue("subject", "an e-mail needs a subject");
      if (template.html === undefined && template.text === undefined)
        issue("text", "an e-mail needs html, text, or both");
      return;
    }
    if (template.text === undefined) issue("text", "a message needs text");
    if (template.subject !== undefined) issue("subject", "only e-mails have a subject");
    if (template.html !== undefined) issue("html", "only e-mails have html");
  });

export interface StoredTemplate {
  readonly id: string;
  readonly name: string;
  readonly channel: string;
  readonly subject: string | null;
  readonly html: string | null;
  readonly text: string | null;
  readonly variables: readonly string[];
  readonly version: number;
  /** The version that took its place; null while it is the current one. */
  readonly supersededBy: string | null;
  readonly createdAt: Date;
}

const errors = {
  notFound: (id: string) => new DomainError("not_found", "template.not_found", `No template ${id}.`),
  unusable: (fields: readonly FieldProblem[]) => {
    const [first] = fields;
    return new DomainError("invalid", "template.invalid", `${first?.path}: ${first?.message}`, { fields });
  },
  channel: (name: string, channel: string) =>
    new DomainError("conflict", "template.channel_differs", `Template ${name} is for ${channel}; use another name.`, {
      fields: [{ path: "channel", message: channel }],
    }),
};

const columns = [
  "id",
  "name",
  "channel",
  "subject",
  "body_html as html",
  "body_text as text",
  "variables",
  "version",
  "superseded_by as supersededBy",
  "created_at as createdAt",
] as const;

/** @throws DomainError `template.invalid`, naming the field of every part that cannot be used */
function usable(source: {
  readonly subject?: string | undefined;
  readonly html?: string | undefined;
  readonly text?: string | undefined;
}) {
  const compiled = compileTemplate(source);
  const bad = compiled.problems.filter(({ severity }) => severity === "error");
  if (bad.length > 0 || !compiled.ok) throw errors.unusable(bad.map(({ part, message }) => ({ path: part, message })));
  return compiled;
}

export interface Saved {
  readonly template: StoredTemplate;
  /** False when the current version said exactly this already. */
  readonly created: boolean;
  readonly warnings: readonly TemplateProblem[];
}

/** Saves a template, or the next version of the one with this name. The same words again are the same version. */
export const create = command(TemplateInput, async (ctx, input): Promise<Saved> => {
  const compiled = usable(input);
  const warnings = compiled.problems;
  // Two authors saving one name take turns, so that versions count up without gaps or clashes.
  await sql`select pg_advisory_xact_lock(hashtextextended(${`template:${ctx.tenantId}:${input.name}`}, 0))`.execute(
    ctx.db,
  );
  const current = await ctx.db
    .selectFrom("email_templates")
    .select(columns)
    .where("tenant_id", "=", ctx.tenantId)
    .where("name", "=", input.name)
    .where("superseded_by", "is", null)
    .executeTakeFirst();
  if (current && current.channel !== input.channel) throw errors.channel(input.name, current.channel);
  const same =
    current?.subject === (input.subject ?? null) &&
    current.html === (input.html ?? null) &&
    current.text === (input.text ?? null);
  if (current && same) return { template: current, created: false, warnings };
  const id = newId("template", ctx.now);
  if (current) {
    // Before the new row: the current one of a name is unique. The reference is checked at commit.
    await ctx.db
      .updateTable("email_templates")
      .set({ superseded_by: id })
      .where("tenant_id", "=", ctx.tenantId)
      .where("id", "=", current.id)
      .execute();
  }
  const template = await ctx.db
    .insertInto("email_templates")
    .values({
      tenant_id: ctx.tenantId,
      id,
      name: input.name,
      channel: input.channel,
      subject: input.subject ?? null,
      body_html: input.html ?? null,
      body_text: input.text ?? null,
      variables: [...compiled.variables],
      version: (current?.version ?? 0) + 1,
      created_by: `${ctx.actor.type}:${ctx.actor.id}`,
      created_at: ctx.now,
    })
    .returning(columns)
    .executeTakeFirstOrThrow();
  return { template, created: true, warnings };
});

/** Any version, by its id. */
export const get = query(z.object({ id: idOf("template") }), async (ctx, { id }): Promise<StoredTemplate> => {
  const row = await ctx.db
    .selectFrom("email_templates")
    .select(columns)
    .where("tenant_id", "=", ctx.tenantId)
    .where("id", "=", id)
    .executeTakeFirst();
  if (!row) throw errors.notFound(id);
  return row;
});

/** Current versions, newest first; every version of one template when `name` is given. */
export const list = query(
  Page.extend({ name: z.string().max(200).optional(), channel: z.enum(templateChannels).optional() }),
  async (ctx, { limit, cursor, name, channel }) => {
    const before = decodeCursor(cursor);
    const rows: StoredTemplate[] = await ctx.db
      .selectFrom("email_templates")
      .select(columns)
      .where("tenant_id", "=", ctx.tenantId)
      .$if(name === undefined, (qb) => qb.where("superseded_by", "is", null))
      .$if(name !== undefined, (qb) => qb.where("name", "=", name ?? ""))
      .$if(channel !== undefined, (qb) => qb.where("channel", "=", channel ?? ""))
      .$if(before !== undefined, (qb) => qb.where("id", "<", before ?? ""))
      .orderBy("id", "desc")
      .limit(limit + 1)
      .execute();
    return paged(rows, limit);
  },
);

export interface Preview {
  readonly rendered: Rendered;
  readonly variables: CompiledTemplate["variables"];
  readonly problems: readonly TemplateProblem[];
}

/** What a template makes of these variables. A missing variable is the answer, as it would be in the gate. */
export const preview = query(
  z.object({ id: idOf("template"), variables: z.record(z.string(), z.unknown()).default({}) }),
  async (ctx, { id, variables }): Promise<Preview> => {
    const template = await get(ctx, { id });
    const compiled = compileTemplate({
      subject: template.subject ?? undefined,
      html: template.html ?? undefined,
      text: template.text ?? undefined,
    });
    const limits = template.channel === "email" ? {} : { maxTextChars: MAX_SMS_CHARS };
    return {
      rendered: render(compiled, variables, limits),
      variables: compiled.variables,
      problems: compiled.problems,
    };
  },
);
