/** What a tenant's SendGrid channel holds. Parsed at every use: credentials come out of an encrypted column as plain JSON. */
import * as z from "zod";

/** One line of printable ASCII, so that a pasted line break can never become a header of its own. */
const token = z.string().regex(/^[\x21-\x7e]+$/, "expected one line without spaces");

export const SendgridCredentials = z.object({
  apiKey: token,
  /** Only the local simulator has another one. */
  apiBaseUrl: z.url({ protocol: /^https?$/ }).default("https://api.sendgrid.com"),
  /** Base64 SPKI as the console shows it; two during rotation. */
  eventWebhookPublicKeys: z.array(token).max(4).default([]),
  /** Keys of the Inbound Parse security policy, where they differ from the event webhook's. */
  inboundPublicKeys: z.array(token).max(4).optional(),
});
export type SendgridCredentials = z.infer<typeof SendgridCredentials>;
