/**
 * The simulated providers behind a socket that keeps every request as it arrived. Invariant: a request is kept before it is answered, also one
 * that no provider would understand.
 */
import { createServer } from "node:http";
import { Endpoints } from "../../local/simulator/endpoints.ts";
import { type Answer, problem, readBody, reply } from "../../local/simulator/http.ts";
import { takeMail } from "../../local/simulator/sendgrid.ts";
import { createMessage } from "../../local/simulator/twilio.ts";

export interface Caught {
  readonly method: string;
  readonly url: string;
  /** Names and values as they stood on the wire, in turn. */
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
  readonly status: number;
}

const anybody = Endpoints.parse({});

function answerOf(url: string, authorization: string | undefined, body: Buffer, nonce: string): Answer {
  if (url === "/v3/mail/send") return takeMail(anybody, authorization, body, nonce).answer;
  const [, accountSid] = /^\/2010-04-01\/Accounts\/([^/]+)\/Messages\.json$/.exec(url) ?? [];
  if (accountSid === undefined) return problem(404, "no_route", url);
  const request = { accountSid, authorization, body, nonce, at: new Date(0), isOptedOut: () => false };
  return createMessage(anybody, request).answer;
}

export async function startRecorder() {
  const caught: Caught[] = [];
  const server = createServer((request, response) => {
    void readBody(request).then((read) => {
      const { method = "", url = "", rawHeaders, headers } = request;
      const body = read ?? Buffer.alloc(0);
      const answer = answerOf(url, headers.authorization, body, String(caught.length));
      caught.push({ method, url, rawHeaders, body, status: answer.status });
      reply(response, answer);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { readonly port: number };
  return {
    url: `http://127.0.0.1:${port}`,
    caught,
    stop: () => new Promise<void>((resolve) => void server.close(() => resolve()).closeAllConnections()),
  };
}
