/**
 * The API over a real database, called without a network.
 *
 * Invariant: every answer of every test is held against what the OpenAPI document promises for it: its status, its content type and its
 * fields, none missing and none that the document does not know.
 */
import type { Kysely } from "kysely";
import { expect } from "vitest";
import type { DB } from "../../../core/db/types.gen.ts";
import { memoryBlobs, memoryKeys, memoryQueue } from "../../../core/providers/memory/index.ts";
import { type ApiScope, createApiKey } from "../../../core/tenancy/index.ts";
import type { Endpoint } from "../../../functions/api/endpoint.ts";
import { unknownFields } from "../../../functions/api/input.ts";
import { createApi, endpoints } from "../../../functions/api.ts";
import { createLog } from "../../../functions/lib/log.ts";
import { createHost, providerAdapters } from "../../../functions/lib/runtime.ts";
import { type TestDatabase, testDatabase } from "../../support/database.ts";
import { newTenant, type TestTenant } from "../../support/tenant.ts";

export type Line = Readonly<Record<string, unknown>>;

// biome-ignore lint/suspicious/noExplicitAny: what an answer holds is what the test is about to assert
export type Body = any;

export interface Answer {
  readonly status: number;
  readonly body: Body;
  readonly text: string;
  readonly headers: Headers;
}

export interface Client {
  readonly tenant: TestTenant;
  readonly apiKey: string;
  get(path: string, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  post(path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  put(path: string, body: unknown): Promise<Answer>;
  patch(path: string, body: unknown): Promise<Answer>;
  delete(path: string): Promise<Answer>;
  /** Anything, with the key of this client unless `headers` says otherwise. */
  send(
    method: string,
    path: string,
    init?: RequestInit & { readonly headers?: Record<string, string> },
  ): Promise<Answer>;
}

export interface TestApi {
  readonly database: TestDatabase;
  readonly app: ReturnType<typeof createApi>;
  readonly lines: Line[];
  /** A new tenant with a key of these scopes (default: all). */
  client(options?: ClientOptions): Promise<Client>;
}

export interface ClientOptions {
  readonly scopes?: readonly ApiScope[];
  /** Another key of the same tenant. */
  readonly of?: Client;
  readonly organization?: string;
}

/** Call it at the top of a test file. @param prepare what the API's database handle becomes: to watch its statements */
export async function testApi(prepare: (db: Kysely<DB>) => Kysely<DB> = (db) => db): Promise<TestApi> {
  const database = await testDatabase();
  const lines: Line[] = [];
  const host = createHost({
    db: prepare(database.db),
    queue: memoryQueue(),
    blobs: memoryBlobs(),
    keys: memoryKeys(),
    ...providerAdapters,
    publicUrl: "https://outrider.test",
    signingKeys: [new Uint8Array(32)],
    log: createLog({ write: (line) => lines.push(JSON.parse(line) as Line), now: () => new Date(0) }),
  });
  const app = createApi(host);

  async function send(method: string, path: string, init: RequestInit = {}): Promise<Answer> {
    const response = await app.request(path, { ...init, method });
    const content = await response.text();
    const type = response.headers.get("content-type") ?? "";
    const body: Body = type.includes("json") && content !== "" ? JSON.parse(content) : undefined;
    const answer = { status: response.status, body, text: content, headers: response.headers };
    if (path.startsWith("/v1")) checkAnswer(method.toLowerCase(), path, answer);
    return answer;
  }

  return {
    database,
    app,
    lines,
    async client({ scopes = ["*"], of, organization }: ClientOptions = {}) {
      const tenant = of?.tenant ?? (await newTenant(database, organization === undefined ? {} : { organization }));
      const { apiKey } = await createApiKey(tenant, { name: "test", scopes: [...scopes] });
      const own = { authorization: `Bearer ${apiKey}` };
      const json =
        (method: string) =>
        (path: string, body?: unknown, headers: Readonly<Record<string, string>> = {}) =>
          send(method, path, {
            headers: { ...own, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
            ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
          });
      return {
        tenant,
        apiKey,
        get: (path, headers) => json("GET")(path, undefined, headers),
        post: json("POST"),
        put: json("PUT"),
        patch: json("PATCH"),
        delete: (path) => json("DELETE")(path),
        send: (method, path, init = {}) => send(method, path, { ...init, headers: { ...own, ...init.headers } }),
      };
    },
  };
}

const pattern = ({ path }: Endpoint) => new RegExp(`^${path.replaceAll(/\{\w+\}/g, "[^/]+")}$`);

/** The endpoint that answers a request, as the router chooses it: fixed parts before names. */
export function endpointOf(method: string, path: string): Endpoint | undefined {
  const [plain = ""] = path.split("?", 1);
  const found = endpoints.filter((one) => one.method === method && pattern(one).test(plain));
  return found.find((one) => !one.path.includes("{")) ?? found[0];
}

function checkAnswer(method: string, path: string, { status, body, text, headers }: Answer): void {
  if (status >= 400) {
    expect(headers.get("content-type"), text).toBe("application/problem+json");
    expect(body).toMatchObject({
      type: `urn:outrider:problem:${body.code}`,
      status,
      title: expect.any(String),
      detail: expect.any(String),
      code: expect.stringMatching(/^[a-z_]+(\.[a-z0-9_]+)*$/),
    });
    return;
  }
  const endpoint = endpointOf(method, path);
  if (!endpoint) throw new Error(`no endpoint answers ${method} ${path}`);
  expect(status).toBe(endpoint.status ?? 200);
  if (status === 204) expect(text).toBe("");
  else expect(headers.get("content-type")).toContain(endpoint.textType ?? "application/json");
  if (status === 204 || endpoint.textType) return;
  endpoint.answer.parse(body);
  expect(unknownFields(endpoint.answer, body), `${method} ${path} answers fields that are not documented`).toEqual([]);
}

/** The refusal of an id must not tell whether it is somebody else's: the same but for the id itself. */
export const withoutId = (text: string, id: string): string => text.replaceAll(id, "<id>");

export const missingId = (prefix: string): string => `${prefix}_01J00000000000000000000000`;
