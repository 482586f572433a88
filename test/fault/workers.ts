/**
 * The worker processes: born, armed, killed and born again.
 *
 * Invariants: a killed worker is replaced at once; every death is either ours (SIGKILL by the killer or by a fault point) or a violation,
 * because no outage of PostgreSQL, queue or provider may end a process.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { openSync } from "node:fs";
import path from "node:path";
import { type FaultPoint, faultPoints } from "../../core/kernel/fault.ts";
import { uniform } from "../../local/simulator/random.ts";
import { linesOf } from "./database.ts";
import type { ArmedPoint, FaultLine, WorkerMessage, WorkerTask } from "./processes.ts";

/** A death of a worker. `point` is null when the random killer did it. */
export interface Death {
  readonly worker: string;
  readonly at: number;
  readonly point: FaultPoint | null;
}

export interface Workers {
  readonly deaths: readonly Death[];
  /** Ends that nobody asked for. */
  readonly crashes: readonly string[];
  readonly born: number;
  alive(): number;
  /** Kills a living worker chosen by the draw. */
  killOne(draw: number): void;
  /** How often each point has killed so far. */
  coverage(): Readonly<Record<FaultPoint, number>>;
  bells(): { readonly lost: number; readonly doubled: number; readonly late: number };
  /** Replaces all by workers whose bells ring as they should. Points that have not killed yet stay armed. */
  calm(): void;
  stop(): Promise<void>;
}

export interface WorkersOptions {
  readonly program: string;
  readonly count: number;
  readonly seed: number;
  readonly task: Omit<WorkerTask, "name" | "armed" | "driver" | "seed" | "bells">;
  readonly logFile: string;
  /** Called with the origins of the workers that answer. */
  readonly onChange: (origins: readonly string[]) => void;
}

/** Come by at the very beginning and never again: armed in every process until they have killed. */
const early: ReadonlySet<FaultPoint> = new Set<FaultPoint>(["campaign.starting"]);
/** Points that most processes never come by: armed in many until they have killed. */
const rare: ReadonlySet<FaultPoint> = new Set<FaultPoint>([
  "reconcile.expired",
  "reconcile.settling",
  "delivery.uploading",
  "delivery.uploaded",
  "campaign.moving",
  "enrollment.entering",
  "enrollment.migrating",
  "maintain.tenant",
  "import.claimed",
  "import.ingesting",
  "import.chunk",
]);
/** Not reached by workers. */
const elsewhere: ReadonlySet<FaultPoint> = new Set<FaultPoint>(["schema.migrating"]);
const frequent = faultPoints.filter((point) => ![early, rare, elsewhere].some((points) => points.has(point)));
const shares = { lost: 0.05, doubled: 0.05, late: 0.05 };
const none = { lost: 0, doubled: 0, late: 0 };
/** How many of the rare points one process is armed with: dying of each in turn would leave no time to work. */
const rareAtOnce = 2;
/** Processes that have read their modules and wait for a place. */
const spareCount = 4;

/** So many ends of processes by themselves are a defect of the rig, not a finding. */
const tooManyCrashes = 20;

interface Spare {
  readonly process: ChildProcess;
  isReady: boolean;
}

interface Slot {
  process: ChildProcess;
  name: string;
  origin: string | null;
  killed: boolean;
}

export function startWorkers(options: WorkersOptions): Workers {
  const { count, seed, task, onChange } = options;
  const stderr = openSync(options.logFile, "a");
  const killedAtRandom: Death[] = [];
  const crashes: string[] = [];
  const slots: Slot[] = [];
  const spares: Spare[] = [];
  const past = { lost: 0, doubled: 0, late: 0 };
  const current = new Map<string, typeof past>();
  let born = 0;
  let calm = false;
  let stopping = false;

  const faults = () => linesOf<FaultLine>(task.faultLog);
  const coverage = () => {
    const counts = Object.fromEntries(faultPoints.map((point) => [point, 0])) as Record<FaultPoint, number>;
    for (const { point } of faults()) counts[point] += 1;
    return counts;
  };
  const publish = () => onChange(slots.flatMap(({ origin, killed }) => (origin !== null && !killed ? [origin] : [])));

  /** What a new process dies of, if anything: one of the points come by all the time, and some of the rare ones still missing. */
  function armedFor(name: string): ArmedPoint[] {
    const killedSoFar = coverage();
    const missing = (points: readonly FaultPoint[]) => points.filter((point) => killedSoFar[point] === 0);
    const draw = (what: string) => uniform(seed, name, what);
    const byDraw = (points: readonly FaultPoint[]) => points[Math.floor(draw("point") * points.length)];
    const rareMissing = missing([...rare]);
    const left = missing(frequent);
    const from = Math.floor(draw("rare") * rareMissing.length);
    const some = [...rareMissing.slice(from), ...rareMissing.slice(0, from)].slice(
      0,
      draw("rare too") < 0.5 ? rareAtOnce : 0,
    );
    const armed = [...missing([...early]), ...some].map((point): ArmedPoint => ({ point, nth: 1 }));
    if (calm || draw("armed") > (left.length > 0 ? 0.5 : 0.25)) return armed;
    const point = byDraw(left.length > 0 ? left : [...frequent, ...rare]);
    if (point === undefined || armed.some((one) => one.point === point)) return armed;
    const nth = rare.has(point) ? 1 : 1 + Math.floor(draw("nth") * (left.length > 0 ? 10 : 50));
    return [...armed, { point, nth }];
  }

  /** A process without a task. */
  function breed(): void {
    const child = spawn(process.execPath, [options.program], {
      env: { PATH: process.env["PATH"], NODE_COMPILE_CACHE: path.join(path.dirname(options.program), "compiled") },
      stdio: ["ignore", "ignore", stderr, "ipc"],
    });
    const spare: Spare = { process: child, isReady: false };
    spares.push(spare);
    child.once("message", () => {
      spare.isReady = true;
      settle();
    });
    child.once("exit", (code, signal) => {
      const at = spares.indexOf(spare);
      if (at === -1 || stopping) return;
      spares.splice(at, 1);
      note(`a spare: code ${code}, signal ${signal}`);
      breed();
    });
  }

  function note(crash: string): void {
    crashes.push(crash);
    if (crashes.length < tooManyCrashes) return;
    throw new Error(`workers keep ending: ${crashes.join("; ")}. See ${options.logFile}`);
  }

  /** Fills empty places with spares that are ready. */
  function settle(): void {
    for (let place = 0; place < count; place++) {
      if (slots[place]?.killed === false) continue;
      const at = spares.findIndex(({ isReady }) => isReady);
      const [spare] = at === -1 ? [] : spares.splice(at, 1);
      if (!spare) return;
      employ(place, spare.process);
      breed();
    }
  }

  function employ(place: number, child: ChildProcess): void {
    born += 1;
    const name = `w${place}.${born}`;
    const slot: Slot = { process: child, name, origin: null, killed: false };
    slots[place] = slot;
    child.on("message", (message: WorkerMessage) => {
      if (message.kind === "bells") current.set(name, message);
      if (message.kind !== "up") return;
      slot.origin = `http://127.0.0.1:${message.port}`;
      publish();
    });
    child.once("exit", (code, signal) => {
      if (!stopping && !slot.killed && signal !== "SIGKILL") note(`${name}: code ${code}, signal ${signal}`);
      const bells = current.get(name);
      if (bells) for (const key of ["lost", "doubled", "late"] as const) past[key] += bells[key];
      current.delete(name);
      slot.killed = true;
      if (stopping) return;
      publish();
      settle();
    });
    const own: WorkerTask = {
      ...task,
      name,
      seed,
      driver: place % 2 === 0 ? "neon" : "pg",
      armed: armedFor(name),
      bells: calm ? none : shares,
    };
    child.send(own);
  }

  for (let n = 0; n < count + spareCount; n++) breed();

  const kill = (slot: Slot) => {
    slot.killed = true;
    killedAtRandom.push({ worker: slot.name, at: Date.now(), point: null });
    slot.process.kill("SIGKILL");
  };
  const living = () => slots.filter((slot) => slot.origin !== null && !slot.killed);
  return {
    get deaths() {
      const own = faults().map(({ worker, at, point }): Death => ({ worker, at, point }));
      return [...killedAtRandom, ...own].toSorted((a, b) => a.at - b.at);
    },
    crashes,
    get born() {
      return born;
    },
    alive: () => living().length,
    killOne(draw) {
      const candidates = living();
      const chosen = candidates[Math.floor(draw * candidates.length)];
      if (chosen) kill(chosen);
    },
    coverage,
    bells: () =>
      [...current.values()].reduce(
        (sum, one) => ({ lost: sum.lost + one.lost, doubled: sum.doubled + one.doubled, late: sum.late + one.late }),
        past,
      ),
    calm() {
      calm = true;
      for (const slot of slots) if (!slot.killed) kill(slot);
    },
    async stop() {
      stopping = true;
      await Promise.all(
        [...slots, ...spares].map(async ({ process: child }) => {
          if (child.exitCode !== null || child.signalCode !== null) return;
          const ended = new Promise((resolve) => child.once("exit", resolve));
          child.kill("SIGKILL");
          await ended;
        }),
      );
    },
  };
}
