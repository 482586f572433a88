/**
 * A local host, the provider simulator and the demo tenant: what `npm start` runs, and what the demo and scenario tests drive.
 * Invariant: `local.json` in the home names a system that is up, or the last one that was.
 */
import { type LocalAccess, readAccess, writeAccess } from "./access.ts";
import { type LocalHost, type LocalHostOptions, startHost } from "./host.ts";
import { provision, simulatorDirectory } from "./provision.ts";
import { type Simulator, startSimulator } from "./simulator/server.ts";

export interface SystemOptions extends LocalHostOptions {
  /** False: messages go to the real providers. Default true. */
  readonly simulator?: boolean;
  /** Where a virtual clock starts. Required with `clock: "virtual"`. */
  readonly at?: Date;
}

export interface System {
  readonly local: LocalHost;
  readonly simulator: Simulator | null;
  /** What `local.json` says. */
  readonly access: LocalAccess;
  /** Under a virtual clock: moves database and simulator to an instant. Reactions of the simulator due by then wait for its `flush`. */
  setClock(at: Date): Promise<void>;
  stop(): Promise<void>;
}

export async function startSystem({ simulator: simulated = true, at, ...options }: SystemOptions): Promise<System> {
  const virtual = options.clock === "virtual";
  if (virtual && !at) throw new Error("a virtual clock needs an instant to start at");
  const local = await startHost(options);
  let simulator: Simulator | null = null;
  let now = at ?? new Date(0);
  async function setClock(to: Date): Promise<void> {
    await local.setClock(to);
    now = to;
  }
  async function stop(): Promise<void> {
    await simulator?.stop();
    await local.stop();
  }
  try {
    if (at && virtual) await setClock(at);
    if (simulated) {
      simulator = await startSimulator({
        port: 0,
        dir: simulatorDirectory(local.home),
        clock: virtual ? { now: () => now } : "real",
      });
    }
    const provisioned = await provision(local, simulator, await readAccess(local.home));
    const access = { ...provisioned, baseUrl: local.url, simulatorUrl: simulator?.url ?? null };
    await writeAccess(local.home, access);
    return { local, simulator, access, setClock, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
