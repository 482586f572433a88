/** Events as SendGrid sends them: mostly deliveries and opens, some clicks, a few bounces and complaints; about 370 bytes each. */
import { randomBytes } from "node:crypto";
import { messageIdArgument } from "../core/providers/sendgrid/message-id.ts";
import { workingHour } from "./rig.ts";

/** Of 100 events. */
const mix = [
  ["delivered", 60],
  ["open", 25],
  ["click", 10],
  ["bounce", 4],
  ["spamreport", 1],
] as const;
const kinds = mix.flatMap(([event, share]) => Array.from({ length: share }, () => event));

export interface SendgridEvent {
  readonly event: string;
  readonly email: string;
  readonly timestamp: number;
  readonly sg_event_id: string;
  readonly [field: string]: unknown;
}

export interface Addressed {
  readonly id: string;
  readonly address: string;
}

/** One event about each message. */
export function sendgridBatch(messages: readonly Addressed[]): SendgridEvent[] {
  const timestamp = Math.floor(workingHour.getTime() / 1_000);
  return messages.map(({ id: messageId, address }, n) => {
    const event = kinds[n % kinds.length] ?? "delivered";
    return {
      email: address,
      timestamp,
      "smtp-id": `<${messageId}@geopod-ismtpd-2-0>`,
      event,
      category: ["welcome", "drip"],
      sg_event_id: randomBytes(16).toString("base64url"),
      sg_message_id: "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
      [messageIdArgument]: messageId,
      ...(event === "delivered" && { response: "250 OK", tls: 1 }),
      ...(event === "open" && { useragent: "Mozilla/5.0", ip: "203.0.113.7" }),
      ...(event === "click" && { url: "https://example.com/offer", ip: "203.0.113.7" }),
      ...(event === "bounce" && { type: "bounce", status: "5.1.1", reason: "550 5.1.1 no such user" }),
    };
  });
}
