/**
 * Stands in for `core/providers/http.ts` inside a simulation: the adapters' own reading of answers runs, the network is a model.
 *
 * Invariant: it has the same exports as the module it stands in for, and does nothing but ask the model.
 */
import type { Sender } from "../../core/ports/index.ts";
import type { HttpCall, HttpResult } from "../../core/providers/http.ts";

export const maxResponseBytes = 1_048_576;
export const closeConnections = async (): Promise<void> => {};

let answer: (request: HttpCall) => Promise<HttpResult> = async () => ({ kind: "not_sent", reason: "no model" });
export const call = (request: HttpCall): Promise<HttpResult> => answer(request);

export type LookedUp = Awaited<ReturnType<NonNullable<Sender["lookup"]>>>;
let look: (messageId: string) => Promise<LookedUp> = async () => ({ kind: "unknown" });

/** No adapter of today's can ask its provider what became of a message; the engine can, so one adapter is given the means here. */
export const withLookup = (sender: Sender): Sender => ({
  ...sender,
  lookup: (_credentials, { messageId }) => look(messageId),
});

/** Who plays the providers from now on. */
export const connectWire = (model: typeof answer, lookup: typeof look): void => {
  answer = model;
  look = lookup;
};
