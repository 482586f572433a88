/** What every endpoint has in common: keys, scopes, bodies, idempotency, errors, headers. */
import { describe, expect, test } from "vitest";
import { newId } from "../../../core/kernel/id.ts";
import { advance, setClock } from "../../support/tenant.ts";
import { type Answer, testApi } from "./support.ts";

const api = await testApi();
const one = await api.client();

const template = (name: string) => ({ name, subject: "Hello", text: "Hello {{ contact.firstName }}" });
const json = { "content-type": "application/json" };

describe("a caller", () => {
  const refusedKeys = {
    "no key": undefined,
    "another scheme": "Basic YTpi",
    "a key that was cut off": `Bearer ${one.apiKey.slice(0, -1)}`,
    "a key with a wrong letter": `Bearer ${one.apiKey.slice(0, -1)}${one.apiKey.endsWith("0") ? "1" : "0"}`,
    nonsense: "Bearer ☃".replace("☃", "x".repeat(300)),
  };
  test.each(Object.entries(refusedKeys))(
    "with %s is refused, counted, and told how to authenticate",
    async (_name, authorization) => {
      const before = api.lines.filter((line) => "AuthenticationsRefused" in line).length;
      const answer = await api.app.request(
        "/v1/templates",
        authorization === undefined ? {} : { headers: { authorization } },
      );
      expect(answer.status).toBe(401);
      expect(answer.headers.get("www-authenticate")).toBe("Bearer");
      const code = authorization === undefined ? "auth.missing" : "auth.invalid";
      expect(await answer.json()).toMatchObject({ code, title: "Not authenticated" });
      expect(api.lines.filter((line) => "AuthenticationsRefused" in line)).toHaveLength(before + 1);
    },
  );

  test("with a revoked key is refused from the next request on, in the words of an unknown one", async () => {
    const other = await api.client({ of: one });
    const keys = await one.get("/v1/api-keys");
    const { id } = keys.body.data.find((key: { prefix: string }) => other.apiKey.startsWith(key.prefix));
    expect((await other.get("/v1/templates")).status).toBe(200);
    await one.delete(`/v1/api-keys/${id}`);
    const answer = await other.get("/v1/templates");
    expect(answer.status).toBe(401);
    expect(answer.body.code).toBe("auth.invalid");
  });

  test("may do what the key's scopes say and nothing else", async () => {
    const reader = await api.client({ of: one, scopes: ["templates:read"] });
    expect((await reader.get("/v1/templates")).status).toBe(200);
    const refused = await reader.post("/v1/templates", template("scoped"));
    expect(refused.status).toBe(403);
    expect(refused.body).toMatchObject({
      code: "auth.scope_missing",
      detail: expect.stringContaining("templates:write"),
    });
    expect((await one.get("/v1/templates?name=scoped")).body.data).toEqual([]);
  });

  test("is never written to the log with the key", async () => {
    await one.get("/v1/templates");
    expect(JSON.stringify(api.lines)).not.toContain(one.apiKey.slice(0, 20));
  });
});

describe("a request", () => {
  test("carries its correlation id through, and gets one when it has none", async () => {
    const given = await one.get("/v1/templates", { "x-correlation-id": "order-17" });
    expect(given.headers.get("x-correlation-id")).toBe("order-17");
    expect((await one.get("/v1/templates")).headers.get("x-correlation-id")).toMatch(/^corr_/);
    const refused = await one.get("/v1/templates", { "x-correlation-id": "a b" });
    expect(refused.status).toBe(422);
  });

  test("is answered with headers that keep browsers and caches out", async () => {
    for (const answer of [
      await one.get("/v1/templates"),
      await one.get("/v1/none"),
      await one.post("/v1/templates", "{"),
    ]) {
      expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
      expect(answer.headers.get("content-security-policy")).toContain("default-src 'none'");
      expect(answer.headers.get("strict-transport-security")).toContain("max-age=");
      expect(answer.headers.get("cache-control")).toBe("no-store");
      expect(answer.headers.get("x-request-id")).not.toBeNull();
    }
  });

  test("to a path that is none, or with a method that is none, is told so", async () => {
    expect(await one.get("/v1/none")).toMatchObject({ status: 404, body: { code: "http.no_route" } });
    const refused = await one.delete("/v1/templates");
    expect(refused).toMatchObject({
      status: 405,
      body: { code: "http.405", detail: "/v1/templates takes GET, POST." },
    });
    expect(refused.headers.get("allow")).toBe("GET, POST");
  });

  test("with an unknown query parameter is refused by its name", async () => {
    const refused = await one.get("/v1/templates?limit=5&nmae=intro");
    expect(refused.status).toBe(422);
    expect(refused.body).toMatchObject({
      code: "input.unknown_parameter",
      errors: [{ path: "nmae", value: "intro", message: "unknown query parameter; did you mean name?" }],
    });
    expect((await one.get("/v1/templates?limit=1&limit=2")).status).toBe(422);
    expect((await one.post("/v1/templates?limit=1", template("query"))).status).toBe(422);
  });

  test("with a query value that does not fit is told the field, the value and what fits", async () => {
    const refused = await one.get("/v1/templates?limit=501");
    expect(refused.body).toMatchObject({ code: "input.invalid", errors: [{ path: "limit", value: 501 }] });
    expect((await one.get("/v1/templates?limit=abc")).body.errors).toMatchObject([{ path: "limit", value: "abc" }]);
    const status = await one.get("/v1/messages?status=hold");
    expect(status.body.detail).toMatch(/^status: expected one of queued, held, [^"|]+ \(did you mean held\?\)$/);
    expect(status.body.errors).toMatchObject([{ path: "status", value: "hold" }]);
    expect((await one.get("/v1/campaigns?status=activ")).body.detail).toContain("did you mean active?");
    expect((await one.get("/v1/leads?status=nwe")).body.detail).toContain("expected one of new, ");
    expect((await one.get("/v1/templates?cursor=abc")).body).toMatchObject({ code: "page.cursor_invalid" });
    expect((await one.get("/v1/templates?name=%00")).body).toMatchObject({ code: "input.unreadable" });
  });
});

describe("a body", () => {
  const forms: readonly (readonly [string, number, string, string])[] = [
    ["that is not JSON", 400, "http.400", "{"],
    ["that begins with a NUL", 400, "http.400", "\u0000{"],
    ["that is a list", 422, "input.invalid", "[]"],
    ["that is null", 422, "input.invalid", "null"],
    ["nested 65 deep", 422, "input.depth", `{"a":${"[".repeat(64)}${"]".repeat(64)}}`],
    ["with 10,001 members", 422, "input.keys", `{${Array.from({ length: 10_001 }, (_, n) => `"k${n}":1`).join()}}`],
    ["with __proto__", 422, "input.forbidden_key", `{"__proto__":{"isAdmin":true}}`],
    ["with a hidden __proto__", 422, "input.forbidden_key", String.raw`{"__proto\u005f_":{}}`],
    ["with a NUL character", 422, "input.unreadable", String.raw`{"name":"a\u0000b"}`],
    ["with half a surrogate pair", 422, "input.unreadable", String.raw`{"name":"\ud800"}`],
  ];
  test.each(forms)("%s is refused", async (_name, status, code, body) => {
    const refused = await one.post("/v1/templates", body);
    expect(refused).toMatchObject({ status, body: { code } });
  });

  test("over 1 MiB is refused, whether its length was announced or not", async () => {
    const body = JSON.stringify({ name: "big", text: "x".repeat(1_048_576) });
    expect(await one.post("/v1/templates", body)).toMatchObject({ status: 413, body: { code: "http.body_too_large" } });
    const announced = await one.send("POST", "/v1/templates", {
      headers: { ...json, "content-length": "1048577" },
      body: "{}",
    });
    expect(announced).toMatchObject({ status: 413, body: { code: "http.body_too_large" } });
  });

  test("of another type is refused", async () => {
    const refused = await one.send("POST", "/v1/templates", { headers: { "content-type": "text/xml" }, body: "<a/>" });
    expect(refused).toMatchObject({
      status: 415,
      body: { code: "http.415", detail: expect.stringContaining("application/json") },
    });
  });

  test("with fields that nobody knows is refused by their names, however deep", async () => {
    const refused = await one.post("/v1/templates", { ...template("extra"), tenantId: "tenant_1", id: "tmpl_1" });
    expect(refused.status).toBe(422);
    expect(refused.body).toMatchObject({ code: "input.unknown_field", errors: [{ path: "tenantId" }, { path: "id" }] });
    const deep = await one.post("/v1/suppressions", {
      entries: [{ channel: "email", address: "a@example.com", reason: "manual", source: "api", releasedAt: "now" }],
    });
    expect(deep.body).toMatchObject({
      code: "input.unknown_field",
      errors: [{ path: "entries[0].releasedAt", value: "now" }],
    });
    const slip = await one.post("/v1/senders", { fromEmail: "a@example.com", fromNmae: "A" });
    expect(slip.body.errors).toEqual([
      { path: "fromNmae", value: "A", message: "unknown field; did you mean fromName?" },
    ]);
  });

  test("may not repeat what the path says", async () => {
    const { body } = await one.post("/v1/templates", template("in-path"));
    const refused = await one.post(`/v1/templates/${body.template.id}/preview`, { id: body.template.id });
    expect(refused.body).toMatchObject({ code: "input.unknown_field", errors: [{ path: "id" }] });
  });

  test("that is wrong names every field with its value and what fits", async () => {
    const refused = await one.post("/v1/senders", { fromEmail: "nobody", fromName: "a\nb" });
    expect(refused.body).toMatchObject({
      code: "input.invalid",
      errors: [
        { path: "fromEmail", value: "nobody", message: "expected an e-mail address" },
        { path: "fromName", value: "a\nb", message: "one line without control characters" },
      ],
    });
  });
});

describe("an Idempotency-Key", () => {
  const post = (key: string, body: unknown, path = "/v1/templates") => one.post(path, body, { "idempotency-key": key });
  const shown = ({ status, body }: Answer) => `${status} ${body?.code ?? ""}`.trim();

  test("makes twenty concurrent requests one effect and one answer", async () => {
    const body = { name: "Grace", email: "grace@example.com" };
    const answers = await Promise.all(Array.from({ length: 20 }, () => post("twenty", body, "/v1/actors")));
    const done = answers.filter(({ status }) => status === 201);
    expect(done.length).toBeGreaterThan(0);
    expect(new Set(done.map(({ text }) => text)).size).toBe(1);
    const others = answers.filter(({ status }) => status !== 201).map(shown);
    expect(new Set(others).difference(new Set(["409 idempotency.in_flight"]))).toEqual(new Set());
    const last = await post("twenty", body, "/v1/actors");
    expect(last.text).toBe(done[0]?.text);
    expect(last.headers.get("idempotent-replayed")).toBe("true");
    const actors = await one.get("/v1/actors");
    expect(actors.body.data.filter(({ email }: { email: string }) => email === body.email)).toHaveLength(1);
  });

  test("replays the answer byte by byte, however the JSON is laid out", async () => {
    const first = await post("bytes", template("bytes"));
    const again = await post("bytes", `{ "text": "Hello {{ contact.firstName }}",  "subject":"Hello","name":"bytes"}`);
    expect(first.headers.get("idempotent-replayed")).toBeNull();
    expect(again.headers.get("idempotent-replayed")).toBe("true");
    expect(again.text).toBe(first.text);
    expect(again.status).toBe(first.status);
  });

  test("is bound to its request", async () => {
    await post("bound", template("bound"));
    expect(shown(await post("bound", template("bound-2")))).toBe("409 idempotency.mismatch");
    expect(shown(await post("bound", { name: "Kim" }, "/v1/actors"))).toBe("409 idempotency.mismatch");
    expect((await one.get("/v1/templates?name=bound-2")).body.data).toEqual([]);
  });

  test("is free again after a request that was invalid", async () => {
    expect((await post("mended", { name: "mended" })).status).toBe(422);
    expect((await post("mended", template("mended"))).status).toBe(201);
  });

  test("keeps a refusal that stays true, and undoes whatever had been done until then", async () => {
    const id = newId("template", new Date());
    const first = await post("refused", {}, `/v1/templates/${id}/preview`);
    const again = await post("refused", {}, `/v1/templates/${id}/preview`);
    expect(first).toMatchObject({ status: 404, body: { code: "template.not_found" } });
    expect(again.text).toBe(first.text);
    expect(again.headers.get("idempotent-replayed")).toBe("true");
  });

  test("belongs to its tenant", async () => {
    const other = await api.client();
    await post("shared", template("shared"));
    const answer = await other.post("/v1/templates", template("shared"), { "idempotency-key": "shared" });
    expect(answer.status).toBe(201);
    expect(answer.headers.get("idempotent-replayed")).toBeNull();
  });

  test("is remembered for more than a day and then forgotten", async () => {
    const start = new Date("2030-01-01T12:00:00Z");
    await setClock(api.database, start);
    const first = await post("day", template("day"));
    await advance(api.database, 25 * 3_600);
    expect((await post("day", template("day"))).text).toBe(first.text);
    await advance(api.database, 25 * 3_600);
    expect((await post("day", template("day"))).headers.get("idempotent-replayed")).toBeNull();
    await setClock(api.database, null);
  });

  test("that is none is refused", async () => {
    for (const key of [" ", "x".repeat(256), "ü"]) {
      expect(shown(await post(key, template("none")))).toBe("422 idempotency.key_invalid");
    }
  });

  test("never keeps a new API key readable", async () => {
    const body = { name: "kept", scopes: ["leads:read"] };
    const first = await post("secret", body, "/v1/api-keys");
    const again = await post("secret", body, "/v1/api-keys");
    expect(again.body.apiKey).toBe(first.body.apiKey);
    const { rows } = await api.database.owner.executeQuery<{ response_body: unknown }>(
      api.database.owner.selectFrom("idempotency_keys").select("response_body").where("key", "=", "secret").compile(),
    );
    expect(rows).toHaveLength(1);
    expect(JSON.stringify(rows)).not.toContain(first.body.apiKey.slice(0, 16));
  });
});

describe("health", () => {
  test("names the latest migration and the clock, without a key", async () => {
    const answer = await api.app.request("/health");
    expect(answer.status).toBe(200);
    expect(await answer.json()).toEqual({
      status: "ok",
      migration: expect.stringMatching(/^\d{4}_\w+$/),
      clock: "real",
    });
    await setClock(api.database, new Date("2030-01-01T00:00:00Z"));
    expect(await (await api.app.request("/health")).json()).toMatchObject({ clock: "virtual" });
    await setClock(api.database, null);
  });
});
