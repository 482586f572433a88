/**
 * The words a person has just written, without what they were answering. Invariant: text under a quote mark or a quoting header is never
 * returned, because our own footer says "unsubscribe" and would opt out everybody who answers.
 */
import EmailReplyParser from "email-reply-parser";

/** Lines from which on everything is quoted. Two lines are joined before the test, since clients wrap "On … wrote:". */
const quoteStarts: readonly RegExp[] = [
  /^\s*-{2,}\s*(original message|forwarded message|mensaje original|message d'origine|message original|ursprüngliche nachricht)\s*-{2,}/i,
  /^\s*[*_]?(from|von|de|da)[*_]?:\s?.*\n\s*[*_]?(sent|to|date|gesendet|envoyé|enviado|inviato|subject|datum)[*_]?:/i,
  /^\s*(on|am|le|el|il|em|op|den)\b[^\n]{4,200}\n?[^\n]{0,200}\b(wrote|schrieb|a écrit|escribió|ha scritto|escreveu|schreef|skrev)\b[^\n]{0,120}:\s*$/im,
  /^\s*_{10,}\s*$/,
  /^\s*begin forwarded message:/i,
];

const isQuoted = (line: string): boolean => /^\s*>/.test(line);

/** Cuts at the first quoting header, drops quoted lines and what follows the signature delimiter. */
function withoutQuotes(text: string): string {
  const lines = text.split("\n");
  const kept: string[] = [];
  for (let n = 0; n < lines.length; n++) {
    const line = lines[n] ?? "";
    if (/^--\s?$/.test(line) && kept.some((item) => item.trim() !== "")) break;
    const pair = `${line}\n${lines[n + 1] ?? ""}`;
    const header = quoteStarts.some((pattern) => {
      const match = pattern.exec(pair);
      return match !== null && pair.slice(0, match.index).trim() === "" && (match.index === 0 || line.trim() === "");
    });
    if (header) {
      // A bottom-posted answer stands below the quotation: keep what is not quoted there.
      const below = lines.slice(n + 1);
      const lastQuoted = below.findLastIndex(isQuoted);
      const answer = lastQuoted < 0 || kept.some((item) => item.trim() !== "") ? [] : below.slice(lastQuoted + 1);
      return [...kept, ...answer].join("\n").trim();
    }
    if (!isQuoted(line)) kept.push(line);
  }
  return kept.join("\n").trim();
}

const maxReadChars = 20_000;

/** New text of an e-mail; other channels quote nothing and pass through. Longer mail is judged by its first 20,000 characters. */
export function newTextOf(channel: string, text: string): string {
  const plain = text.replace(/\r\n?/g, "\n").slice(0, maxReadChars);
  if (channel !== "email") return plain.trim();
  const own = withoutQuotes(plain);
  if (own === "") return "";
  // The library knows the locales and signatures; ours has already removed what must not survive, so the shorter reading is the safe one.
  const parsed = withoutQuotes(new EmailReplyParser().parseReply(own));
  const reading = parsed === "" || sentFromSentence.test(own) ? own : parsed;
  return reading.replace(/\n\s*[-_*=]{5,}\s*$/, "").trim();
}

/** "Sent from my desk, is much easier …" is a sentence and not a device's signature, for which the library takes it. */
const sentFromSentence = /^sent from my [^\n,]*,[^\n]{10,}/im;
