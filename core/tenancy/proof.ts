/**
 * Proof that a sender may send: the provider is asked, and its yes is stored.
 * Invariant: a sender becomes verified by the provider's own yes, or by the word of an administrator that is asked for by name.
 */
import * as z from "zod";
import { type Context, DomainError, idOf, parseInput, query } from "../kernel/index.ts";
import type { KeyService, Sender, SenderProof } from "../ports/index.ts";
import { openCredentials, type SealedChannel } from "./channels.ts";
import { getSender, markSenderVerified, type SenderIdentity } from "./senders.ts";

export interface ProofDeps {
  readonly keys: KeyService;
  /** Adapters by provider. */
  readonly senders?: Readonly<Record<string, Sender>>;
}

const timeoutMs = 10_000;

export const VerifySender = z.object({
  id: idOf("sender"),
  /** Believe the caller instead of asking: for providers and keys that cannot tell. */
  attested: z.boolean().default(false),
  /** The provider's own id of the sender, where the caller knows it. */
  providerSenderId: z.string().max(200).optional(),
});

const errors = {
  noChannel: () =>
    new DomainError(
      "conflict",
      "sender.no_channel",
      'No e-mail account is connected that could be asked. Add one (POST /v1/channels), or send "attested": true.',
    ),
  unproved: (email: string, reason: string) =>
    new DomainError("conflict", "sender.unproved", `${email} may not send yet. ${reason}`),
  unknown: (email: string, reason: string) =>
    new DomainError(
      "unavailable",
      "sender.proof_unavailable",
      `Nobody could say whether ${email} may send. ${reason} Try again, or send "attested": true if you know it.`,
    ),
};

/**
 * Asks the account that the sender belongs to, or every active e-mail account when it belongs to none, until one says yes.
 * Its mail leaves through the account that said yes. The first verified sender becomes the default. Calls the provider, so it runs outside transactions.
 * @throws DomainError `sender.not_found`, `sender.no_channel`, `sender.unproved`, `sender.proof_unavailable`
 */
export const verifySender = Object.assign(
  async (ctx: Context, deps: ProofDeps, given: z.input<typeof VerifySender>): Promise<SenderIdentity> => {
    const { id, attested, providerSenderId } = parseInput(VerifySender, given);
    const sender = await getSender(ctx, { id });
    if (attested) return markSenderVerified(ctx, { id, providerSenderId });
    const proof = await prove(ctx, deps, sender);
    switch (proof.kind) {
      case "proved":
        return markSenderVerified(ctx, {
          id,
          providerSenderId: providerSenderId ?? proof.providerSenderId ?? undefined,
          channelConfigId: proof.channelConfigId,
        });
      case "unproved":
        throw errors.unproved(sender.fromEmail, proof.reason);
      case "unknown":
        throw errors.unknown(sender.fromEmail, proof.reason);
    }
  },
  { schema: VerifySender },
);

type AccountProof =
  | Exclude<SenderProof, { kind: "proved" }>
  | (Extract<SenderProof, { kind: "proved" }> & { readonly channelConfigId: string });

/** The best answer of the accounts: one yes is enough, and a doubt outweighs a no. */
async function prove(ctx: Context, deps: ProofDeps, sender: SenderIdentity): Promise<AccountProof> {
  const channels = await accountsOf(ctx, { channelConfigId: sender.channelConfigId });
  const adapters = channels.flatMap((channel) => {
    const adapter = deps.senders?.[channel.provider];
    return adapter?.proveSender ? [{ channel, ask: adapter.proveSender.bind(adapter) }] : [];
  });
  if (adapters.length === 0) throw errors.noChannel();
  let best: Exclude<SenderProof, { kind: "proved" }> | undefined;
  for (const { channel, ask } of adapters) {
    const proof = await ask(await openCredentials(ctx, deps.keys, channel), sender.fromEmail, timeoutMs);
    if (proof.kind === "proved") return { ...proof, channelConfigId: channel.id };
    if (best === undefined || proof.kind === "unknown") best = proof;
  }
  return best ?? { kind: "unknown", reason: "" };
}

const accountsOf = query(
  z.object({ channelConfigId: z.string().nullable() }),
  async (ctx, { channelConfigId }): Promise<Pick<SealedChannel, "id" | "provider" | "sealedCredentials">[]> =>
    ctx.db
      .selectFrom("channel_configs")
      .select(["id", "provider", "api_credentials as sealedCredentials"])
      .where("tenant_id", "=", ctx.tenantId)
      .where("channel", "=", "email")
      .where("status", "=", "active")
      .$if(channelConfigId !== null, (qb) => qb.where("id", "=", channelConfigId ?? ""))
      .orderBy("id")
      .execute(),
);
