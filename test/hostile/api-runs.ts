/**
 * Hostile requests to the API. Invariant: every answer is a documented one (below 500) and says what was wrong; whatever is sent, the next
 * honest request is answered.
 */
import { type Endpoint, fieldsOf, pathFields } from "../../functions/api/endpoint.ts";
import { takesQuery } from "../../functions/api/input.ts";
import { endpoints } from "../../functions/api.ts";
import { fieldTexts, fieldValues, jsonBodies } from "./bytes.ts";
import { collector, type Ran } from "./collector.ts";
import type { Rig } from "./rig.ts";

const missing = "01J00000000000000000000000";
const idIn = (endpoint: Endpoint, name: string): string => {
  const schema = fieldsOf(endpoint.input)?.[name];
  for (const prefix of [
    "lead",
    "cont",
    "cmp",
    "enr",
    "imp",
    "del",
    "omsg",
    "task",
    "sup",
    "seg",
    "tpl",
    "chc",
    "key",
    "act",
    "conv",
    "cns",
    "sim",
    "lim",
    "snd",
    "pers",
    "comp",
  ]) {
    if (schema?.safeParse(`${prefix}_${missing}`).success) return `${prefix}_${missing}`;
  }
  return missing;
};

/** The address of an endpoint, with ids that name nothing. */
export const pathOf = (endpoint: Endpoint): string =>
  pathFields(endpoint.path).reduce((path, name) => path.replace(`{${name}}`, idIn(endpoint, name)), endpoint.path);

/** A body of which one field is hostile and the others are what the document shows. */
function* fieldBodies(endpoint: Endpoint): Generator<readonly [string, Record<string, unknown>]> {
  const example = (endpoint.example ?? {}) as Record<string, unknown>;
  const fields = Object.keys(fieldsOf(endpoint.input) ?? example).filter(
    (name) => !pathFields(endpoint.path).includes(name),
  );
  for (const field of fields) {
    for (const [n, value] of fieldValues.entries()) {
      if (typeof value === "string" && value.length > 100_000) continue;
      yield [`${field}: ${n}`, { ...example, [field]: value }];
      if (n % 3 === 0) yield [`${field}: [${n}]`, { ...example, [field]: [value] }];
    }
  }
}

/** Where values stand in an example below its first level: `["plan", "nodes", 0, "id"]`. */
function* placesIn(value: unknown, at: readonly (string | number)[] = []): Generator<readonly (string | number)[]> {
  if (at.length > 1) yield at;
  if (typeof value !== "object" || value === null) return;
  for (const [name, inner] of Object.entries(value))
    yield* placesIn(inner, [...at, Array.isArray(value) ? Number(name) : name]);
}

function withValue(whole: unknown, [first, ...rest]: readonly (string | number)[], value: unknown): unknown {
  if (first === undefined) return value;
  if (Array.isArray(whole)) return whole.map((one, n) => (n === first ? withValue(one, rest, value) : one));
  const object = whole as Record<string, unknown>;
  return { ...object, [first]: withValue(object[first], rest, value) };
}

/** A body that is hostile in one place deep in it. */
function* deepBodies(endpoint: Endpoint): Generator<readonly [string, unknown]> {
  for (const place of placesIn(endpoint.example)) {
    for (const [n, value] of fieldValues.entries()) {
      if (typeof value === "string" && value.length > 100_000) continue;
      yield [`${place.join(".")}: ${n}`, withValue(endpoint.example, place, value)];
    }
  }
}

/** Every endpoint of the API: every field with every hostile value, every body that is none. @param every of n of the field bodies */
export async function runApi(rig: Rig, every: number, done: (count: number) => void): Promise<Ran> {
  const { complain, saw, result } = collector("API", done);
  const authorization = `Bearer ${rig.apiKey}`;
  let turn = 0;
  const send = async (
    name: string,
    endpoint: Endpoint,
    path: string,
    init: { body?: string | Uint8Array<ArrayBuffer>; type?: string | undefined; headers?: Record<string, string> } = {},
  ) => {
    const headers = {
      authorization,
      ...(init.type === undefined ? {} : { "content-type": init.type }),
      ...init.headers,
    };
    const method = endpoint.method.toUpperCase();
    const label = `${method} ${endpoint.path}: ${name}`;
    try {
      const response = await rig.api.request(path, {
        method,
        headers,
        ...(init.body === undefined ? {} : { body: init.body }),
      });
      const text = await response.text();
      saw(String(response.status));
      if (response.status >= 500)
        complain(
          label,
          `answered ${response.status} ${JSON.stringify(rig.errors.at(-1)?.["error"] ?? "").slice(0, 300)}`,
        );
      else if (response.status >= 400 && !/"code":"[a-z_.0-9]+"/.test(text))
        complain(label, "a refusal without a code");
    } catch (error) {
      saw("threw");
      complain(label, `threw ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  for (const endpoint of endpoints) {
    const path = pathOf(endpoint);
    if (takesQuery(endpoint) && endpoint.file === undefined) {
      const fields = Object.keys(fieldsOf(endpoint.input) ?? {}).filter(
        (name) => !pathFields(endpoint.path).includes(name),
      );
      for (const field of fields) {
        for (const [n, value] of Object.values(fieldTexts).entries()) {
          if (turn++ % every > 0 || value.length > 5_000) continue;
          await send(`query ${field}: ${n}`, endpoint, `${path}?${new URLSearchParams({ [field]: value })}`);
        }
        for (const raw of [
          "%",
          "%00",
          "%ff",
          "%ed%a0%80",
          "1e400",
          "-1",
          "0",
          "99999999999999999999",
          "a&b",
          "x".repeat(3_000),
        ]) {
          if (turn++ % every > 0) continue;
          await send(`query ${field}=${raw.slice(0, 20)}`, endpoint, `${path}?${field}=${raw}`);
        }
      }
    } else if (endpoint.file === undefined) {
      for (const [name, body] of [...fieldBodies(endpoint), ...deepBodies(endpoint)]) {
        if (turn++ % every > 0) continue;
        await send(name, endpoint, path, { type: "application/json", body: JSON.stringify(body) });
      }
    }
    for (const field of pathFields(endpoint.path)) {
      for (const [name, value] of Object.entries(fieldTexts)) {
        if (value.length > 5_000 || value === "" || turn++ % every > 0) continue;
        await send(
          `path ${field} ${name}`,
          endpoint,
          endpoint.path.replaceAll(/\{\w+\}/g, encodeURIComponent(value.toWellFormed())),
          endpoint.method === "get" || endpoint.method === "delete" ? {} : { type: "application/json", body: "{}" },
        );
      }
      for (const raw of ["%", "%00", "%zz", "%ff", "%2e%2e", "..%2f", "%c0%af", "x".repeat(3_000)]) {
        if (turn++ % every > 0) continue;
        await send(
          `path ${field} ${raw.slice(0, 8)}`,
          endpoint,
          endpoint.path.replaceAll(/\{\w+\}/g, raw),
          endpoint.method === "get" || endpoint.method === "delete" ? {} : { type: "application/json", body: "{}" },
        );
      }
    }
  }
  // Bodies that are none, at an endpoint that takes few members and at one that takes many.
  for (const path of ["/v1/leads", "/v1/intake/loads", "/v1/campaigns", "/v1/segments"]) {
    const endpoint = endpoints.find((one) => one.method === "post" && one.path === path);
    if (!endpoint) throw new Error(`no endpoint takes ${path}`);
    const wrap = (value: string): string =>
      path === "/v1/intake/loads"
        ? `{"source":"h","rows":[{"email":"a@example.com","first_name":${value}}]}`
        : `{"name":${value},"email":"a@example.com","companyName":${value}}`;
    for (const { name, bytes, encoding } of jsonBodies(wrap)) {
      await send(name, endpoint, path, {
        type: "application/json",
        body: new Uint8Array(bytes),
        ...(encoding === undefined ? {} : { headers: { "content-encoding": encoding } }),
      });
    }
    for (const type of [
      "",
      "text/plain",
      "application/xml",
      "multipart/form-data",
      "application/json; charset=utf-16",
      "APPLICATION/JSON",
      "application/json, text/html",
      ";",
    ]) {
      await send(`content type ${type}`, endpoint, path, { type, body: wrap('"x"') });
    }
    for (const [name, key] of Object.entries({
      empty: "",
      blank: " ",
      long: "k".repeat(300),
      control: "a\tb",
      latin: "é",
      comma: "a, b",
    })) {
      await send(`idempotency key ${name}`, endpoint, path, {
        type: "application/json",
        body: wrap('"x"'),
        headers: { "idempotency-key": key },
      });
    }
  }
  return result();
}
