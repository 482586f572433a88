/** Hostile files for imports. Invariant: each ends as completed or failed with a reason, and its rows add up. */
import { bell, fakeInvocation, sqsEvent } from "../functions/lib/fake.ts";
import { fieldTexts, jsonBodies } from "./bytes.ts";
import { collector, type Ran } from "./collector.ts";
import type { Rig } from "./rig.ts";

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
  const { complain, saw, timed, result } = collector("imports", done);
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
    const finished = timed(name);
    let receives = 0;
    let row = await rig.get(`/v1/imports/${id}`);
    for (; receives < 5 && ["pending", "running"].includes(String(row.body["status"])); receives++) {
      await rig.consumers.imports(sqsEvent([bell(rig.tenant.tenantId, id)]), fakeInvocation());
      row = await rig.get(`/v1/imports/${id}`);
    }
    finished();
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
