/** Where webhooks go and which credentials are good: one entry per provider account, so several tenants can be served. */
import * as z from "zod";

const url = z.url({ protocol: /^https?$/ });
const oneOrMany = <T extends z.ZodType>(item: T) =>
  z.union([z.array(item), item.transform((one) => [one])]).prefault([]);

export const SendgridEndpoint = z.strictObject({
  webhookUrl: url,
  /** Inbound Parse; the webhook URL when not given. */
  inboundUrl: url.optional(),
  inboundMode: z.enum(["default", "raw", "mixed"]).default("raw"),
  /** Without it any key is good and this endpoint hears of every message. */
  apiKey: z.string().min(1).optional(),
});
export type SendgridEndpoint = z.infer<typeof SendgridEndpoint>;

export const TwilioEndpoint = z.strictObject({
  /** Where inbound messages go. Status callbacks go where each message asks. */
  webhookUrl: url,
  /** Inbound URL of single numbers. */
  numbers: z.record(z.string(), url).default({}),
  accountSid: z.string().regex(/^AC[0-9a-f]{32}$/),
  authToken: z.string().min(1),
});
export type TwilioEndpoint = z.infer<typeof TwilioEndpoint>;

export const Endpoints = z.strictObject({
  sendgrid: oneOrMany(SendgridEndpoint),
  twilio: oneOrMany(TwilioEndpoint),
});
export type Endpoints = z.infer<typeof Endpoints>;
export type EndpointsInput = z.input<typeof Endpoints>;

/** @param account the API key a message came with. */
export const sendgridEndpoint = ({ sendgrid }: Endpoints, account: string): SendgridEndpoint | undefined =>
  sendgrid.find((one) => one.apiKey === account) ?? sendgrid.find((one) => one.apiKey === undefined);

/** @param account the account SID. */
export const twilioEndpoint = ({ twilio }: Endpoints, account: string): TwilioEndpoint | undefined =>
  twilio.find((one) => one.accountSid === account);

const loopback = new Set(["127.0.0.1", "localhost", "[::1]"]);

/** Whether a link in a message may be followed: only to the system under test, never out into the world. */
export function isReachable(endpoints: Endpoints, link: string): boolean {
  if (!URL.canParse(link)) return false;
  const { origin, hostname, protocol } = new URL(link);
  if (protocol !== "http:" && protocol !== "https:") return false;
  return (
    loopback.has(hostname) ||
    [...endpoints.sendgrid, ...endpoints.twilio].some((one) => new URL(one.webhookUrl).origin === origin)
  );
}
