import type { Rig } from "./rig.ts";
export async function claimLines(_rig: Rig): Promise<void> {}
