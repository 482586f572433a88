/** Bytes too large for a row. Keys are made by us, under the tenant's prefix, and never reused. */
export interface Blobs {
  put(key: string, body: Uint8Array | AsyncIterable<Uint8Array>, contentType: string): Promise<void>;
  /** @throws DomainError `blobs.missing` (not_found) */
  get(key: string): Promise<Uint8Array>;
  /** Streams the object in chunks; memory does not grow with its size. */
  stream(key: string): AsyncIterable<Uint8Array>;
  /** The first keys under a prefix, in the order of their characters, that come after `after`; at most 1,000. */
  list(prefix: string, limit: number, after?: string): Promise<readonly string[]>;
  /** What is not there counts as deleted. */
  delete(key: string): Promise<void>;
}
