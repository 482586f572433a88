/** One script for both sides: what the provider simulator's recipients will do is what the campaign simulation is told they would do. */
import { dueTimes } from "../simulator/reactions.ts";
import { behaviourOf, type Rates } from "../simulator/script.ts";

export interface Script {
  readonly seed: string;
  readonly rates: Rates;
  /** Reactions happen at multiples of this. */
  readonly gridSeconds: number;
}

export interface AcceptedMessage {
  readonly address: string;
  readonly channel: string;
  /** 1 for the first message to that address on that channel. */
  readonly ordinal: number;
  readonly sentAt: Date;
}

/** As the simulator schedules them, in seconds after the acceptance. */
export function reactionsOf(script: Script, { address, channel, ordinal, sentAt }: AcceptedMessage) {
  if (channel !== "email" && channel !== "sms") return [];
  const behaviour = behaviourOf(script.seed, script.rates, { address, channel, ordinal });
  const due = dueTimes(sentAt.getTime(), behaviour, { speed: 1, gridSeconds: script.gridSeconds });
  return behaviour.map(({ kind }, index) => ({ kind, afterSeconds: ((due[index] ?? 0) - sentAt.getTime()) / 1000 }));
}
