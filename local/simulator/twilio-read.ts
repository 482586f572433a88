/** Twilio's message look-ups: what a sender asks when it does not know whether its request arrived. */
import { type Answer, json } from "./http.ts";
import type { Stage } from "./reactions.ts";
import type { Accept } from "./state.ts";
import { authenticate, resource } from "./twilio.ts";

const statuses = { processed: "sent", delivered: "delivered", undelivered: "undelivered" } as const;

/** The resource as it stands now: its status follows from the script and the clock. */
function view(stage: Stage, accept: Accept, account: string): object {
  const { message } = stage.state.find(accept.messageId) ?? { message: null };
  const elapsedSeconds = ((stage.outbox.now().getTime() - Date.parse(accept.at)) / 1000) * stage.speed();
  const shown = resource(accept, message ?? { account, text: "", messagingServiceSid: null }, accept.at);
  const past = message?.script.filter((one) => one.afterSeconds <= elapsedSeconds) ?? [];
  const last = past.findLast((one) => one.kind in statuses);
  if (last === undefined) return shown;
  const status = statuses[last.kind as keyof typeof statuses];
  return { ...shown, status, ...(last.kind === "undelivered" && { error_code: last.code }) };
}

const missing = (path: string): Answer =>
  json(404, {
    code: 20404,
    message: `The requested resource ${path} was not found`,
    more_info: "https://www.twilio.com/docs/errors/20404",
    status: 404,
  });

/** `GET …/Messages/{Sid}.json` */
export function showMessage(stage: Stage, account: string, authorization: string | undefined, file: string): Answer {
  const refused = authenticate(stage.endpoints(), account, authorization);
  if (refused !== null) return refused;
  const found = stage.state.find(file.replace(/\.json$/, ""));
  const isTheirs = found?.accept.provider === "twilio" && (found.message?.account ?? account) === account;
  return found !== null && isTheirs
    ? json(200, view(stage, found.accept, account))
    : missing(`/2010-04-01/Accounts/${account}/Messages/${file}`);
}

/** `GET …/Messages.json?To=&From=&DateSent>=&DateSent<=`, newest first, one page. */
export function listMessages(
  stage: Stage,
  account: string,
  authorization: string | undefined,
  query: URLSearchParams,
): Answer {
  const refused = authenticate(stage.endpoints(), account, authorization);
  if (refused !== null) return refused;
  const bound = (name: string, otherwise: number) => {
    const ms = Date.parse(query.get(name) ?? "");
    return Number.isNaN(ms) ? otherwise : ms;
  };
  const [to, from] = [query.get("To"), query.get("From")];
  const [earliest, latest] = [bound("DateSent>", 0), bound("DateSent<", Number.POSITIVE_INFINITY)];
  const pageSize = Math.min(1000, Number(query.get("PageSize") ?? 50) || 50);
  const messages = stage.state.accepts.entries
    .filter((one) => {
      const at = Date.parse(one.at);
      const isTheirs = (stage.state.find(one.messageId)?.message?.account ?? account) === account;
      return (
        one.provider === "twilio" &&
        isTheirs &&
        (to ?? one.to) === one.to &&
        (from ?? one.from) === one.from &&
        at >= earliest &&
        at <= latest
      );
    })
    .slice(-pageSize)
    .reverse()
    .map((one) => view(stage, one, account));
  return json(200, {
    messages,
    page: 0,
    page_size: pageSize,
    start: 0,
    end: Math.max(0, messages.length - 1),
    next_page_uri: null,
    previous_page_uri: null,
  });
}
