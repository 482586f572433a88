/** What a run through one ingress found and saw. Invariant: a request that is not counted was not made. */
export interface Finding {
  readonly ingress: string;
  readonly name: string;
  readonly problem: string;
}

export interface Ran {
  readonly ingress: string;
  readonly requests: number;
  readonly findings: readonly Finding[];
  /** What became of the payloads, by outcome. */
  readonly outcomes: Readonly<Record<string, number>>;
  /** What took longest. */
  readonly slowest?: string;
}

/** Collects what one ingress did. @param done hears of every request */
export function collector(ingress: string, done: (count: number) => void) {
  const findings: Finding[] = [];
  const outcomes: Record<string, number> = {};
  let requests = 0;
  let longest = { name: "", seconds: 0 };
  return {
    /** @returns what to call when it is done */
    timed(name: string): () => void {
      const started = performance.now();
      return () => {
        const seconds = (performance.now() - started) / 1000;
        if (seconds > longest.seconds) longest = { name, seconds };
      };
    },
    complain: (name: string, problem: string) => void findings.push({ ingress, name, problem }),
    saw(outcome: string) {
      requests++;
      done(1);
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    },
    result: (): Ran => ({
      ingress,
      requests,
      findings,
      outcomes,
      ...(longest.name === "" ? {} : { slowest: `${longest.name}, ${longest.seconds.toFixed(1)} s` }),
    }),
  };
}
