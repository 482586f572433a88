/** The deployable graph as data: what synth makes, what rules and tests read. */
export interface Resource {
  readonly type: string;
  readonly name: string;
  // biome-ignore lint/suspicious/noExplicitAny: properties of a hundred provider types; the rules say which they read
  readonly inputs: Readonly<Record<string, any>>;
  /** Inputs plus what the provider would compute (ARNs, URLs). */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  readonly state: Readonly<Record<string, any>>;
}

/** One function as SST's bundler made it. */
export interface Build {
  readonly functionId: string;
  /** Relative to the root. */
  readonly file: string;
  readonly links: readonly string[];
  /** Read by a cold start. */
  readonly bytes: number;
}

export interface Graph {
  readonly resources: readonly Resource[];
  readonly builds: readonly Build[];
}
