/**
 * Envelope encryption: a key service wraps data keys; the data never travels to it. AWS KMS in the cloud, a key file locally.
 * `context` is bound to the ciphertext (tenant, row, column): a ciphertext copied elsewhere does not open.
 */
export interface KeyService {
  /** Identifies the wrapping key in stored envelopes, so that rotation keeps old ones readable. */
  readonly keyId: string;
  generateDataKey(context: Readonly<Record<string, string>>): Promise<{ plaintext: Uint8Array; wrapped: Uint8Array }>;
  unwrapDataKey(keyId: string, wrapped: Uint8Array, context: Readonly<Record<string, string>>): Promise<Uint8Array>;
}
