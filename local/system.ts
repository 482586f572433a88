/**
 * A local host, the provider simulator and the demo tenant: what `npm start` runs, and what the demo and scenario tests drive.
 * Invariant: `local.json` in the home names a system that is up, or the last one that was.
 */
import { type LocalAccess, readAccess, writeAccess } from "./access.ts";
import { type LocalHost, type LocalHostOptions, startHost } from "./host.ts";
import { type Provisioned, provision, simulatorDirectory } from "./provision.ts";
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

/** What comes into being between the host's database and its workers. */
interface Prepared {
  readonly simulator: Simulator | null;
  readonly provisioned: Provisioned;
}

export async function startSystem({ simulator: simulated = true, at, ...options }: SystemOptions): Promise<System> {
  const virtual = options.clock === "virtual";
  if (virtual && !at) throw new Error("a virtual clock needs an instant to start at");
  let now = at ?? new Date(0);
  const prepared = Promise.withResolvers<Prepared>();
  prepared.promise.catch(() => {});

  async function play(local: LocalHost): Promise<Simulator | null> {
    if (!simulated) return null;
    return startSimulator({
      port: 0,
      dir: simulatorDirectory(local.home),
      clock: virtual ? { now: () => now } : "real",
    });
  }
  // Work that an earlier process left behind is taken up at once: by then the accounts must lead to this process's simulator.
  async function prepare(local: LocalHost): Promise<void> {
    if (at && virtual) await local.setClock(at);
    const simulator = await play(local);
    try {
      prepared.resolve({ simulator, provisioned: await provision(local, simulator, await readAccess(local.home)) });
    } catch (error) {
      await simulator?.stop();
      throw error;
    }
  }

  const local = await startHost({ ...options, allowApiBaseUrl: simulated, prepare });
  const { simulator, provisioned } = await prepared.promise;
  async function setClock(to: Date): Promise<void> {
    await local.setClock(to);
    now = to;
  }
  /** The provider last: what is being sent is answered and stored before it goes. */
  async function stop(): Promise<void> {
    await local.stop();
    await simulator?.stop();
  }
  try {
    const access = { ...provisioned, baseUrl: local.url, simulatorUrl: simulator?.url ?? null };
    await writeAccess(local.home, access);
    return { local, simulator, access, setClock, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
