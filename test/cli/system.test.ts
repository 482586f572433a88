/** Every verb against a running system. The table below holds each of them, so a new verb without a line fails the last test. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { leaves } from "../../cli/docs.ts";
import { createProgram } from "../../cli/program.ts";
import { type System, startSystem } from "../../local/system.ts";
import { testDatabase } from "../support/database.ts";
import { parsed, type Ran, run, start } from "./run.ts";

// Dozens of processes, one after the other: on a busy machine each takes a second.
vi.setConfig({ testTimeout: 120_000 });

const database = await testDatabase();
const home = mkdtempSync(path.join(os.tmpdir(), "outrider-cli-"));
let system: System;
beforeAll(async () => {
  system = await startSystem({ home, databaseUrl: database.ownerUrl, durable: false });
  // The verbs make the tenant ready themselves: until then, what it would send is held.
  await sql`delete from email_sender_identities`.execute(database.owner);
  await sql`update tenants set settings = '{}'`.execute(database.owner);
});
afterAll(async () => {
  await system.stop();
  rmSync(home, { recursive: true, force: true });
});

const ran = new Set<string>();
const names = leaves(createProgram()).map(({ name }) => name.replace(/^outrider /, ""));

/** Runs a verb and remembers which one it was. */
function outrider(...args: string[]): Promise<Ran> {
  const words = [args.slice(0, 2).join(" "), args[0] ?? ""];
  for (const word of words) if (names.includes(word)) ran.add(word);
  return run(args, { OUTRIDER_HOME: home, DATABASE_URL: database.ownerUrl });
}

/** What a verb answers under --json, all lines of it. */
async function json(...args: string[]): Promise<Record<string, unknown>[]> {
  const done = await outrider(...args, "--json");
  expect(done, done.stderr).toMatchObject({ code: 0 });
  return parsed(done) as Record<string, unknown>[];
}

function file(name: string, content: string): string {
  const target = path.join(home, name);
  writeFileSync(target, content);
  return target;
}

const id = (row: Record<string, unknown> | undefined, name = "id"): string => String(row?.[name]);

const people = file(
  "people.csv",
  [
    "First Name,Email,Phone,Note",
    "Ada,ada@one.example,+12025550101,",
    'Bob,bob@two.example,,"=1+1"',
    ",,555,=cmd",
    "",
  ].join("\n"),
);
const node = { type: "send", channel: "email", content: { subject: "Hi {{ contact.first_name }}", text: "Hello" } };
const plan = file("plan.json", JSON.stringify({ name: "Autumn", start: "intro", nodes: [{ id: "intro", ...node }] }));

test("a list goes in, its refused rows come out as a CSV without formulas", async () => {
  const rejected = path.join(home, "rejected.csv");
  const [done] = await json("import", people, "--source", "fair", "--tag", "vip", "--rejected", rejected);
  expect(done).toMatchObject({
    status: "completed",
    source: "fair",
    rows: { read: 3, accepted: 2, rejected: 1, promoted: 2 },
  });
  expect(readFileSync(rejected, "utf8")).toContain(`"no e-mail address","","","'=cmd","555"`);
  const again = await outrider("import", people, "--rejected", rejected);
  expect(again.code).toBe(2);
  expect(again.stderr).toContain("--force");
  expect(await json("imports", "list", "--status", "completed")).toMatchObject([{ id: id(done) }]);
  expect(await json("imports", "show", id(done))).toMatchObject([{ bytesRead: done?.["sizeBytes"] }]);
  expect(await json("imports", "watch", id(done))).toMatchObject([{ status: "completed" }]);
  expect(await json("imports", "rejected", id(done))).toMatchObject([{ row: 3, reason: "no e-mail address" }]);
  const ended = await outrider("imports", "cancel", id(done), "--json");
  expect(ended).toMatchObject({ code: 1, stdout: "" });
  expect(JSON.parse(ended.stderr)).toMatchObject({ error: { code: "import.not_cancellable", status: 409 } });
});

test("a list without a column for addresses says how to name one here", async () => {
  const refused = await outrider("import", file("strangers.csv", "name,city\nBob,Paris\n"), "--wait");
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("Columns found: name, city");
  expect(refused.stderr).toContain("--map Contact=email");
  expect(refused.stderr).not.toContain("..\n");
});

test("a campaign is authored, looked at and steered by its name", async () => {
  const [made] = await json("campaigns", "create", plan);
  expect(made).toMatchObject({ name: "Autumn", status: "draft" });
  expect(await json("campaigns", "check", plan)).toMatchObject([{ ok: true, hash: made?.["planHash"] }]);
  expect(await json("campaigns", "list", "--status", "draft")).toMatchObject([{ id: id(made) }]);
  expect(await json("campaigns", "show", "Autumn")).toMatchObject([{ id: id(made) }]);
  expect(await json("campaigns", "diagram", "Autumn")).toMatchObject([
    { mermaid: expect.stringContaining("flowchart") },
  ]);
  expect(await json("campaigns", "update", "Autumn", plan, "--reason", "the same")).toMatchObject([
    { planHash: made?.["planHash"] },
  ]);
  const enrolled = await outrider("enroll", "Autumn", "--all", "--json");
  expect(parsed(enrolled)).toMatchObject([{ audience: 2, enrolled: 2 }]);
  const [first, second, third, last] = [
    await json("campaigns", "activate", "Autumn"),
    await json("campaigns", "pause", id(made), "--reason", "lunch"),
    await json("campaigns", "resume", "Autumn"),
    await json("campaigns", "stop", "Autumn"),
  ].map(([row]) => row?.["status"]);
  expect([first, second, third, last]).toEqual(["active", "paused", "active", "stopped"]);
  const refused = await outrider("campaigns", "activate", "Autumn");
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("campaign.illegal_transition");
  const unknown = await outrider("campaigns", "show", "Winter");
  expect(unknown.stderr).toContain('No campaign is called "Winter"');
  const nobody = await outrider("enroll", "Autumn", "--all", "--segment", "x");
  expect(nobody.code).toBe(2);
});

test("the server's refusal of a plan names node and field", async () => {
  const bad = file(
    "bad.json",
    JSON.stringify({
      name: "x",
      start: "a",
      nodes: [{ id: "a", ...node, transitions: [{ on: "opened", to: "gone" }] }],
    }),
  );
  const refused = await outrider("campaigns", "create", bad);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("plan.nodes[0].transitions[0].to");
  expect(refused.stderr).toContain('there is no node "gone"');
});

test("a no is entered, found, listed and taken back; a mistyped one is named", async () => {
  const [added] = await json("suppress", "add", "kim@x.example", "+12025550142");
  expect(added).toMatchObject({ added: 2, existing: 0 });
  const [yes, no] = [
    await json("suppress", "check", "ada@x.example"),
    await json("suppress", "check", "KIM@x.example"),
  ];
  expect(yes).toMatchObject([{ channel: "email", allowed: true }]);
  expect(no).toMatchObject([{ channel: "email", allowed: false, hit: { reason: "manual" } }]);
  const [listed] = await json("suppress", "list", "--address", "kim@x.example", "--active");
  expect(await json("suppress", "lift", id(listed), "--note", "a mistake")).toMatchObject([
    { address: "kim@x.example" },
  ]);
  const wrong = await outrider("suppress", "add", "--channel", "email", "nonsense");
  expect(wrong.code).toBe(1);
  expect(wrong.stderr).toContain('entries[0] = "nonsense"');
  expect(await json("dnc", "add", "+12025550143", "--reason", "asked")).toMatchObject([{ added: [expect.anything()] }]);
  expect(await json("dnc", "check", "(202) 555-0143")).toMatchObject([{ listed: true }]);
  expect(await json("dnc", "list")).toMatchObject([{ phoneNumber: "+12025550143" }]);
  expect(await json("dnc", "remove", "+12025550143")).toMatchObject([{ phoneNumber: "+12025550143" }]);
});

test("a long list is followed over its pages, and a reader that leaves ends it in silence", async () => {
  const addresses = Array.from({ length: 1_500 }, (_, n) => `p${n}@list.example`);
  const list = file("list.csv", ["email", ...addresses].join("\n"));
  expect(await json("suppress", "import", list, "--reason", "provider")).toMatchObject([{ added: 1_500 }]);
  expect(await json("suppress", "list", "--reason", "provider")).toHaveLength(1_500);
  expect(await json("suppress", "list", "--limit", "7")).toHaveLength(7);
  const child = start(["suppress", "list", "--json"], { OUTRIDER_HOME: home });
  child.stdout?.once("data", () => child.stdout?.destroy());
  expect(await child.ended).toEqual({ code: 0, stderr: "" });
});

test("what a tenant works with is made and shown; a key is shown once, works, and can be revoked", async () => {
  const text = file("intro.txt", "Hello {{ contact.first_name }}");
  const [saved] = await json("templates", "save", "intro", "--subject", "Hi", "--text", text);
  const template = saved?.["template"] as Record<string, unknown>;
  expect(await json("templates", "list")).toMatchObject([{ id: id(template) }]);
  expect(await json("templates", "show", id(template))).toMatchObject([{ variables: ["contact.first_name"] }]);
  const [sender] = await json("senders", "create", "ada@sender.example", "--name", "Ada");
  expect(await json("senders", "verify", id(sender))).toMatchObject([{ status: "verified" }]);
  expect(await json("senders", "default", id(sender))).toMatchObject([{ isDefault: true }]);
  expect(await json("senders", "show", id(sender))).toMatchObject([{ fromEmail: "ada@sender.example" }]);
  expect(await json("senders", "list")).toHaveLength(1);
  const account = { channel: "email", provider: "sendgrid", name: "Second", credentials: { apiKey: "SG.x" } };
  const [channel] = await json("channels", "create", file("channel.json", JSON.stringify(account)));
  expect(await json("channels", "show", id(channel))).toMatchObject([{ name: "Second" }]);
  expect(await json("channels", "list")).toHaveLength(3);
  const credentials = file("credentials.json", JSON.stringify({ credentials: { apiKey: "SG.y" } }));
  const renamed = await json("channels", "update", id(channel), credentials, "--name", "Spare", "--status", "disabled");
  expect(renamed).toMatchObject([{ name: "Spare", status: "disabled" }]);
  expect((await outrider("channels", "update", id(channel))).code).toBe(2);
  const [made] = await json("keys", "create", "reader", "--scope", "leads:read");
  const key = String(made?.["apiKey"]);
  expect((await outrider("leads", "search", "--json", "--key", key)).code).toBe(0);
  const outside = await outrider("senders", "list", "--key", key);
  expect(outside.stderr).toContain("auth.scope_missing");
  const revoked = await json("keys", "revoke", id(made?.["key"] as Record<string, unknown>));
  expect(revoked).toMatchObject([{ revokedAt: expect.any(String) }]);
  expect(JSON.stringify(await json("keys", "list"))).not.toContain(key);
  expect((await outrider("leads", "search", "--key", key)).stderr).toContain("auth.invalid");
});

test("settings and limits are changed by name, and nothing stops or starts everything without --yes", async () => {
  const rest = file("settings.json", JSON.stringify({ trackOpens: false, companyName: "From the file" }));
  const named = ["--company", "Acme", "--time-zone", "Europe/Paris", "--quiet-hours", "21:00-08:00"];
  const postal = ["--postal-address", "1 Main Street, Springfield", "--default-country", "ca"];
  const settings = { companyName: "Acme", timeZone: "Europe/Paris", quietHours: { start: "21:00", end: "08:00" } };
  const address = { postalAddress: "1 Main Street, Springfield", defaultCountry: "CA" };
  const set = await json("tenant", "set", rest, ...named, ...postal);
  expect(set).toMatchObject([{ status: "active", settings: { ...settings, ...address, trackOpens: false } }]);
  await json(
    "tenant",
    "set",
    "--unset",
    "quietHours,trackOpens,defaultCountry",
    "--unset",
    "postalAddress",
    "--time-zone",
    "Etc/UTC",
  );
  const [shown, nothing, wrong, unsure] = await Promise.all([
    outrider("tenant", "show"),
    outrider("tenant", "set"),
    outrider("tenant", "set", "--time-zone", "Mars/Olympus"),
    outrider("tenant", "suspend"),
  ]);
  expect(shown.stdout).toMatch(/^company name +Acme$/m);
  expect(shown.stdout).not.toContain("quiet hours");
  expect([nothing.code, wrong.code, unsure.code]).toEqual([2, 1, 2]);
  expect(wrong.stderr).toContain('timeZone = "Mars/Olympus"');
  expect(unsure.stderr).toContain("--yes");
  expect(await json("tenant", "suspend", "--yes")).toMatchObject([{ status: "suspended" }]);
  expect(await json("tenant", "resume", "--yes")).toMatchObject([{ status: "active", suspendedAt: null }]);
  const [limit] = await json("limits", "set", "1000000", "--per", "1h", "--domain", "Example.COM");
  const hourly = {
    scope: "domain",
    scopeId: "example.com",
    channel: "email",
    maxCount: 1_000_000,
    windowSeconds: 3_600,
  };
  expect(limit).toMatchObject({ ...hourly, enabled: true });
  const off = { ...limit, enabled: false };
  expect(await json("limits", "disable", id(limit))).toEqual([off]);
  const [limits, both] = await Promise.all([
    json("limits", "list"),
    outrider("limits", "set", "1", "--per", "1d", "--sender", "x", "--domain", "y"),
  ]);
  expect(limits).toContainEqual(off);
  expect(both.code).toBe(2);
});

test("a segment counts what its filter counts, under its name as under its id", async () => {
  const filter = { op: "eq", field: "company.domain", value: "one.example" };
  const target = file("filter.json", JSON.stringify(filter));
  const [made] = await json("segments", "create", target, "--name", "Ada");
  expect(made).toMatchObject({ name: "Ada", leadCount: 1 });
  const one = [{ contacts: 1, leads: 1 }];
  const [listed, shown, named, ofFile, unknown] = await Promise.all([
    json("segments", "list"),
    json("segments", "show", id(made)),
    json("segments", "count", "Ada"),
    json("segments", "count", target),
    outrider("segments", "count", "Bob"),
  ]);
  expect(listed).toMatchObject([{ id: id(made) }]);
  expect(shown).toMatchObject([{ filter }]);
  expect([named, ofFile]).toEqual([one, one]);
  expect(unknown.stderr).toContain('No segment is called "Bob"');
});

test("enrollments are held, ended and moved to a new plan, their tasks are done; what changes nothing is refused", async () => {
  const calls = (wait: string) => [
    { id: "call", type: "task", title: "Call them", to: wait },
    { id: wait, type: "wait", duration: "P1D", to: "end" },
    { id: "end", type: "stop" },
  ];
  await json(
    "campaigns",
    "create",
    file("calls.json", JSON.stringify({ start: "call", nodes: calls("rest") })),
    "--name",
    "Calls",
  );
  await json("enroll", "Calls", "--all");
  await json("campaigns", "activate", "Calls");
  const walking = await until(async () => {
    const rows = await json("enrollments", "list", "--campaign", "Calls", "--status", "active");
    return rows.length === 2 && rows.every((row) => row["nodeId"] === "rest") ? rows : undefined;
  });
  const [ada, bob] = walking.map((row) => id(row)) as [string, string];
  const [first, second] = await json("tasks", "list");
  const [done, cancelled] = await Promise.all([
    json("tasks", "done", id(first)),
    json("tasks", "done", id(second), "--cancelled"),
  ]);
  expect([...done, ...cancelled]).toMatchObject([{ status: "done" }, { status: "cancelled" }]);
  expect(await json("enrollments", "stop", bob, "--reason", "asked")).toMatchObject([{ status: "stopped" }]);
  expect(await json("enrollments", "pause", ada)).toMatchObject([{ status: "paused" }]);
  const [left, unmoved, shown] = await Promise.all([
    json("tasks", "list"),
    outrider("enrollments", "pause", bob),
    json("enrollments", "show", bob),
  ]);
  expect(left).toEqual([]);
  expect(unmoved).toMatchObject({ code: 1, stdout: "" });
  expect(unmoved.stderr).toContain("enrollment.unchanged");
  expect(shown).toMatchObject([{ exitReason: "asked", transitions: expect.any(Array) }]);
  await json("campaigns", "update", "Calls", file("nap.json", JSON.stringify({ start: "call", nodes: calls("nap") })));
  const stuck = await outrider("campaigns", "migrate", "Calls", "--json");
  expect(stuck.code).toBe(1);
  expect(parsed(stuck)).toMatchObject([{ migrated: 0, needMapping: [{ enrollmentId: ada }] }]);
  // The way out that the refusal names.
  expect(await json("enrollments", "resume", ada)).toMatchObject([{ status: "active" }]);
  const moved = await json("campaigns", "migrate", "Calls", "--map", "rest=nap");
  expect(moved).toEqual([{ migrated: 1, needMapping: [] }]);
  expect(await json("enrollments", "show", ada)).toMatchObject([{ nodeId: "nap", status: "active" }]);
  await json("campaigns", "stop", "Calls");
});

test("a campaign is simulated, sent, reported, explained and traced; what is held shows in the status", async () => {
  const sends = path.join(home, "sends.csv");
  await json("campaigns", "create", plan, "--name", "Live");
  await json("campaigns", "create", plan, "--name", "Spare");
  await json("enroll", "Live", "--all", "--reenroll");
  const [simulated] = await json("simulate", "Live", "--rates", "open=0.4,click=10%,seed=monday", "--out", sends);
  expect(simulated).toMatchObject({ contacts: 2, summary: { messages: 2 } });
  expect(readFileSync(sends, "utf8").trim().split("\r\n")).toHaveLength(3);
  const elsewhere = await outrider("enroll", "Spare", "--contact", "Ada@one.example");
  expect(elsewhere.stdout).toMatch(/^walking another campaign +1$/m);
  expect(elsewhere.stderr).toContain("a contact walks one at a time");
  const stranger = await outrider("enroll", "Spare", "--contact", "nobody@one.example");
  expect(stranger).toMatchObject({ code: 1, stdout: "" });
  expect(stranger.stderr).toContain("No contact has the address nobody@one.example");
  expect((await outrider("simulate", "Spare")).stderr).toContain("Nobody to simulate");
  await json("campaigns", "activate", "Live");
  const sent = await until(async () => (await json("messages", "list", "--campaign", "Live"))[0]);
  const message = await json("messages", "show", id(sent));
  expect(message).toMatchObject([{ id: id(sent), nodeId: "intro" }]);
  const [why] = await json("explain", "--message", id(sent));
  expect(why).toMatchObject({ code: expect.any(String), sentences: expect.any(Array) });
  const [where] = await json("explain", "--campaign", "Live", "--contact", id(sent, "contactId"), "--node", "intro");
  expect(where).toMatchObject({ message: { messageId: id(sent) } });
  const toAda = await json("messages", "list", "--campaign", "Live", "--contact", "ada@one.example");
  expect(toAda).toMatchObject([{ address: "ada@one.example" }]);
  const [trace] = await json("trace", id(sent));
  const stages = (trace?.["steps"] ?? []) as { readonly stage: string }[];
  expect(stages.map(({ stage }) => stage)).toEqual(expect.arrayContaining(["import", "message"]));
  expect(await json("campaigns", "report", "Live")).toMatchObject([{ enrolled: 2 }]);
  expect(await json("status")).toMatchObject([{ server: { status: "ok" }, campaigns: { active: 1 } }]);
  const shown = await outrider("status");
  expect(shown.stdout).toContain("messages held back, by reason");
  expect((await outrider("explain")).code).toBe(2);
});

async function until<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (let tries = 0; tries < 50; tries++) {
    const found = await look();
    if (found !== undefined) return found;
  }
  throw new Error("it never came");
}

test("leads are found, and what does not exist is refused by its code", async () => {
  const [lead] = await json("leads", "search", "ada@one.example");
  expect(await json("leads", "list", "ada@one.example")).toEqual([lead]);
  expect(lead).toMatchObject({ email: "ada@one.example" });
  expect(await json("leads", "show", id(lead))).toMatchObject([{ id: id(lead) }]);
  expect(await json("conversations", "list")).toEqual([]);
  expect(await json("deliveries", "list")).toEqual([]);
  const gone = "01J8Z7Q4M0V5T9W3X2Y1A6B7C8";
  const refusals = await Promise.all([
    outrider("conversations", "show", `conv_${gone}`),
    outrider("deliveries", "show", `whd_${gone}`),
    outrider("replay"),
  ]);
  expect(refusals.map(({ code }) => code)).toEqual([1, 1, 2]);
  expect(refusals.map(({ stderr }) => stderr.split(":")[0])).toEqual([
    "conversation.not_found",
    "delivery.not_found",
    "replay.what",
  ]);
  const range = ["--from", "2026-01-01", "--to", "2026-01-02"];
  expect(await json("replay", ...range)).toMatchObject([{ deliveries: 0, failed: [] }]);
});

test("the installation is examined and a tenant made through the database itself", async () => {
  expect((await json("migrate", "status")).map(({ state }) => state)).not.toContain("pending");
  expect(await json("migrate", "up")).toEqual([]);
  expect(await outrider("migrate", "down")).toMatchObject({ code: 2, stdout: "" });
  expect(await json("doctor")).toMatchObject([{ ok: true }]);
  const make = [
    "tenants",
    "create",
    "Second",
    "--slug",
    "second",
    "--organization",
    "Other",
    "--admin-email",
    "eve@x.example",
  ];
  const [first, again] = [await json(...make), await json(...make)];
  expect(first).toMatchObject([{ created: true, apiKey: expect.stringMatching(/^or_/) }]);
  expect(again).toMatchObject([{ created: false, apiKey: null, tenantId: id(first[0], "tenantId") }]);
  const [addresses] = await json("open");
  expect(addresses).toMatchObject({ api: `${system.local.url}/v1`, simulator: system.access.simulatorUrl });
});

test("there is no verb that was not run", () => {
  expect(names.filter((name) => !ran.has(name))).toEqual([]);
});
