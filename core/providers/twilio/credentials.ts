/** What a tenant's Twilio channel holds. Parsed at every use: credentials come out of an encrypted column as plain JSON. */
import * as z from "zod";

const token = z.string().regex(/^[\x21-\x7e]+$/, "expected one line without spaces");

export const TwilioCredentials = z.object({
  accountSid: token,
  /** Two during rotation. The first one sends; a webhook may be signed with any. */
  authTokens: z.array(token).min(1).max(4),
  messagingServiceSid: token.optional(),
  /** Only the local simulator has another one. */
  apiBaseUrl: z.url({ protocol: /^https?$/ }).default("https://api.twilio.com"),
});
export type TwilioCredentials = z.infer<typeof TwilioCredentials>;
