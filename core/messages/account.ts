/** The accounts of a batch: each one's credentials are opened once, however many of its messages are in it. */
import type { Context } from "../kernel/index.ts";
import type { Credentials, KeyService } from "../ports/index.ts";
import { openCredentials } from "../tenancy/index.ts";
import type { ChannelRow } from "./facts.ts";

/** Never rejects. */
export type OpenAccount<Failure> = (account: ChannelRow) => Promise<{ readonly credentials: Credentials } | Failure>;

/** @param failed what it means that an account's credentials do not open */
export function openAccounts<Failure>(
  ctx: Context,
  keys: KeyService,
  failed: (error: unknown) => Failure,
): OpenAccount<Failure> {
  const known = new Map<string, ReturnType<OpenAccount<Failure>>>();
  return (account) => {
    const opening =
      known.get(account.id) ??
      openCredentials(ctx, keys, { id: account.id, sealedCredentials: account.api_credentials }).then(
        (credentials) => ({ credentials }),
        failed,
      );
    known.set(account.id, opening);
    return opening;
  };
}
