/** A bell: "there is work". It carries ids, never data; it may be lost, doubled or late without harm. */
export const bellKinds = ["deliveries", "actions", "send", "imports"] as const;
export type BellKind = (typeof bellKinds)[number];

export interface Bell {
  readonly kind: BellKind;
  readonly tenantId: string;
  /** At most 100. Empty means: whatever is due for this tenant. */
  readonly ids: readonly string[];
}

export const maxBellIds = 100;

export interface Queue {
  /** Rings every bell or throws. Callers ring after their commit and may ignore a failure: the sweep rings again. */
  ring(bells: readonly Bell[]): Promise<void>;
}
