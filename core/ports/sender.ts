/** What a channel provider can do for us: take one message, tell what became of it, prove and explain its webhooks. */
import type * as z from "zod";
import type { Channel, EventType } from "../kernel/vocabulary.ts";

/** Decrypted settings of one `channel_configs` row. Each adapter parses its own shape with zod. */
export type Credentials = Readonly<Record<string, unknown>>;

export interface OutgoingMessage {
  /** Our id. The adapter must carry it to the provider so that every webhook brings it back. */
  readonly messageId: string;
  readonly channel: Channel;
  readonly to: string;
  readonly from: { readonly address: string; readonly name?: string | undefined; readonly ipPool?: string | undefined };
  readonly replyTo?: string | undefined;
  readonly subject?: string | undefined;
  readonly text: string;
  readonly html?: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  /** Where status webhooks should go, where the provider takes that per message. */
  readonly callbackUrl?: string | undefined;
}

/** Why a message was refused, which decides what else happens (`suppress` writes a suppression, `account` pauses the channel). */
export const failureClasses = ["recipient", "suppress", "content", "request", "account"] as const;
export type FailureClass = (typeof failureClasses)[number];

/** A call ends in one of four ways, and only the adapter may say which. `ambiguous` is never resent blindly. */
export type SendOutcome =
  | { readonly kind: "accepted"; readonly providerMessageId: string | null }
  | { readonly kind: "rejected"; readonly failure: FailureClass; readonly code: string; readonly reason: string }
  | {
      readonly kind: "deferred";
      readonly code: string;
      readonly reason: string;
      /** null: the caller's backoff decides. */
      readonly retryAfterSeconds: number | null;
    }
  | { readonly kind: "ambiguous"; readonly reason: string };

/** Whether a provider lets an address send. `unknown`: it could not be asked, or its key may not ask. */
export type SenderProof =
  | { readonly kind: "proved"; readonly by: "domain" | "address"; readonly providerSenderId: string | null }
  | { readonly kind: "unproved"; readonly reason: string }
  | { readonly kind: "unknown"; readonly reason: string };

export interface Sender {
  readonly provider: string;
  /** The shape of its credentials, checked when a channel is stored and again when they are used. */
  readonly credentials?: z.ZodType;
  /** Never throws for what a provider or network can do; resolves within `timeoutMs`. */
  send(credentials: Credentials, message: OutgoingMessage, timeoutMs: number, now: Date): Promise<SendOutcome>;
  /** Asks the provider whether the account may send from an address; only where its API can tell. Never throws. */
  proveSender?(credentials: Credentials, fromEmail: string, timeoutMs: number): Promise<SenderProof>;
  /** Asks the provider whether it knows a message; only where its API can tell. */
  lookup?(
    credentials: Credentials,
    message: { readonly messageId: string; readonly to: string; readonly from: string; readonly attemptedAt: Date },
    timeoutMs: number,
  ): Promise<{ readonly kind: "found"; readonly providerMessageId: string } | { readonly kind: "absent" | "unknown" }>;
}

/** One HTTP request from a provider, exactly as received. Header names are lower-case. */
export interface WebhookRequest {
  /** The configured public URL of this endpoint plus the path and query the provider called; never built from `Host`. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

export type Verification = { readonly valid: true } | { readonly valid: false; readonly reason: string };

/** One thing a provider says about one message, in our words. */
export interface ProviderEvent {
  /** Unique per provider fact; a redelivery has the same one. */
  readonly providerEventId: string;
  readonly type: EventType;
  readonly at: Date;
  /** Our id, if it came back. */
  readonly messageId: string | null;
  readonly providerMessageId: string | null;
  readonly channel: Channel;
  /** Normalised recipient. */
  readonly address: string | null;
  /** Made by a privacy proxy or link scanner: kept, but never counted as engagement. */
  readonly machine: boolean;
  /** For bounced: hard or soft. For dropped/failed: what it means for the address. */
  readonly bounce?: "hard" | "soft" | undefined;
  readonly failure?: FailureClass | undefined;
  readonly code?: string | undefined;
  readonly reason?: string | undefined;
  readonly url?: string | undefined;
  /** Small, JSON-safe facts worth keeping beside the raw delivery. */
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** One message a person sent to us. */
export interface ProviderInbound {
  readonly providerMessageId: string;
  readonly channel: Channel;
  readonly from: string;
  readonly to: string;
  readonly subject: string | null;
  readonly text: string;
  readonly html: string | null;
  /** Lower-case names; e-mail only. */
  readonly headers: Readonly<Record<string, string>>;
  /** Message ids (with angle brackets) this one answers, nearest first. */
  readonly references: readonly string[];
  /** The provider already handled an opt keyword and told us which. */
  readonly optOut: "stop" | "start" | "help" | null;
  readonly at: Date | null;
}

/** What a delivery holds. `problems` are single events that could not be read: quarantined, the rest applies. */
export interface ParsedDelivery {
  readonly events: readonly ProviderEvent[];
  readonly inbound: readonly ProviderInbound[];
  readonly problems: readonly { readonly index: number; readonly reason: string }[];
}

export interface WebhookAdapter {
  readonly provider: string;
  /** Constant-time, over the raw bytes, against every active secret. Never throws. */
  verify(credentials: Credentials, request: WebhookRequest, now: Date): Verification;
  /** Never throws: a body that cannot be read at all is one problem with index -1. */
  parse(
    request: Pick<WebhookRequest, "headers" | "body" | "url">,
    receivedAt: Date,
  ): ParsedDelivery | Promise<ParsedDelivery>;
  /**
   * Whether the request is what a person wrote, which may be a STOP: it is applied before it is acknowledged. Asked before the
   * signature is checked: cheap, bounded, and never proof of who sent it. Absent: nobody writes through this endpoint.
   */
  isFromPerson?(request: Pick<WebhookRequest, "headers" | "body" | "url">): boolean;
}
