import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { gzipSync } from "node:zlib";
import { parse } from "csv-parse/sync";
import fc from "fast-check";
import iconv from "iconv-lite";
import { describe, expect, it } from "vitest";
import { readRows } from "../../../core/intake/files.ts";
import { csvLine, type FileFormat, type SourceRow } from "../../../core/intake/index.ts";
import { people, stream } from "./bytes.ts";

async function rowsOf(
  bytes: AsyncIterable<Uint8Array>,
  options: { format?: FileFormat; skip?: number } = {},
): Promise<SourceRow[]> {
  const rows: SourceRow[] = [];
  for await (const block of readRows(bytes, options)) rows.push(...block);
  return rows;
}
const raws = async (...parts: (string | Uint8Array)[]) => (await rowsOf(stream(...parts))).map(({ raw }) => raw);
const ada = { email: "a@x.example", name: "Ada" };

describe("CSV", () => {
  it.each([
    ["commas", "email,name\na@x.example,Ada\n"],
    ["semicolons", "email;name\r\na@x.example;Ada\r\n"],
    ["tabs", "email\tname\na@x.example\tAda"],
    ["an Excel separator line", "sep=;\r\nemail;name\r\na@x.example;Ada"],
    ["old Mac line ends", "email,name\ra@x.example,Ada\r"],
    ["a byte order mark", "\uFEFFemail,name\na@x.example,Ada"],
    ["blank lines", "email,name\n\n\na@x.example,Ada\n\n"],
    ["quotes", '"email","name"\n"a@x.example","Ada"'],
    ["empty cells at the end", "email,name\na@x.example,Ada,,\n"],
  ])("reads %s", async (_, text) => {
    expect(await raws(text)).toEqual([ada]);
  });

  it("keeps line breaks, delimiters and quotes inside quoted cells, wherever the stream is cut", async () => {
    const text = 'email,name\n"a@x.example","A ""d""\n,a"\nb@x.example,5" pipe\n';
    const expected = [
      { email: "a@x.example", name: 'A "d"\n,a' },
      { email: "b@x.example", name: '5" pipe' },
    ];
    for (let cut = 0; cut < text.length; cut += 1)
      expect(await raws(text.slice(0, cut), text.slice(cut))).toEqual(expected);
  });

  it.each([
    ["UTF-16 with a mark", iconv.encode("email,name\na@x.example,Zoë", "utf-16le", { addBOM: true })],
    ["UTF-16 without one", iconv.encode("email,name\na@x.example,Zoë", "utf-16le")],
    ["UTF-16 the other way round", iconv.encode("email,name\na@x.example,Zoë", "utf-16be", { addBOM: true })],
    ["UTF-8", Buffer.from("email,name\na@x.example,Zoë")],
    ["Windows-1252", iconv.encode("email,name\na@x.example,Zoë", "win1252")],
  ])("reads %s", async (_, bytes) => {
    expect(await raws(bytes)).toEqual([{ email: "a@x.example", name: "Zoë" }]);
  });

  it("says that it fell back to Windows-1252", async () => {
    const [row] = await rowsOf(stream(iconv.encode("email,name\na@x.example,Zoë", "win1252")));
    expect(row?.warnings).toEqual(["the file is not valid UTF-8; read as Windows-1252"]);
  });

  it("refuses single rows and keeps their neighbours", async () => {
    const rows = await rowsOf(
      stream('email,name\na@x.example,Ada\nb@x.example\nc@x.example,C,extra\n,,\n"d@x.example"x,D\ne@x.example,E\n'),
    );
    expect(rows.map(({ row, problem }) => [row, problem])).toEqual([
      [1, undefined],
      [2, "row has 1 cells, the header has 2 columns"],
      [3, "row has 3 cells, the header has 2 columns"],
      [4, "row is empty"],
      [5, undefined],
      [6, undefined],
    ]);
  });

  it("gives up one line, not the file, for a quote that never closes", async () => {
    const rows = await rowsOf(stream('email,name\na@x.example,"Ada\nb@x.example,Bob\nc@x.example,Cy\n'));
    expect(rows.map(({ row, problem }) => [row, problem])).toEqual([
      [1, "quotes in this row are not closed"],
      [2, undefined],
      [3, undefined],
    ]);
  });

  it("reads what another program wrote, cell for cell", async () => {
    const cell = fc
      .string({ unit: "grapheme", maxLength: 12 })
      .filter((text) => !/[\r\0]/.test(text) && text.isWellFormed());
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(cell, cell), { minLength: 1, maxLength: 30 }), async (cells) => {
        const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;
        const text = `email,name\n${cells.map((row) => row.map(quoted).join(",")).join("\n")}\n`;
        expect((await raws(text)).map((raw) => [raw["email"], raw["name"]])).toEqual(cells);
      }),
    );
  });

  it("names the columns it found when none holds addresses", async () => {
    await expect(raws("Name,Phone\nAda,1\n")).rejects.toMatchObject({
      code: "import.no_email_column",
      message: expect.stringContaining("Name, Phone"),
    });
  });
});

describe("JSON", () => {
  it.each([
    ["an array", '[{"email":"a@x.example","name":"Ada"}]'],
    ["a pretty array", '\n[\n  {\n "email": "a@x.example",\n "name": "Ada"\n }\n]\n'],
    ["NDJSON", '{"email":"a@x.example","name":"Ada"}\n'],
    ["NDJSON without an end", '\uFEFF{"email":"a@x.example","name":"Ada"}'],
  ])("reads %s", async (_, text) => {
    expect(await raws(text)).toEqual([ada]);
  });

  it("reads the same wherever the stream is cut", async () => {
    const text = '[{"a":"]},{\\"","b":[1,{"c":"é"}]},{"email":"x"}]';
    const expected = JSON.parse(text);
    for (let cut = 0; cut < text.length; cut += 1)
      expect(await raws(text.slice(0, cut), text.slice(cut))).toEqual(expected);
  });

  it.each([
    ['[{"email":1}, 5, {"email":2}]', [undefined, "row is not a JSON object", undefined]],
    ['[{"email":1},{nonsense},{"email":2}]', [undefined, "row is not valid JSON (syntax)", undefined]],
    ['[{"email":1},{"email":2', [undefined, "row is not valid JSON (the array is not closed)"]],
    ['{"email":1}\n{"email":\n{"email":2}', [undefined, "row is not valid JSON (syntax)", undefined]],
    ['{"email":1}\n{"__proto__":{"isAdmin":true}}', [undefined, "row is not valid JSON (forbidden_key)"]],
    [`{"email":1}\n{"a":${"[".repeat(100)}${"]".repeat(100)}}`, [undefined, "row is not valid JSON (depth)"]],
  ])("refuses single rows of %s", async (text, problems) => {
    expect((await rowsOf(stream(text))).map(({ problem }) => problem)).toEqual(problems);
  });
});

describe("hostile files", () => {
  it.each([
    [gzipSync("email\na@x.example"), "gzip"],
    [Buffer.from("504b03040000", "hex"), "ZIP archive or an Excel workbook"],
    [Buffer.from("%PDF-1.7"), "PDF"],
    [Buffer.from("<html></html>"), "XML or HTML"],
    [Buffer.from(Array.from({ length: 3000 }, (_, n) => [1, 2, 65][n % 3] ?? 1)), "binary data"],
  ])("names what was found instead of rows: %#", async (bytes, found) => {
    await expect(raws(bytes)).rejects.toMatchObject({
      code: "import.format_unknown",
      message: expect.stringContaining(found),
    });
  });

  it("says that a file is empty", async () => {
    await expect(raws()).rejects.toMatchObject({ code: "import.empty" });
    await expect(raws(" \n ")).rejects.toMatchObject({ code: "import.empty" });
  });

  it.each<[string, FileFormat, string, string]>([
    ["CSV", "csv", "email,name\na@x.example,", "\nb@x.example,Bob\n"],
    ["NDJSON", "ndjson", '{"email":"a@x.example"}\n{"email":"', '"}\n{"email":"b@x.example"}\n'],
    ["a JSON array", "json", '[{"email":"a@x.example"},{"email":"', '"},{"email":"b@x.example"}]'],
  ])("refuses a line of 20 MB of %s in constant memory and goes on behind it", async (_, format, before, after) => {
    async function* huge(): AsyncGenerator<Uint8Array> {
      yield Buffer.from(before);
      const megabyte = Buffer.alloc(1024 * 1024, "x");
      for (let n = 0; n < 20; n += 1) yield megabyte;
      yield Buffer.from(after);
    }
    const rows = await rowsOf(huge(), { format });
    expect(rows.filter(({ problem }) => problem === "row is larger than 1 MiB")).toHaveLength(1);
    expect(rows.at(-1)?.raw["email"]).toBe("b@x.example");
    expect(JSON.stringify(rows).length).toBeLessThan(10_000);
  });

  it("does not need more memory for more rows", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const peak = async (count: number) => {
      let most = 0;
      let seen = 0;
      for await (const block of readRows(people(1, count))) {
        const before = seen;
        seen += block.length;
        if (Math.floor(seen / 10_000) === Math.floor(before / 10_000)) continue;
        collect();
        const { heapUsed, arrayBuffers } = process.memoryUsage();
        most = Math.max(most, heapUsed + arrayBuffers);
      }
      expect(seen).toBe(count);
      return most;
    };
    await peak(10_000);
    const small = await peak(10_000);
    expect((await peak(100_000)) - small).toBeLessThan(16 * 1024 * 1024);
  });
});

describe("going on at a row", () => {
  it.each([0, 1, 249, 250, 251, 999])("gives the rows behind %i under their own numbers", async (skip) => {
    const all = await rowsOf(people(1, 1_000));
    expect(await rowsOf(people(1, 1_000), { skip })).toEqual(
      all.slice(skip).map((row) => ({ ...row, size: expect.any(Number) })),
    );
  });
});

describe("exported cells", () => {
  it("never start a formula and survive another parser", () => {
    fc.assert(
      fc.property(fc.array(fc.string(), { minLength: 1 }), (cells) => {
        const [read] = parse(csvLine(cells)) as string[][];
        for (const [index, cell] of (read ?? []).entries()) {
          expect(cell).not.toMatch(/^[=+\-@\t\r]/);
          expect([cells[index], `'${cells[index]}`]).toContain(cell);
        }
      }),
    );
    expect(csvLine(["=1+1", "+12025550123", 'a"b'])).toBe(`"'=1+1","'+12025550123","a""b"\r\n`);
  });
});
