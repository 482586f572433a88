/** Data keys wrapped by AWS KMS. The context travels as KMS's encryption context: it is checked on opening and shows in CloudTrail. */
import {
  DecryptCommand,
  GenerateDataKeyCommand,
  InvalidCiphertextException,
  type KMSClient,
} from "@aws-sdk/client-kms";
import { DomainError } from "../../kernel/error.ts";
import type { KeyService } from "../../ports/secrets.ts";

export interface KmsOptions {
  readonly client: Pick<KMSClient, "send">;
  /** ARN or id of a symmetric key. KMS keeps every rotated version of it readable. */
  readonly keyId: string;
}

const unavailable = (cause: unknown) =>
  new DomainError("unavailable", "keys.unavailable", "The key service cannot be reached at the moment.", { cause });

const refused = (cause?: unknown) =>
  new DomainError("invalid", "keys.refused", "The key service does not open this data key in this place.", { cause });

export function kmsKeys({ client, keyId }: KmsOptions): KeyService {
  return {
    keyId,
    async generateDataKey(context) {
      const answer = await client
        .send(new GenerateDataKeyCommand({ KeyId: keyId, KeySpec: "AES_256", EncryptionContext: { ...context } }))
        .catch((cause: unknown) => {
          throw unavailable(cause);
        });
      if (!answer.Plaintext || !answer.CiphertextBlob) throw unavailable(new Error("KMS answered without a data key"));
      return { plaintext: answer.Plaintext, wrapped: answer.CiphertextBlob };
    },
    async unwrapDataKey(id, wrapped, context) {
      const answer = await client
        .send(new DecryptCommand({ KeyId: id, CiphertextBlob: wrapped, EncryptionContext: { ...context } }))
        .catch((cause: unknown) => {
          throw cause instanceof InvalidCiphertextException ? refused(cause) : unavailable(cause);
        });
      if (!answer.Plaintext) throw refused();
      return answer.Plaintext;
    },
  };
}
