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

/** As few bells as the ids allow: one per kind, tenant and 100 ids. */
export function mergeBells(bells: readonly Bell[]): Bell[] {
  const groups = Map.groupBy(bells, (bell) => `${bell.kind} ${bell.tenantId}`);
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (!first) return [];
    if (group.some((bell) => bell.ids.length === 0)) return [{ ...first, ids: [] }];
    const ids = [...new Set(group.flatMap((bell) => bell.ids))];
    return Array.from({ length: Math.ceil(ids.length / maxBellIds) }, (_, i) => ({
      ...first,
      ids: ids.slice(i * maxBellIds, (i + 1) * maxBellIds),
    }));
  });
}
