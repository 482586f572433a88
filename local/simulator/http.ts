/** The little HTTP that the simulator's routes need: bounded bodies, answers as values, problem details. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type * as z from "zod";

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export const json = (status: number, value: unknown, headers: Readonly<Record<string, string>> = {}): Answer => ({
  status,
  headers: { "content-type": "application/json", ...headers },
  body: JSON.stringify(value),
});

export const html = (status: number, body: string): Answer => ({
  status,
  headers: {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'",
  },
  body,
});

/** RFC 9457. */
export const problem = (status: number, code: string, detail: string, fields: readonly object[] = []): Answer =>
  json(
    status,
    { type: "about:blank", title: code, status, code, detail, fields },
    { "content-type": "application/problem+json" },
  );

export const invalid = (code: string, error: z.ZodError): Answer =>
  problem(
    400,
    code,
    error.issues.map((issue) => `${issue.path.join(".") || "body"}: ${issue.message}`).join("; "),
    error.issues.map((issue) => ({ path: issue.path.join("."), message: issue.message })),
  );

/** SendGrid's limit for a whole request; nothing here needs more. */
export const maxBodyBytes = 30 * 1024 * 1024;

/** null when the body is over the limit. Rejects when the client goes away before its end. */
export function readBody(request: IncomingMessage): Promise<Buffer | null> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer | null>();
  const chunks: Buffer[] = [];
  let size = 0;
  request.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size <= maxBodyBytes) chunks.push(chunk);
    else resolve(null);
  });
  request.on("end", () => resolve(Buffer.concat(chunks)));
  request.on("error", reject);
  request.on("close", () => reject(new Error("the request ended before its body did")));
  return promise;
}

/** undefined when it is not JSON. */
export function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString("utf8"));
  } catch {
    return undefined;
  }
}

export function reply(response: ServerResponse, answer: Answer): void {
  response.writeHead(answer.status, { ...answer.headers, "content-length": Buffer.byteLength(answer.body) });
  response.end(answer.body);
}

export const escapeHtml = (text: string): string =>
  text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
