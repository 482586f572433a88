/**
 * From a plan's node and a contact to the exact bytes of a message. Pure: the same input gives the same message, which is how a trace
 * can show years later what was sent (`content_sha256` proves it) without keeping a copy of every body.
 */
import { createHash } from "node:crypto";
import type { Channel } from "../kernel/index.ts";
import { compileTemplate, instrument, MAX_SMS_CHARS, render } from "../templates/index.ts";
import { type Link, linkUrl, trackedLinkId } from "./links.ts";

/** What is to be said, as the plan's node (or its chosen variant) or a template has it. */
export interface ContentSource {
  readonly subject?: string | undefined;
  readonly html?: string | undefined;
  readonly text?: string | undefined;
}

export interface ContentInput {
  readonly source: ContentSource;
  readonly channel: Channel;
  readonly messageClass: "marketing" | "transactional";
  readonly tenantId: string;
  readonly messageId: string;
  /** What a template may name; strings, numbers and objects of them. */
  readonly variables: Readonly<Record<string, unknown>>;
  readonly postalAddress: string | null;
  readonly trackOpens: boolean;
  readonly trackClicks: boolean;
  readonly publicUrl: string;
  readonly signingKeys: readonly Uint8Array[];
}

export type Composed =
  | {
      readonly ok: true;
      readonly subject: string | undefined;
      readonly html: string | undefined;
      readonly text: string;
      /** RFC 8058; empty where they do not apply. */
      readonly headers: Readonly<Record<string, string>>;
      /** Targets of tracked links, to be stored before the message leaves. */
      readonly links: readonly string[];
      readonly sha256: Buffer;
      /** Those of the input's variables that the template names: enough to make the same text again. */
      readonly variables: Readonly<Record<string, unknown>>;
    }
  | { readonly ok: false; readonly detail: string };

export function compose(input: ContentInput): Composed {
  const { channel, messageClass } = input;
  const url = (link: Omit<Link, "tenantId" | "messageId">): string =>
    linkUrl(input.publicUrl, input.signingKeys, { ...link, tenantId: input.tenantId, messageId: input.messageId });
  const unsubscribeUrl = url({ kind: "unsubscribe" });
  const variables = {
    ...input.variables,
    unsubscribe_url: unsubscribeUrl,
    ...(input.postalAddress === null ? {} : { postal_address: input.postalAddress }),
  };
  const compiled = compileTemplate(input.source);
  const made = render(compiled, variables, channel === "email" ? {} : { maxTextChars: MAX_SMS_CHARS });
  if (!made.ok) return { ok: false, detail: `${made.reason}: ${made.detail}` };
  const used = namedOf(compiled.variables, input.variables);
  if (channel !== "email") return finished(undefined, undefined, made.text, {}, [], used);

  const marketing = messageClass === "marketing";
  const done = instrument(made.html, made.text, {
    ...(input.trackClicks && {
      trackLink: (target: string) => url({ kind: "click", linkId: trackedLinkId(target).id }),
    }),
    ...(input.trackOpens && made.html !== undefined && { pixelUrl: url({ kind: "open" }) }),
    ...(marketing && { unsubscribeUrl, postalAddress: input.postalAddress ?? undefined }),
  });
  const headers: Record<string, string> = marketing
    ? { "List-Unsubscribe": `<${unsubscribeUrl}>`, "List-Unsubscribe-Post": "List-Unsubscribe=One-Click" }
    : {};
  return finished(made.subject, done.html, done.text, headers, done.links, used);
}

function finished(
  subject: string | undefined,
  html: string | undefined,
  text: string,
  headers: Readonly<Record<string, string>>,
  links: readonly string[],
  variables: Readonly<Record<string, unknown>>,
): Composed {
  const sha256 = createHash("sha256")
    .update(JSON.stringify([subject ?? null, html ?? null, text]))
    .digest();
  return { ok: true, subject, html, text, headers, links, sha256, variables };
}

/** By the list of paths, which belongs to a compiled template. */
const known = new WeakMap<readonly string[], ReadonlySet<string>>();

/** @param paths `contact.first_name`, `items[0]`: the first name of each counts, so that a filter or a loop finds the whole value */
function rootsOf(paths: readonly string[]): ReadonlySet<string> {
  let roots = known.get(paths);
  if (!roots) {
    roots = new Set(paths.map((path) => path.split(/[.[]/, 1)[0] ?? ""));
    known.set(paths, roots);
  }
  return roots;
}

function namedOf(
  paths: readonly string[],
  variables: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const names = rootsOf(paths);
  return Object.fromEntries(Object.entries(variables).filter(([name]) => names.has(name)));
}

/** Does this content say anything that comes from one of `roots`: `lead` for `{{ lead.city }}`? */
export const names = (source: ContentSource, roots: readonly string[]): boolean => {
  const named = rootsOf(compileTemplate(source).variables);
  return roots.some((root) => named.has(root));
};
