/** Files and rows over the API, to golden records. */
import { expect, test } from "vitest";
import { type Body, testApi } from "./support.ts";

const api = await testApi();
const one = await api.client();
const two = await api.client();

const upload = (query: string, type: string, body: string, headers: Record<string, string> = {}) =>
  one.send("POST", `/v1/imports?${query}`, { headers: { "content-type": type, ...headers }, body });

test("rows are judged one by one and become people, companies, leads and contacts", async () => {
  const rows = [
    { email: "Ada@Banks.example", first_name: "Ada", company_name: "Banks", domain: "banks.example" },
    { email: "ada@banks.example" },
    { email: "not an address" },
    { email: "lin@banks.example", note: "a\u0000b" },
  ];
  const { status, body } = await one.post("/v1/intake/loads", { source: "fair", rows });
  expect(status).toBe(201);
  expect(body).toMatchObject({ accepted: 2, duplicates: 1, rejected: 1, promoted: 0 });
  expect(body.loads.map((load: Body) => load.status)).toEqual(["accepted", "duplicate", "rejected", "accepted"]);
  const failed = (await one.get(`/v1/intake/loads?batchId=${body.batchId}&status=failed`)).body.data;
  expect(failed).toMatchObject([{ row: 3, reason: expect.any(String) }]);
  const { loads } = body;
  const ids = loads.filter((load: Body) => load.status === "accepted").map((load: Body) => load.id);
  expect((await two.post("/v1/intake/promote", { loadIds: ids })).body).toMatchObject({ promoted: 0, updated: 0 });
  expect((await one.post("/v1/intake/promote", { loadIds: ids })).body).toMatchObject({ promoted: 2 });
  expect((await one.post("/v1/intake/promote", {})).body).toMatchObject({ promoted: 0 });
  const [person] = (await one.get("/v1/people?email=ADA%40banks.example")).body.data;
  expect(person).toMatchObject({ firstName: "Ada", email: "ada@banks.example" });
  expect((await one.get(`/v1/people/${person.id}`)).body).toEqual(person);
  expect((await one.get(`/v1/people/${person.id}/history`)).status).toBe(200);
  const [company] = (await one.get("/v1/companies?domain=Banks.example")).body.data;
  expect((await one.get(`/v1/companies/${company.id}`)).body).toEqual(company);
  expect((await one.get(`/v1/companies/${company.id}/history`)).status).toBe(200);
  expect((await one.get("/v1/leads")).body.data).toHaveLength(2);
});

test("a file is stored, its work is rung for, and its options come from the query", async () => {
  const mapping = encodeURIComponent(JSON.stringify({ Mail: "email" }));
  const { status, body } = await upload(
    `source=fair&fileName=list.csv&tags=a,b&mapping=${mapping}&promote=false`,
    "text/csv",
    "Mail\nx@example.com\n",
  );
  expect(status).toBe(201);
  expect(body).toMatchObject({ fileName: "list.csv", format: "csv", status: "pending", sizeBytes: 19 });
  expect(body.options).toEqual({ mapping: { Mail: "email" }, tags: ["a", "b"], promote: false });
  expect((await one.get(`/v1/imports/${body.id}`)).body).toEqual(body);
  expect((await one.get("/v1/imports?status=pending")).body.data).toMatchObject([{ id: body.id }]);
  expect((await one.post(`/v1/imports/${body.id}/cancel`)).body.status).toBe("cancelled");
  expect((await one.post(`/v1/imports/${body.id}/cancel`)).body.code).toBe("import.not_cancellable");
  const rejected = await one.get(`/v1/imports/${body.id}/rejected`);
  expect(rejected.text).toMatch(/^\uFEFF?"row","status","reason"\r\n$/);
});

test("the same upload with the same key is one import", async () => {
  const send = (body: string) => upload("source=once", "text/csv", body, { "idempotency-key": "upload-1" });
  const [first, again] = [await send("email\na@example.com\n"), await send("email\na@example.com\n")];
  expect(again.text).toBe(first.text);
  expect(again.headers.get("idempotent-replayed")).toBe("true");
  expect((await send("email\nb@example.com\n")).body.code).toBe("idempotency.mismatch");
});

test("a file that is none is refused before anything is stored", async () => {
  const before = (await one.get("/v1/imports")).body.data.length;
  expect((await upload("source=x", "text/html", "<p>")).status).toBe(415);
  expect((await upload("source=x", "text/csv", "")).body.code).toBe("import.empty");
  expect((await upload("fileName=x", "text/csv", "email\n")).body.errors).toMatchObject([{ path: "source" }]);
  expect((await upload("source=x&mapping=%7B", "text/csv", "email\n")).body.errors).toMatchObject([
    { path: "mapping" },
  ]);
  expect((await upload("source=x&colour=red", "text/csv", "email\n")).body.code).toBe("input.unknown_parameter");
  expect((await upload("source=x", "text/csv", "x".repeat(4 * 1024 * 1024 + 1))).status).toBe(413);
  expect((await one.get("/v1/imports")).body.data).toHaveLength(before);
});

test("a larger file arrives in parts, in any order, and belongs to its tenant", async () => {
  const { uploadId } = (await one.post("/v1/imports/uploads")).body;
  const octets = { "content-type": "application/octet-stream" };
  const put = (part: number, body: string, client = one) =>
    client.send("PUT", `/v1/imports/uploads/${uploadId}?part=${part}`, { headers: octets, body });
  const complete = (parts: number, client = one) =>
    client.post(`/v1/imports/uploads/${uploadId}/complete`, { parts, source: "fair", options: { tags: ["large"] } });
  expect((await put(2, "b@example.com\n")).status).toBe(204);
  expect((await complete(2)).body.code).toBe("upload.part_missing");
  expect((await put(1, "email\na@exam")).status).toBe(204);
  expect((await put(1, "email\na@example.com\n")).status).toBe(204);
  expect((await put(1, "email\nx@example.com\n", two)).body.code).toBe("upload.not_found");
  expect((await complete(2, two)).body.code).toBe("upload.not_found");
  expect((await put(3, "x".repeat(4 * 1024 * 1024 + 1))).status).toBe(413);
  expect((await put(513, "x")).body.errors).toMatchObject([{ path: "part", value: 513 }]);
  expect(await complete(2)).toMatchObject({
    status: 201,
    body: { sizeBytes: "email\na@example.com\nb@example.com\n".length, options: { tags: ["large"] } },
  });
});
