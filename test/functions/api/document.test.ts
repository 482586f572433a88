/** The OpenAPI document: it is valid, complete, and true for every id. */
import { Validator } from "@seriousme/openapi-schema-validator";
import { beforeAll, describe, expect, test } from "vitest";
import { apiScopes } from "../../../core/tenancy/index.ts";
import { methods, pathFields } from "../../../functions/api/endpoint.ts";
import { endpoints } from "../../../functions/api.ts";
import { http } from "../../../functions/topology.ts";
import { arrangeEverything, type Known } from "./everything.ts";
import { bodies, exampleOf, resourceOf, withIds } from "./ids.ts";
import { type Body, type Client, missingId, testApi, withoutId } from "./support.ts";

const api = await testApi();
const document: Body = await (await api.app.request("/openapi.json")).json();

describe("the document", () => {
  test("is valid OpenAPI 3.1", async () => {
    const validator = new Validator();
    const result = await validator.validate(structuredClone(document));
    expect(result.errors).toBeUndefined();
    expect(result.valid).toBe(true);
    expect(validator.version).toBe("3.1");
  });

  test("names everything it refers to", () => {
    const text = JSON.stringify(document);
    expect(text).toContain("#/components/schemas/Lead");
    for (const [, kind, name] of text.matchAll(/"#\/components\/(\w+)\/(\w+)"/g)) {
      expect(document.components[kind ?? ""], `${kind} ${name}`).toHaveProperty(name ?? "");
    }
    expect(text).not.toContain("$defs");
  });

  test("has every route of the app, and the app every route of it", () => {
    const served = api.app.routes
      .filter(({ method, path }) => path.startsWith("/v1") && method !== "ALL")
      .map(({ method, path }) => `${method.toLowerCase()} ${path.replaceAll(/:(\w+)/g, "{$1}")}`);
    const documented = Object.entries(document.paths as Record<string, object>).flatMap(([path, item]) =>
      Object.keys(item).map((method) => `${method} ${path}`),
    );
    expect(documented.toSorted()).toEqual([...new Set(served)].toSorted());
    expect(http.api.routes).toEqual(["GET /health", "GET /openapi.json", "ANY /v1/{proxy+}"]);
  });

  test("says of every operation what it takes, what it answers, what it needs and how it fails", () => {
    const ids = new Set<string>();
    for (const [path, item] of Object.entries(
      document.paths as Record<string, Record<string, Record<string, unknown>>>,
    )) {
      for (const [method, operation] of Object.entries(item)) {
        expect(methods).toContain(method);
        expect(apiScopes).toContain(operation["x-required-scope"]);
        expect(operation["responses"]).toHaveProperty("default");
        expect(operation["summary"]).toMatch(/^[A-Z]/);
        const parameters = (operation["parameters"] ?? []) as { in?: string; name?: string }[];
        expect(parameters.filter((one) => one.in === "path").map(({ name }) => name)).toEqual(pathFields(path));
        ids.add(operation["operationId"] as string);
      }
    }
    expect(ids.size).toBe(endpoints.length);
  });

  test("shows only examples that its schemas accept", () => {
    for (const endpoint of endpoints.filter(({ example, method }) => example !== undefined && method !== "get")) {
      const path = Object.fromEntries(pathFields(endpoint.path).map((name) => [name, exampleOf(endpoint.path, name)]));
      const result = endpoint.input.safeParse({ ...endpoint.example, ...path });
      expect(result.error?.issues ?? [], `${endpoint.method} ${endpoint.path}`).toEqual([]);
    }
  });

  test("has a body for every operation that writes something nameable", () => {
    expect(document.paths["/v1/leads"].post.requestBody.content["application/json"].schema).toMatchObject({
      additionalProperties: false,
      properties: { email: expect.anything(), tags: expect.objectContaining({ type: "array" }) },
    });
    expect(
      document.paths["/v1/segments"].post.requestBody.content["application/json"].schema.properties.filter,
    ).toEqual({
      $ref: "#/components/schemas/SegmentFilter",
    });
  });
});

describe("an id of another tenant", () => {
  let owner: Client;
  let stranger: Client;
  let known: Known;
  beforeAll(async () => {
    [owner, stranger] = [await api.client(), await api.client()];
    known = await arrangeEverything(api, owner);
  });

  test.each(withIds.map((one) => [`${one.method} ${one.path}`, one] as const))(
    "is not found by %s, exactly as if it did not exist",
    async (name, { method, path }) => {
      const foreign = known[resourceOf(path)];
      if (foreign === undefined) throw new Error(`arrangeEverything makes no ${resourceOf(path)}`);
      const missing = exampleOf(path, "id");
      const ask = (client: Client, id: string) => {
        const url = path.replaceAll(/\{\w+\}/g, id);
        const body = bodies[name];
        if (method === "get" || method === "delete") return client[method](url);
        return client[method](url, body ?? {});
      };
      const [theirs, nobodys] = [await ask(stranger, foreign), await ask(stranger, missing)];
      expect(theirs.status, theirs.text).toBe(404);
      expect(withoutId(theirs.text, foreign)).toBe(withoutId(nobodys.text, missing));
      const names = (headers: Headers) =>
        [...headers.keys()].filter((header) => header !== "x-correlation-id").toSorted();
      expect(names(theirs.headers)).toEqual(names(nobodys.headers));
      if (method === "get") expect((await ask(owner, foreign)).status).toBe(200);
    },
  );

  test.each(withIds.map((one) => [`${one.method} ${one.path}`, one] as const))(
    "that is none at all is refused by %s with the form an id has",
    async (name, { method, path }) => {
      const url = path.replaceAll(/\{\w+\}/g, "nonsense");
      const body = bodies[name] ?? {};
      const answer =
        method === "get" || method === "delete" ? await stranger[method](url) : await stranger[method](url, body);
      expect(answer.status).toBe(422);
      expect(answer.body.errors).toContainEqual(
        expect.objectContaining({
          path: pathFields(path)[0],
          value: "nonsense",
          message: expect.stringContaining("expected an id like"),
        }),
      );
    },
  );

  test("is in no list of another tenant", async () => {
    const lists = endpoints.filter(
      ({ method, path }) => method === "get" && pathFields(path).length === 0 && path !== "/v1/explain",
    );
    for (const { path, example } of lists) {
      const query = new URLSearchParams((example ?? {}) as Record<string, string>).toString();
      const answer = await stranger.get(`${path}${query ? `?${query}` : ""}`);
      expect(answer.status, `${path}: ${answer.text}`).toBe(200);
      for (const id of Object.values(known)) expect(answer.text).not.toContain(id);
    }
  });

  test("selects nothing when a list is narrowed by it, and is not found where it is asked about", async () => {
    const { campaigns: campaignId = "", contacts: contactId = "", messages: messageId = "" } = known;
    for (const path of [
      `/v1/enrollments?campaignId=${campaignId}`,
      `/v1/messages?campaignId=${campaignId}`,
      `/v1/events?messageId=${messageId}`,
      `/v1/contacts?leadId=${known["leads"]}`,
      `/v1/people?companyId=${known["companies"]}`,
      `/v1/intake/loads?importId=${known["imports"]}`,
    ]) {
      expect((await stranger.get(path)).body, path).toEqual({ data: [], nextCursor: null });
    }
    const ask = (campaign: string) => stranger.get(`/v1/explain?campaignId=${campaign}&contactId=${contactId}`);
    const [theirs, nobodys] = [await ask(campaignId), await ask(missingId("mcmp"))];
    expect(theirs.status).toBe(404);
    expect(withoutId(theirs.text, campaignId)).toBe(withoutId(nobodys.text, missingId("mcmp")));
  });
});
