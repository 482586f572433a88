/** What the command line says before there is a server, or when it is held wrongly. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { stripVTControlCharacters } from "node:util";
import { afterAll, expect, test, vi } from "vitest";
import { cliDocs, docsFile } from "../../cli/docs.ts";
import { createOutput } from "../../cli/output.ts";
import { cell } from "../../cli/text.ts";
import { partsOf } from "../../cli/upload.ts";
import { freePort } from "../../local/postgres.ts";
import { launcher, parsed, run } from "./run.ts";

vi.setConfig({ testTimeout: 120_000 });
const home = mkdtempSync(path.join(os.tmpdir(), "outrider-cli-"));
afterAll(() => rmSync(home, { recursive: true, force: true }));
const nowhere = { OUTRIDER_HOME: path.join(home, "none") };

function file(name: string, content: string): string {
  const target = path.join(home, name);
  writeFileSync(target, content);
  return target;
}

test("an unknown verb, subcommand or option is refused with what may have been meant", async () => {
  const [verb, sub, option] = await Promise.all([
    run(["campains"], nowhere),
    run(["suppress", "chek"], nowhere),
    run(["import", "x.csv", "--sorce", "fair"], nowhere),
  ]);
  expect([verb.code, sub.code, option.code]).toEqual([2, 2, 2]);
  expect(verb.stderr).toContain("Did you mean campaigns?");
  expect(sub.stderr).toContain("Did you mean check?");
  expect(option.stderr).toMatch(/Did you mean .*--source\?/);
  expect(verb.stderr).toContain("add --help to see what there is");
  expect(verb.stdout + sub.stdout + option.stdout).toBe("");
});

test("what is no pair, no time of day and no duration is refused before a server is asked", async () => {
  const refused = await Promise.all([
    run(["campaigns", "migrate", "x", "--map", "rest"], nowhere),
    run(["tenant", "set", "--quiet-hours", "9-17"], nowhere),
    run(["limits", "set", "5", "--per", "1x"], nowhere),
  ]);
  expect(refused.map(({ code }) => code)).toEqual([2, 2, 2]);
  const [pair, hours, window] = refused.map(({ stderr }) => stderr);
  expect(pair).toContain('--map "rest" is no pair');
  expect(hours).toContain("21:00-08:00");
  expect(window).toContain("1h or 7d");
});

test("a refused field is said once: its name, what it held and what is accepted", () => {
  const write = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  const problem = { path: "status", value: "hold", message: "expected one of queued, held" };
  createOutput(false).failure({
    exitCode: 1,
    code: "input.invalid",
    message: `status: ${problem.message}`,
    fields: [problem],
    hint: null,
    status: 422,
    requestId: null,
  });
  const said = stripVTControlCharacters(write.mock.calls.join(""));
  write.mockRestore();
  expect(said).toBe('input.invalid: one field was refused.\n  status = "hold"\n    expected one of queued, held\n');
});

test("under --json a refusal is one JSON object on stderr, and stdout stays empty", async () => {
  const wrong = await run(["campaigns", "show", "--json"], nowhere);
  expect(wrong).toMatchObject({ code: 2, stdout: "" });
  expect(JSON.parse(wrong.stderr)).toMatchObject({ error: { code: "cli.usage", exitCode: 2 } });
  const none = await run(["status", "--json"], nowhere);
  expect(none).toMatchObject({ code: 4, stdout: "" });
  expect(JSON.parse(none.stderr)).toMatchObject({ error: { code: "cli.no_server", exitCode: 4 } });
});

test("without a server it says how to get one, and with a wrong address that nothing answers there", async () => {
  const closed = `http://127.0.0.1:${await freePort()}`;
  const [none, away, other, noKey] = await Promise.all([
    run(["status"], nowhere),
    run(["status", "--url", closed, "--key", "k"], nowhere),
    run(["status", "--url", "nonsense"], nowhere),
    run(["status", "--url", closed], nowhere),
  ]);
  expect(none.code).toBe(4);
  expect(none.stderr).toContain("npm start");
  expect(away.code).toBe(4);
  expect(away.stderr).toContain(`No Outrider answers at ${closed} (ECONNREFUSED)`);
  expect([other.code, noKey.code]).toEqual([2, 2]);
  expect(noKey.stderr).toContain("OUTRIDER_API_KEY");
});

test("without a database the verbs that need it say so", async () => {
  const [none, away, wrong] = await Promise.all([
    run(["migrate", "status"], nowhere),
    run(["doctor"], { ...nowhere, DATABASE_URL: "postgres://x@127.0.0.1:1/x" }),
    run(["doctor"], { ...nowhere, DATABASE_URL: "mysql://x" }),
  ]);
  expect(none.code).toBe(4);
  expect(none.stderr).toContain("There is no database in");
  expect(away.code).toBe(4);
  expect(away.stderr).toContain("No database at 127.0.0.1:1/x");
  expect(wrong.code).toBe(2);
});

test("a plan is checked without a server: the problem is named by node and field", async () => {
  const send = { type: "send", channel: "email", content: { subject: "s", text: "t" } };
  const good = file("good.json", JSON.stringify({ start: "a", nodes: [{ id: "a", ...send }] }));
  const bad = file(
    "bad.json",
    JSON.stringify({ start: "a", nodes: [{ id: "a", ...send, transitions: [{ on: "opened", to: "gone" }] }] }),
  );
  const torn = file("torn.json", '{"start": "a",\n "nodes": [}');
  const [fine, refused, json, broken, missing, directory] = await Promise.all([
    run(["campaigns", "check", good, "--json"], nowhere),
    run(["campaigns", "check", bad], nowhere),
    run(["campaigns", "check", bad, "--json"], nowhere),
    run(["campaigns", "check", torn], nowhere),
    run(["campaigns", "check", path.join(home, "missing.json")], nowhere),
    run(["import", home], nowhere),
  ]);
  expect(fine.code).toBe(0);
  expect(parsed(fine)).toMatchObject([{ ok: true, hash: expect.stringMatching(/^[0-9a-f]{64}$/) }]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain('Node "a", field transitions[0].to: there is no node "gone"');
  expect(json.code).toBe(1);
  expect(parsed(json)).toMatchObject([{ ok: false, problems: [{ nodeId: "a", field: "transitions[0].to" }] }]);
  expect(broken.code).toBe(2);
  expect(broken.stderr).toContain("torn.json is not JSON: Unexpected token");
  expect(missing.code).toBe(2);
  expect(missing.stderr).toContain("missing.json does not exist");
  expect(directory.code).toBe(2);
  expect(directory.stderr).toContain(`${home} is a directory; expected a file`);
});

test("an old Node gets one line that says which one is needed", () => {
  const old = "Object.defineProperty(process.versions, 'node', { value: '20.20.2' });";
  const { status, stderr } = spawnSync(process.execPath, ["--import", `data:text/javascript,${old}`, launcher], {
    encoding: "utf8",
  });
  expect(status).toBe(2);
  expect(stderr.trim().split("\n")).toEqual([
    expect.stringContaining("Outrider needs Node 24.2 or later; this is 20.20.2"),
  ]);
});

test("docs/cli.md says what the program says", () => {
  expect(readFileSync(docsFile, "utf8"), "run: node cli/docs.ts").toBe(cliDocs());
});

test("what comes from strangers cannot steer the terminal", () => {
  expect(cell("\u001b[2Jgone\u202egnp.exe\r\nx", true)).toBe("\\u001b[2Jgone\\u202egnp.exe\\u000d x");
  expect(cell("2026-01-31T09:00:00.000Z", false)).toBe("2026-01-31T09:00:00.000Z");
  expect(cell("2026-01-31T09:00:00.000Z", true)).toMatch(/^2026-01-3[01] \d\d:\d\d:00 \S+$/);
});

test("counts within a cell are read as words, anything deeper as JSON", () => {
  expect(cell({ delivered: 2, bounced: 1 }, true)).toBe("delivered 2, bounced 1");
  expect(cell({}, true)).toBe("");
  expect(cell({ step: { sent: 1 } }, true)).toBe('{"step":{"sent":1}}');
});

test("a list that is larger than one request takes is cut between rows, and none is lost", async () => {
  const rows = 60_000;
  async function* list(): AsyncGenerator<Uint8Array> {
    yield Buffer.from("email,name\n");
    for (let row = 0; row < rows; row++) yield Buffer.from(`p${row}@x.example,"${"n".repeat(100)}\nü"\n`);
  }
  const seen = new Set<string>();
  for await (const { bytes, format } of partsOf(list(), undefined)) {
    expect(format).toBe("ndjson");
    expect(bytes.length).toBeLessThanOrEqual(4 * 1024 ** 2);
    const lines = Buffer.from(bytes).toString().trimEnd().split("\n");
    for (const line of lines) seen.add((JSON.parse(line) as { email: string }).email);
  }
  expect(seen.size).toBe(rows);
});

test("a list that fits is sent as it is", async () => {
  const text = "email\nkim@x.example\n";
  async function* list(): AsyncGenerator<Uint8Array> {
    yield Buffer.from(text);
  }
  const parts = await Array.fromAsync(partsOf(list(), undefined));
  expect(parts.map(({ bytes, ...rest }) => [Buffer.from(bytes).toString(), rest])).toEqual([
    [text, { format: undefined, number: null }],
  ]);
});
