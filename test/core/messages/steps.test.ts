/** Which nodes of which versions are the same step. */
import * as fc from "fast-check";
import { expect, it } from "vitest";
import { namesAfter } from "../../../core/campaigns/migrate.ts";
import { isSameStep, type NodeRename, onePerStep, type Step, TakenSteps } from "../../../core/messages/steps.ts";
import { runs } from "../../support/runs.ts";

/** `"1a 2b"`: a of version 1 is called b in version 2. */
const renames = (...said: readonly string[]): NodeRename[] =>
  said.map((one) => {
    const [from = "", to = ""] = one.split(" ");
    return {
      fromVersionId: from.slice(0, 1),
      fromNode: from.slice(1),
      toVersionId: to.slice(0, 1),
      toNode: to.slice(1),
    };
  });

const node = (name: string) => ({ planVersionId: name.slice(0, 1), nodeId: name.slice(1) });

/** What removing the first of three numbered steps says of them. */
const shorter = ["1two 2one", "1three 2two", "1one 2one@1"];

it.each<[said: readonly string[], one: string, other: string, same: boolean]>([
  [[], "1a", "2a", true],
  [[], "1a", "2b", false],
  [["1a 2b"], "1a", "2b", true],
  [["1a 2b"], "1a", "2a", false],
  [["1a 2b"], "1c", "2c", true],
  [["1a 2b"], "1b", "2b", false],
  [["1a 2b", "1b 2a"], "1b", "2a", true],
  [["1a 2b", "1b 2a"], "1a", "2a", false],
  [["1a 2b", "2b 3c"], "1a", "3c", true],
  [["1a 2b", "2b 3c"], "1a", "3b", false],
  [["1a 2b"], "1a", "3b", true],
  [["1a 2b"], "1a", "3a", false],
  [["2b 3c"], "1b", "3c", true],
  [["1a 3c"], "2a", "3a", true],
  [["1a 2b", "1a 2c"], "1a", "2c", true],
  [shorter, "1two", "2one", true],
  [shorter, "1one", "2one", false],
  [shorter, "1two", "3one", true],
  [shorter, "1three", "3three", false],
  // Said by who moved back from version 2 to version 1.
  [["2b 1a"], "1a", "2b", true],
  [["2b 1a"], "1b", "2b", false],
  // A later version sees two as one.
  [["1a 3c", "2b 3c"], "1a", "2b", true],
  [["1a 3c", "2b 3c"], "1b", "2a", false],
])("with %j said, %s and %s are the same step: %j", (said, one, other, same) => {
  expect(isSameStep(renames(...said), node(one), node(other))).toBe(same);
  expect(isSameStep(renames(...said), node(other), node(one))).toBe(same);
});

const step: Step = { place: "here", enrollmentId: "e1", planVersionId: "1", nodeId: "a" };
const said = renames("1a 2b");
const other = { ...step, enrollmentId: "e2", planVersionId: "2", nodeId: "b", renames: said, isRetry: false };

it("a step is taken by another walk with the address, at the same entry", () => {
  const taken = new TakenSteps([]);
  expect(taken.has(other)).toBe(false);
  taken.take(step);
  expect(taken.has(other)).toBe(true);
  expect(taken.has({ ...other, enrollmentId: "e1" })).toBe(false);
  expect(taken.has({ ...other, place: "there" })).toBe(false);
  expect(taken.has({ ...other, nodeId: "a" })).toBe(false);
  expect(taken.has({ ...other, renames: [] })).toBe(false);
});

it("of two that were claimed and put back neither has the step, until one is out", () => {
  const back = new TakenSteps([{ ...step, isOut: false }]);
  expect([back.has(other), back.has({ ...other, isRetry: true })]).toEqual([true, false]);
  const out = new TakenSteps([{ ...step, isOut: true }]);
  expect(out.has({ ...other, isRetry: true })).toBe(true);
});

it("of a batch each step is looked at once, and whatever is no such step", () => {
  const [one, two, three] = [step, other, { ...other, nodeId: "c" }].map((it) => ({
    ...it,
    renames: said,
    isRetry: false,
  }));
  expect(onePerStep([one, null, two, three, null], (it) => it ?? null)).toEqual([one, null, three, null]);
});

/** Versions `1`, `2`, … with nodes of these names; each migration moves those who are on some of the older ones. */
const nodeNames = ["a", "b", "c", "d"];
const someNames = fc.uniqueArray(fc.constantFrom(...nodeNames), { minLength: 1 });
const histories = fc.array(
  fc.record({
    nodes: someNames,
    map: fc.dictionary(fc.constantFrom(...nodeNames), fc.constantFrom(...nodeNames), { maxKeys: 3 }),
    moves: fc.array(fc.boolean(), { minLength: 5, maxLength: 5 }),
  }),
  { minLength: 2, maxLength: 5 },
);

it("what two walks call alike once they are on one version is the same step, however they came there", () => {
  fc.assert(
    fc.property(histories, (history) => {
      const plans = history.map(({ nodes }) => ({ nodes: nodes.map((id) => ({ id, type: "send" })) }) as never);
      const said: NodeRename[] = [];
      const messages: { readonly made: ReturnType<typeof node>; at: number; name: string }[] = [];
      for (const [to, { nodes, map, moves }] of history.entries()) {
        for (const name of nodes) messages.push({ made: node(`${to}${name}`), at: to, name });
        const movers = new Set(moves.flatMap((moved, from) => (moved && from < to ? [from] : [])));
        const leads = (from: number) =>
          said.some((one) => one.fromVersionId === `${from}` && one.toVersionId !== `${to}`);
        const isNaming = Object.keys(map).length > 0 || said.length > 0;
        for (let from = 0; isNaming && from < to; from++) {
          if (!movers.has(from) && leads(from)) continue;
          for (const names of namesAfter(plans[from] as never, map))
            said.push({ fromVersionId: `${from}`, fromNode: names.from, toVersionId: `${to}`, toNode: names.to });
        }
        for (const message of messages) {
          if (!movers.has(message.at)) continue;
          const names = said.find(
            (one) =>
              one.fromVersionId === `${message.at}` && one.toVersionId === `${to}` && one.fromNode === message.name,
          );
          message.name = names?.toNode ?? message.name;
          message.at = to;
        }
      }
      // A retired name is no node's: nothing is made under it.
      for (const one of messages)
        for (const other of messages)
          if (one.at === other.at && one.name === other.name && !one.name.includes("@"))
            expect(isSameStep(said, one.made, other.made), JSON.stringify({ one, other, said })).toBe(true);
    }),
    { numRuns: runs(2_000, 50_000) },
  );
});
