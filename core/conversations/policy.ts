/**
 * What an inbound message is: an opt-out, an automatic reply, or an answer. Pure. Invariant: an opt-out is looked for before anything else and
 * only in words that the person wrote; in doubt the verdict is `unclear_opt_out`, which holds all sends until a person has looked.
 */
import type { Channel } from "../kernel/index.ts";
import {
  certain,
  doubtfulSigns,
  fillers,
  helpKeywords,
  ordinary,
  possible,
  startIfOptedOut,
  startKeywords,
  stopKeywords,
  stopSigns,
  typos,
} from "./phrases.ts";
import { newTextOf } from "./reply-text.ts";

export type InboundKind = "opt_out" | "opt_in" | "help" | "auto_reply" | "reply" | "bounce_report" | "unclear_opt_out";
/** attempt_logs.response_type */
export type ResponseType = "positive" | "negative" | "neutral" | "dnc";

export interface InboundFacts {
  readonly channel: Channel;
  readonly subject?: string | undefined;
  readonly text: string;
  /** E-mail headers; names in any case. */
  readonly headers?: Readonly<Record<string, string | readonly string[] | undefined>> | undefined;
  /** What the provider has decided (Twilio `OptOutType`). It beats our own reading, and the provider has answered the person already. */
  readonly optOut?: "STOP" | "START" | "HELP" | undefined;
}

export interface InboundVerdict {
  readonly kind: InboundKind;
  /** Without quotations and signature. */
  readonly newText: string;
  /** The keyword, phrase or header that decided; null for an ordinary reply. */
  readonly matched: string | null;
  /** "YES": an opt-in only if the address is opted out, otherwise a reply. */
  readonly onlyIfOptedOut: boolean;
  readonly responseType: ResponseType;
}

/** Decides in this order: provider, delivery report, automatic headers, keyword, phrase, automatic wording, reply. */
export function classifyInbound(facts: InboundFacts): InboundVerdict {
  const newText = newTextOf(facts.channel, facts.text);
  const verdict = (kind: InboundKind, matched: string | null, onlyIfOptedOut = false): InboundVerdict => ({
    kind,
    newText,
    matched,
    onlyIfOptedOut,
    responseType: responseTypeOf(kind, newText),
  });
  if (facts.optOut)
    return verdict(
      facts.optOut === "STOP" ? "opt_out" : facts.optOut === "START" ? "opt_in" : "help",
      `provider:${facts.optOut}`,
    );

  const headers = lowerCased(facts.headers ?? {});
  const email = facts.channel === "email";
  if (email) {
    const report = bounceReport(headers, facts.subject ?? "");
    if (report) return verdict("bounce_report", report);
  }
  const revocation = revocationIn(newText) ?? (email ? subjectRevocation(facts.subject ?? "", newText) : null);
  const automatic = email ? automaticHeader(headers) : null;
  if (automatic) {
    // A machine may quote anybody's footer, so its words alone opt nobody out; yet "I asked to be removed" in one deserves a look.
    return revocation?.kind === "opt_out"
      ? verdict("unclear_opt_out", revocation.matched)
      : verdict("auto_reply", automatic);
  }
  const keyword = keywordOf(newText);
  if (keyword && keyword.kind !== "opt_out")
    return verdict(keyword.kind, keyword.matched, startIfOptedOut.has(keyword.matched));
  if (revocation?.kind === "opt_out") return verdict("opt_out", revocation.matched);
  const worded = automaticWording(email ? (facts.subject ?? "") : "", newText);
  if (worded) return verdict("auto_reply", worded);
  return revocation ? verdict(revocation.kind, revocation.matched) : verdict("reply", null);
}

/** Lower case, compatibility forms, no accents, no invisible characters, words separated by single spaces, typos corrected. */
export function normalize(text: string): string {
  const bare = text
    .normalize("NFKC")
    .toLowerCase()
    .replaceAll("🛑", " stop ")
    .normalize("NFD")
    .replace(/\p{M}|\p{Cf}/gu, "")
    .replace(/['’‘`´]/g, "")
    .replace(/[^\p{L}\p{N}]+/gu, " ")
    .trim();
  return bare.split(" ").map(corrected).join(" ");
}

function corrected(word: string): string {
  if (Object.hasOwn(typos, word)) return typos[word] ?? word;
  if (/^s+t+o+p+$/.test(word)) return "stop";
  if (word.length >= 8 && word.length <= 14 && /^u/.test(word) && !/^unsubscri(be|bed|bing|ption|bes)$/.test(word)) {
    if (distance(word, "unsubscribe") <= 2) return "unsubscribe";
    if (distance(word, "unsubscribed") <= 1) return "unsubscribed";
  }
  return word;
}

/** Damerau–Levenshtein on two short words. */
function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, n) => n)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const at = (r: number, c: number) => rows[r]?.[c] ?? Number.POSITIVE_INFINITY;
      const swap =
        i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
          ? at(i - 2, j - 2) + 1
          : Number.POSITIVE_INFINITY;
      row.push(
        Math.min(at(i - 1, j) + 1, (row[j - 1] ?? 0) + 1, at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1), swap),
      );
    }
    rows.push(row);
  }
  return rows[a.length]?.[b.length] ?? Number.POSITIVE_INFINITY;
}

interface Match {
  readonly kind: "opt_out" | "opt_in" | "help" | "unclear_opt_out";
  readonly matched: string;
}

/** The whole message is one keyword, in any case, spacing and punctuation. */
function keywordOf(text: string): Match | null {
  const plain = normalize(text);
  if (plain === "") return null;
  if (stopKeywords.has(plain)) return { kind: "opt_out", matched: plain };
  if (startKeywords.has(plain) || startIfOptedOut.has(plain)) return { kind: "opt_in", matched: plain };
  if (helpKeywords.has(plain)) return { kind: "help", matched: plain };
  // "S T O P", "S.T.O.P."
  const joined = plain.replaceAll(" ", "");
  if (/^(\w )+\w$/.test(plain) && stopKeywords.has(joined)) return { kind: "opt_out", matched: joined };
  const words = plain.split(" ").filter((word) => !fillers.has(word));
  const core = words.join(" ");
  // Repeated, or with courtesies around it. "end", "td" and the like are common words, so only alone.
  // "Cancel it" may be about an appointment; "stop it" is not.
  const pointsAtSomething =
    /\b(it|this|that)\b/.test(plain) && !words.every((word) => word === "stop" || word === "unsubscribe");
  if (
    !pointsAtSomething &&
    words.length > 0 &&
    words.length <= 6 &&
    (words.every((word) => strongAlone.has(word)) || core === "opt out" || core === "stop all")
  ) {
    return { kind: "opt_out", matched: words[0] ?? core };
  }
  return null;
}
const strongAlone: ReadonlySet<string> = new Set([
  "stop",
  "stopall",
  "unsubscribe",
  "quit",
  "cancel",
  "remove",
  "alto",
  "parar",
  "basta",
  "arretez",
  "arreter",
  "arret",
  "baja",
  "desabonner",
]);

/** One clause at a time, so that "don't stop. Remove Bob" is not read across the full stop. */
function revocationIn(text: string): Match | null {
  const keyword = keywordOf(text);
  if (keyword) return keyword.kind === "opt_out" ? keyword : null;
  const signs = text.replace(/[\s\p{P}\p{Mn}\p{Cf}\p{Emoji_Modifier}]|[♀♂]/gu, "");
  if (signs !== "" && [...signs].every((sign) => stopSigns.has(sign) || doubtfulSigns.has(sign))) {
    return { kind: [...signs].some((sign) => stopSigns.has(sign)) ? "opt_out" : "unclear_opt_out", matched: signs };
  }
  let doubtful: Match | null = null;
  for (const raw of text.split(/[.!?;\n…]+|,|\s[-–—]\s/u)) {
    const whole = normalize(raw);
    if (whole === "") continue;
    const clause = ordinary
      .reduce((rest, pattern) => rest.replace(pattern, " · "), whole)
      .replace(/\s+/g, " ")
      .trim();
    // The last clause or line of a message may be the bare word: "No thanks. STOP"
    if (stopKeywordClause(clause)) return { kind: "opt_out", matched: clause };
    const sure = firstMatch(certain, clause);
    if (sure) return { kind: asksOrOther(clause, raw) ? "unclear_opt_out" : "opt_out", matched: sure };
    const maybe = firstMatch(possible, clause);
    if (maybe) doubtful ??= { kind: "unclear_opt_out", matched: maybe };
  }
  return doubtful;
}

const stopKeywordClause = (clause: string): boolean => {
  const words = clause.split(" ").filter((word) => !fillers.has(word));
  return (
    words.length > 0 &&
    words.length <= 3 &&
    words.every((word) => word === "stop" || word === "stopall" || word === "unsubscribe" || word === "quit")
  );
};

/** On behalf of somebody else, about another channel, or for a time: a person should look. */
const asksOrOther = (clause: string, raw: string): boolean =>
  /\b(my|our|his|her|their) (coworker|co worker|colleague|boss|husband|wife|assistant|team|customers?|clients?|mother|mom|dad|father|son|daughter|employee|employees|competitors?|vendor|partner)\b/.test(
    clause,
  ) ||
  /\b(instead|rather|use (my|this|the) (other|new|work|personal)|until|next (week|month|year|quarter)|on (my|the) (office|work|home|other|personal|business)|from the (thread|cc|meeting|invite|chain|call|thread|loop)|to my old|(him|her|them))\b/.test(
    clause,
  ) ||
  (/\?/.test(raw) && /^(did|do|does|has|have|is|are|should|would|if|what|when|who)\b/.test(clause));

function firstMatch(patterns: readonly RegExp[], clause: string): string | null {
  for (const pattern of patterns) {
    const match = pattern.exec(clause);
    if (match) return match[0].trim();
  }
  return null;
}

/** Mail to the List-Unsubscribe address says it in the subject. An answer ("Re: …") repeats ours and says nothing. */
function subjectRevocation(subject: string, newText: string): Match | null {
  if (/^\s*(re|aw|fwd?|sv|antw|rv|tr)\s*:/i.test(subject)) return null;
  const keyword = keywordOf(subject);
  if (keyword?.kind === "opt_out") return { kind: "opt_out", matched: `subject:${keyword.matched}` };
  return newText === "" ? revocationIn(subject) : null;
}

type Headers = ReadonlyMap<string, string>;

function lowerCased(headers: NonNullable<InboundFacts["headers"]>): Headers {
  return new Map(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined
        ? []
        : [[name.toLowerCase(), (typeof value === "string" ? value : value.join(", ")).trim()] as const],
    ),
  );
}

/** RFC 3464 reports, and the text-only ones that name themselves in sender and subject. */
function bounceReport(headers: Headers, subject: string): string | null {
  if (
    /multipart\/report/i.test(headers.get("content-type") ?? "") &&
    /report-type="?delivery-status/i.test(headers.get("content-type") ?? "")
  ) {
    return "content-type: multipart/report";
  }
  const fromDaemon = /\b(mailer-daemon|postmaster)@|^mailer-daemon\b/i.test(headers.get("from") ?? "");
  const failed =
    /undeliver|delivery status notification|delivery (has )?failed|mail delivery (failed|failure|system)|returned mail|failure notice|non remis|unzustellbar/i;
  return fromDaemon && failed.test(subject) ? "from: mailer-daemon" : null;
}

/** RFC 3834 and what mail systems used before and beside it. */
function automaticHeader(headers: Headers): string | null {
  const submitted = headers.get("auto-submitted");
  if (submitted !== undefined && !/^no\b/i.test(submitted)) return "auto-submitted";
  for (const name of ["x-auto-response-suppress", "x-autoreply", "x-autorespond", "x-autoresponder", "list-id"]) {
    if (headers.has(name)) return name;
  }
  if (/^(bulk|junk|list|auto_reply)$/i.test(headers.get("precedence") ?? "")) return "precedence";
  const returnPath = headers.get("return-path");
  return returnPath === "" || returnPath === "<>" ? "return-path: <>" : null;
}

const automaticSubject =
  /^\s*(automatic reply|auto[- ]?reply|auto[- ]?response|autorespons|autosvar|out of (the )?office|ooo\b|abwesend|abwesenheit|automatische antwort|réponse automatique|absence du bureau|respuesta automática|fuera de (la )?oficina|risposta automatica|resposta automática|automatisch antwoord|on vacation|away from)/i;
const automaticText =
  /^\s*(\[?auto[- ]?(reply|response)\]?\b|automatic reply|this is an automat(ed|ic) (reply|response|message)|i('|’)m driving (with|right now)|(i am|i('|’)m) (currently )?(out of (the )?office|on (vacation|leave|parental leave|maternity leave)|away (from|until))|respuesta automática|réponse automatique)/i;

function automaticWording(subject: string, text: string): string | null {
  return automaticSubject.exec(subject)?.[0].trim() ?? automaticText.exec(text)?.[0].trim() ?? null;
}

const negative =
  /\b(not interested|no interest|no thanks|no thank you|not for (me|us)|not a (good )?fit|not (right )?now|not at this time|not looking|already have|all set|pass on|ill pass|we pass|dont need|do not need|no need|too expensive|no gracias|no me interesa|pas interesse|non merci|wrong (number|person)|waste of time)\b|^(no|nope|nah|pass)$/;
const positive =
  /\b(interested|sounds (good|great|interesting)|tell me more|send (me |us )?(more|details|info|pricing|a quote|the deck)|lets (talk|chat|meet|do it|connect|schedule)|call me|give me a call|schedule|book (a|me)|set up a|happy to (talk|chat|meet)|love to|would like to|id like to|looking forward|im in|count me in|works for me|yes please|sign me up|me interesa|interesse|free (tomorrow|next|on|this))\b|^(yes|yeah|yep|sure|ok|okay|definitely|absolutely|si|oui)\b/;

/** For the attempt log: plain rules, negative before positive ("not interested" contains "interested"). */
function responseTypeOf(kind: InboundKind, text: string): ResponseType {
  if (kind === "opt_out") return "dnc";
  if (kind === "unclear_opt_out") return "negative";
  if (kind !== "reply") return "neutral";
  const plain = normalize(text);
  return negative.test(plain) ? "negative" : positive.test(plain) ? "positive" : "neutral";
}
