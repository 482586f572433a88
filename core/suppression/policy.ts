/**
 * What a "no" means, as pure decisions. Invariant: the recipient's own no outranks everyone; only the same address can take it back.
 */
import {
  type Channel,
  normalizeEmail,
  normalizePhone,
  type SuppressionReason,
  suppressionAddress,
} from "../kernel/index.ts";

const phoneChannels: readonly string[] = ["sms", "whatsapp", "call"];

/**
 * The canonical form of an address under which suppressions are kept and compared, `outbound_messages.suppression_key` included; null when
 * it is no address of that channel. Applying it again changes nothing.
 * @param country how a phone number without `+` is read
 */
export function suppressionKey(channel: Channel, address: string, country?: string): string | null {
  // What an erasure left behind: a keyed hash in place of the address.
  if (/^hmac:[0-9a-f]{64}$/.test(address)) return address;
  if (channel === "email") {
    const email = normalizeEmail(address);
    return email === null ? null : suppressionAddress(channel, email);
  }
  if (phoneChannels.includes(channel)) return normalizePhone(address, country);
  const text = address.normalize("NFKC").trim();
  return text === "" || text.length > 320 ? null : text;
}

/** Said by the person, not concluded by us. */
export const isRecipientsOwn = (reason: SuppressionReason): boolean =>
  reason === "unsubscribed" || reason === "stop" || reason === "complaint";

/** A person's own no and an erasure are not an operator's to undo; a bounce, a provider's verdict or an operator's own entry is. */
export const operatorMayLift = (reason: SuppressionReason): boolean => !isRecipientsOwn(reason) && reason !== "erasure";

/** Do-not-call covers what reaches a phone line: calls and texts (47 CFR 64.1200). */
export const dncChannels: readonly Channel[] = ["sms", "call"];
export const dncCovers = (channel: Channel): boolean => dncChannels.includes(channel);
