/**
 * Hostile requests to the API, imports, tracking and queues. Invariant: every answer is a documented one (below 500) and says what was
 * wrong; whatever is sent, the next honest request is answered.
 */
import type { APIGatewayProxyEventV2 } from "aws-lambda";
import { newId } from "../../core/kernel/id.ts";
import { type LinkKind, signLink } from "../../core/messages/index.ts";
import { type Endpoint, fieldsOf, pathFields } from "../../functions/api/endpoint.ts";
import { takesQuery } from "../../functions/api/input.ts";
import { endpoints } from "../../functions/api.ts";
import { bell, fakeInvocation, sqsEvent } from "../functions/lib/fake.ts";
import { fieldTexts, fieldValues, jsonBodies } from "./bytes.ts";
import type { Rig } from "./rig.ts";
import type { Finding, Ran } from "./webhook-runs.ts";

/** Collects what one ingress did. */
function collector(ingress: string, done: (count: number) => void) {
  const findings: Finding[] = [];
  const outcomes: Record<string, number> = {};
  let requests = 0;
  return {
    complain: (name: string, problem: string) => void findings.push({ ingress, name, problem }),
    saw(outcome: string) {
      requests++;
      done(1);
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    },
    result: (): Ran => ({ ingress, requests, findings, outcomes }),
  };
}

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

/** The address of an endpoint whose ids name nothing. */
const pathOf = (endpoint: Endpoint): string =>
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
      for (const [name, body] of fieldBodies(endpoint)) {
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

const files: Readonly<Record<string, string | Uint8Array>> = {
  empty: "",
  "only a mark": "\ufeff",
  "only a header": "email,first_name\n",
  "no header": "grace@example.com,Grace\n",
  "UTF-16": Buffer.from("\ufeffemail,first_name\nutf16@example.com,Grace\n", "utf16le"),
  "UTF-16 big endian": Buffer.from("\ufeffemail,first_name\nbe@example.com,Grace\n", "utf16le").swap16(),
  "Windows-1252": Buffer.from("email,first_name\nw@example.com,Ren\xe9e \x80\n", "latin1"),
  "invalid UTF-8": Buffer.from("email,first_name\nbad@example.com,\xff\xfe\xc3\x28\n", "latin1"),
  NUL: "email,first_name\nnul@example.com,a\0b\n",
  "lone surrogates": "email,first_name\nsur@example.com,\ud800\n",
  "a quote that never closes": `email,first_name\nq@example.com,"${"x".repeat(200_000)}\n`,
  "quotes in the wrong place": 'email,first_name\nx"y"@example.com,a"b"c\n',
  "5,000 columns": `${Array.from({ length: 5_000 }, (_, n) => `c${n}`).join()}\n${Array.from({ length: 5_000 }, () => "x").join()}\n`,
  "the same column 50 times": `${"email,".repeat(50)}\n${"a@example.com,".repeat(50)}\n`,
  "columns named __proto__": "email,__proto__,constructor,toString\np@example.com,x,y,z\n",
  "a header of 200,000 characters": `email,${"h".repeat(200_000)}\nh@example.com,x\n`,
  "a cell of 1 MB": `email,first_name\ncell@example.com,${"c".repeat(1_000_000)}\n`,
  "rows of other lengths": "email,first_name\na@example.com\nb@example.com,x,y,z\n,,,\n",
  "carriage returns only": "email,first_name\rcr@example.com,x\r",
  "mixed line ends": "email,first_name\r\nm1@example.com,x\nm2@example.com,y\r\n",
  "tabs as separators": "email\tfirst_name\ntab@example.com\tx\n",
  "semicolons as separators": "email;first_name\nsemi@example.com;x\n",
  "10,000 blank lines": `email,first_name\n${"\n".repeat(10_000)}late@example.com,x\n`,
  formulas: 'email,first_name,company_name\nf@example.com,"=HYPERLINK(""https://evil.example"")",@SUM(1)\n',
  "line breaks in cells": 'email,first_name\n"crlf@example.com","a\r\nBcc: evil@example.com"\n',
  "addresses that are none": `email,first_name\n${Object.values(fieldTexts)
    .filter((value) => value.length < 1_000)
    .map((value) => `"${value.replaceAll('"', '""')}",x`)
    .join("\n")}\n`,
  "numbers that are none": "email,phone,employee_count\nnum@example.com,+1e400,99999999999999999999\n",
  binary: Buffer.from(Array.from({ length: 20_000 }, (_, n) => (n * 7_919) & 255)),
  gzip: Buffer.from("1f8b0800000000000003cb48cdc9c95728cf2fca49010085114a0d0b000000", "hex"),
  "a spreadsheet": Buffer.from("504b030414000600080000002100", "hex"),
};

/** Files of every kind, as CSV, JSON and NDJSON, through the upload and the worker that reads them. @param every of n of them */
export async function runImports(rig: Rig, every: number, done: (count: number) => void): Promise<Ran> {
  const { complain, saw, result } = collector("imports", done);
  const authorization = `Bearer ${rig.apiKey}`;
  const json = jsonBodies((value) => `[{"email":"json@example.com","first_name":${value}}]`).filter(
    ({ bytes }) => bytes.length < 1_048_576,
  );
  const lines = jsonBodies(
    (value) =>
      `{"email":"a@example.com","first_name":"x"}\n{"email":"nd@example.com","first_name":${value}}\n{"email":"b@example.com"}`,
  ).filter(({ bytes }) => bytes.length < 1_048_576);
  const all: (readonly [string, string, Uint8Array])[] = [
    ...Object.entries(files).map(
      ([name, body]) => [`CSV: ${name}`, "text/csv", Buffer.from(body as Uint8Array)] as const,
    ),
    ...json.map(({ name, bytes }) => [`JSON: ${name}`, "application/json", bytes] as const),
    ...lines.map(({ name, bytes }) => [`NDJSON: ${name}`, "application/x-ndjson", bytes] as const),
    ...Object.keys(files)
      .slice(0, 6)
      .map(
        (name) =>
          [`CSV said to be multipart: ${name}`, "multipart/form-data", Buffer.from(files[name] as Uint8Array)] as const,
      ),
  ];
  for (const [name, type, bytes] of all.filter((_, n) => n % every === 0)) {
    const post = (headers: Record<string, string>) =>
      rig.api.request("/v1/imports?source=hostile", {
        method: "POST",
        headers: { "content-type": type, ...headers },
        body: new Uint8Array(bytes),
      });
    const before = await rig.count("imports");
    const unsigned = await post({});
    if (unsigned.status !== 401 || (await rig.count("imports")) !== before)
      complain(name, `without a key it was answered ${unsigned.status}`);
    const response = await post({ authorization });
    saw(String(response.status));
    if (response.status >= 500)
      complain(name, `answered ${response.status} ${JSON.stringify(rig.errors.at(-1)?.["error"] ?? "").slice(0, 300)}`);
    if (response.status !== 201) continue;
    const { id } = (await response.json()) as { readonly id: string };
    let receives = 0;
    let row = await rig.get(`/v1/imports/${id}`);
    for (; receives < 5 && ["pending", "running"].includes(String(row.body["status"])); receives++) {
      await rig.consumers.imports(sqsEvent([bell(rig.tenant.tenantId, id)]), fakeInvocation());
      row = await rig.get(`/v1/imports/${id}`);
    }
    const status = String(row.body["status"]);
    if (!["completed", "failed"].includes(status))
      complain(name, `after 5 receives it is ${status}: ${row.body["lastError"]}`);
    else if (status === "failed" && !row.body["lastError"]) complain(name, "it failed without a reason");
    const rows = row.body["rows"] as Record<string, number> | undefined;
    if (
      status === "completed" &&
      rows &&
      rows["read"] !== (rows["accepted"] ?? 0) + (rows["duplicate"] ?? 0) + (rows["rejected"] ?? 0)
    )
      complain(name, `rows do not add up: ${JSON.stringify(rows)}`);
    const rejected = await rig.api.request(`/v1/imports/${id}/rejected`, { headers: { authorization } });
    if (rejected.status >= 500) complain(name, `its refused rows were answered ${rejected.status}`);
  }
  rig.queue.drain();
  return result();
}

/** Requests of recipients, their mail programs and everybody else. */
export async function runTracking(rig: Rig, done: (count: number) => void): Promise<Ran> {
  const { complain, saw, result } = collector("tracking", done);
  const token = (kind: LinkKind) =>
    signLink(rig.signingKeys, { kind, tenantId: rig.tenant.tenantId, messageId: newId("message", new Date(0)) });
  const forged = signLink([new Uint8Array(32)], {
    kind: "unsubscribe",
    tenantId: rig.tenant.tenantId,
    messageId: "omsg_x",
  });
  const tokens = [
    "",
    ".",
    "..",
    "...",
    "a.b",
    "%",
    "%00",
    "%ff%fe",
    "%ed%a0%80",
    "%2e%2e%2f",
    "..%2f..%2fetc",
    "__proto__",
    "x".repeat(399),
    "x".repeat(5_000),
    forged,
    `${forged}.`,
    `.${forged}`,
    token("open"),
    token("click"),
    token("unsubscribe"),
    encodeURIComponent(`${token("open")}\r\nSet-Cookie: a=b`),
    `${token("click")}?url=https://evil.example`,
    `${token("click")}%3Furl=https://evil.example`,
    "é".repeat(50),
    encodeURIComponent("\u202e\u200b"),
    "%25%32%65",
  ];
  const bodies = [
    "",
    "List-Unsubscribe=One-Click",
    "\0",
    "x".repeat(1_000_000),
    "List-Unsubscribe=One-Click&".repeat(10_000),
    '{"a":1}',
  ];
  const headers: readonly Record<string, string>[] = [
    {},
    { "user-agent": "\u00ff".repeat(2_000) },
    { "user-agent": "Mozilla/5.0 (X11) Chrome/141", "sec-purpose": "prefetch" },
    { "content-type": "multipart/form-data" },
    { "content-type": "application/json" },
    { "x-forwarded-host": "evil.example", host: "evil.example", origin: "null" },
    { "content-encoding": "gzip" },
    { "user-agent": `${"a".repeat(30_000)}bot` },
  ];
  const before = await rig.count("communication_suppressions");
  for (const place of ["o", "c", "u"]) {
    for (const given of tokens) {
      for (const method of ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]) {
        const list = method === "POST" ? bodies : [undefined];
        for (const [n, body] of list.entries()) {
          const name = `${method} /${place}/${given.slice(0, 40)} ${n}`;
          try {
            const response = await rig.tracking.request(`/${place}/${given}`, {
              method,
              headers: headers[(n + given.length) % headers.length] ?? {},
              ...(body === undefined ? {} : { body }),
            });
            saw(String(response.status));
            if (response.status >= 500) complain(name, `answered ${response.status}`);
            const location = response.headers.get("location");
            if (location !== null) complain(name, `led to ${location}`);
          } catch (error) {
            saw("threw");
            complain(name, `threw ${error instanceof Error ? error.message : String(error)}`);
          }
        }
      }
    }
  }
  if ((await rig.count("communication_suppressions")) !== before) complain("all", "somebody was unsubscribed");
  return result();
}

/** Bells that nobody of us rang. Each comes with an honest one, which must be answered. */
export async function runBells(rig: Rig, done: (count: number) => void): Promise<Ran> {
  const { complain, saw, result } = collector("queues", done);
  const { tenantId } = rig.tenant;
  const good = bell(tenantId);
  const ids: Record<string, unknown> = {
    "a NUL": ["del_\0"],
    "a lone surrogate": ["\ud800"],
    "a number": [1],
    nested: [["x"]],
    null: [null],
    object: [{}],
    "an id of 100 characters": ["x".repeat(100)],
    "an id of 101 characters": ["x".repeat(101)],
    "an id of a megabyte": ["x".repeat(200_000)],
    "100 ids": Array.from({ length: 100 }, (_, n) => `del_${n}`),
    "101 ids": Array.from({ length: 101 }, (_, n) => `del_${n}`),
    "the same id 100 times": Array.from({ length: 100 }, () => "x"),
    SQL: ["'; drop table leads; --"],
    "a word": "all",
    "a map": { length: 1, 0: "x" },
    "line breaks": ["a\r\nb"],
    "an empty id": [""],
    prototype: ["__proto__"],
    "a hostile array literal": ['{"a","b"}', "\\", '"', "NULL", "{}"],
  };
  const tenants: Record<string, unknown> = {
    "no tenant": undefined,
    "an empty tenant": "",
    "a strange tenant": `tenant_${missing}`,
    "a NUL tenant": "tenant_\0",
    "a surrogate tenant": "tenant_\udc00",
    "a number as tenant": 7,
    "an array as tenant": [tenantId],
    "a long tenant": "t".repeat(5_000),
    "SQL as tenant": `${tenantId}' or '1'='1`,
    "null as tenant": null,
    "a prototype as tenant": "__proto__",
  };
  const versions: Record<string, unknown> = {
    "no version": undefined,
    "version 0": 0,
    "version 2": 2,
    "version 1.5": 1.5,
    "version text": "1",
    "version 1e400": Number.MAX_VALUE,
    "version null": null,
    "version -1": -1,
  };
  const bodies: Record<string, string> = {
    ...Object.fromEntries(
      Object.entries(ids).map(([name, list]) => [`ids: ${name}`, JSON.stringify({ ...good, ids: list })]),
    ),
    ...Object.fromEntries(
      Object.entries(tenants).map(([name, tenant]) => [name, JSON.stringify({ ...good, tenantId: tenant })]),
    ),
    ...Object.fromEntries(Object.entries(versions).map(([name, v]) => [name, JSON.stringify({ ...good, v })])),
    "more fields": JSON.stringify({ ...good, kind: "send", __proto__: null, extra: [1, 2, 3] }),
    "a __proto__ field": `{"v":1,"tenantId":"${tenantId}","ids":[],"__proto__":{"v":2}}`,
    "duplicate fields": `{"v":2,"v":1,"tenantId":"x","tenantId":"${tenantId}","ids":[]}`,
    ...Object.fromEntries(
      jsonBodies((value) => `{"v":1,"tenantId":"${tenantId}","ids":[${value}]}`)
        .filter(({ bytes }) => bytes.length < 262_144)
        .map(({ name, bytes }) => [name, bytes.toString("utf8")]),
    ),
  };
  for (const kind of ["deliveries", "actions", "send", "imports"] as const) {
    for (const [name, body] of Object.entries(bodies)) {
      const label = `${kind}: ${name}`;
      try {
        const { batchItemFailures } = await rig.consumers[kind](sqsEvent([body, good]), fakeInvocation());
        const failed = batchItemFailures.map(({ itemIdentifier }) => itemIdentifier);
        saw(failed.includes("m0") ? "given back" : "answered or parked");
        if (failed.includes("m1")) complain(label, "its honest neighbour was given back");
        // Only what newer code will understand may come again; the rest would come until it is thrown away unseen.
        const newer = ["version 2", "version 1e400"].includes(name);
        if (failed.includes("m0") && !newer) complain(label, "it will come again for nothing");
      } catch (error) {
        saw("threw");
        complain(label, `threw ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  }
  rig.queue.drain();
  return result();
}

/** Events as API Gateway may shape them: text that is not Latin, a missing body, a body that is not the base64 it claims to be. */
export async function runEvents(rig: Rig, done: (count: number) => void): Promise<Ran> {
  const { complain, saw, result } = collector("Lambda events", done);
  const event = (path: string, more: Partial<APIGatewayProxyEventV2>, method = "POST"): APIGatewayProxyEventV2 =>
    ({
      version: "2.0",
      routeKey: "$default",
      rawPath: path,
      rawQueryString: "",
      headers: {},
      isBase64Encoded: false,
      requestContext: {
        accountId: "0",
        apiId: "a",
        domainName: "in.example.test",
        domainPrefix: "in",
        requestId: "r",
        routeKey: "$default",
        stage: "$default",
        time: "",
        timeEpoch: 0,
        http: { method, path, protocol: "HTTP/1.1", sourceIp: "10.0.0.1", userAgent: "x" },
      },
      ...more,
    }) as APIGatewayProxyEventV2;
  const shapes: Record<string, Partial<APIGatewayProxyEventV2>> = {
    "no body": {},
    "an empty body": { body: "" },
    "a body that is not base64": { body: "\u00ff!!!", isBase64Encoded: true },
    "a text body with lone surrogates": { body: "\ud800" },
    "a header beyond Latin": { headers: { "user-agent": "grüße €", "x-name": "日本" } },
    "a header with a line break": { headers: { "x-name": "a\r\nx-evil: b" } },
    "a header with NUL": { headers: { "x-name": "a\0b" } },
    "a header without a name": { headers: { "": "x" } },
    "a header with spaces in its name": { headers: { "a b": "x" } },
    "a header __proto__": { headers: JSON.parse('{"__proto__":"x","constructor":"y"}') as Record<string, string> },
    "an undefined header": { headers: { "x-name": undefined } },
    "a query that is none": { rawQueryString: "%&=%zz&&==" },
    "a query with brackets": { rawQueryString: "a[]=1&a[b]=2&__proto__=3" },
    "a query beyond Latin": { rawQueryString: "a=€&b=\u202e" },
    cookies: { cookies: ["a=b", "__proto__=x", "€=€"] },
    "another host": {
      headers: { host: "evil.example", "x-forwarded-host": "evil.example", "x-forwarded-proto": "javascript" },
    },
    "10,000 headers": { headers: Object.fromEntries(Array.from({ length: 10_000 }, (_, n) => [`x-${n}`, "y"])) },
  };
  const paths = [
    "/webhooks/sendgrid/chc_1",
    "/webhooks/%00/%00",
    "/webhooks/sendgrid/%00",
    "/webhooks/sendgrid/%ed%a0%80",
    "/webhooks/sendgrid/%",
    "/webhooks/__proto__/constructor",
    "/webhooks/../v1/leads",
    `/webhooks/sendgrid/${"x".repeat(5_000)}`,
    "/webhooks/sendgrid/",
    "//webhooks//sendgrid//x",
    "/webhooks/sendgrid/a/b",
    "/webhooks/twilio/\u202e",
  ];
  for (const [name, shape] of Object.entries(shapes)) {
    for (const [fn, list] of [
      ["webhooks", paths],
      ["tracking", ["/u/x", "/o/x", "/c/%00", "/u/%", "/c/\u202e"]],
    ] as const) {
      for (const path of list) {
        for (const method of fn === "webhooks" ? ["POST"] : ["GET", "POST"]) {
          const label = `${fn} ${path.slice(0, 40)} ${method}: ${name}`;
          try {
            const answer = await rig.lambdas[fn](event(path, shape, method), fakeInvocation());
            const status = answer.statusCode ?? 0;
            saw(String(status));
            // Only who may call the function itself can send what is no base64.
            const impossible = name === "a body that is not base64" && status === 500;
            if ((status >= 500 && !impossible) || status < 200) complain(label, `answered ${status}`);
            if (name.startsWith("a header") && status === 400)
              complain(label, "refused for a header that nobody reads");
          } catch (error) {
            saw("threw");
            complain(label, `threw ${error instanceof Error ? error.message : String(error)}`);
          }
        }
      }
    }
  }
  return result();
}
