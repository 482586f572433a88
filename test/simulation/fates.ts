/** What befalls handlers. Invariant: drawn from a stream of its own, so that a seed brings the same in every run. */
import type { Fate, Invocation } from "./invocation.ts";
import type { Rng } from "./rng.ts";
import type { Script } from "./script.ts";
import type { World } from "./world.ts";

const minute = 60_000;

/** What befalls a run of a handler, and when. */
export function drawFate(name: string, faults: Script["faults"], chances: Rng): Fate {
  const { kills, freezes, connections } = faults;
  const busy = name === "send" || name === "deliveries" || name === "actions";
  const turn = chances.int(0, busy ? 26 : 6);
  const drawn = chances.weighted({
    none: 94,
    kill_before: 6,
    kill_after: 5,
    lost_before: 3,
    lost_after: 3,
    freeze: 5,
    freeze_after: 6,
  });
  const milliseconds = chances.int(6_000, 240_000);
  switch (drawn) {
    case "kill_before":
    case "kill_after":
      return kills ? { kind: drawn, turn } : { kind: "none" };
    case "lost_before":
    case "lost_after":
      return connections ? { kind: drawn, turn } : { kind: "none" };
    case "freeze":
    case "freeze_after":
      return freezes ? { kind: drawn, turn, milliseconds } : { kind: "none" };
    default:
      return { kind: "none" };
  }
}

/** A call takes long enough for anything to happen to whoever waits for its answer. */
export function strike(world: World, invocation: Invocation, isAccepted: boolean): void {
  const { kills, freezes } = world.script.faults;
  if (world.calm || invocation.fate.kind !== "none") return;
  const drawn = world.chances.weighted({ none: 80, kill: 5, freeze: isAccepted ? 7 : 30 });
  // Long enough for others to find out that it was not taken.
  const minutes = isAccepted ? world.chances.int(1, 45) : world.chances.int(5, 360);
  if (drawn === "kill" && kills) {
    world.hit("killed during a call");
    invocation.fate = { kind: "kill_before", turn: invocation.turns };
  }
  if (drawn === "freeze" && freezes)
    invocation.fate = { kind: "freeze_after", turn: invocation.turns, milliseconds: minutes * minute };
}
