import { expect, test } from "vitest";
import { deferBegin, type Queryable } from "../../../core/db/begin.ts";

/** A connection that remembers what was sent, one entry per round trip. */
function connection() {
  const sent: string[] = [];
  const client: Queryable = {
    query: async (text) => {
      sent.push(text);
      const results = text.split("; ").map((one) => ({ command: one, rows: [one], rowCount: 1 }));
      const [only, ...more] = results;
      return only && more.length === 0 ? only : results;
    },
  };
  deferBegin(client);
  return { client, sent };
}

test("a begin travels with a first statement without parameters, whose result is the one returned", async () => {
  const { client, sent } = connection();
  await client.query("begin", []);
  expect(await client.query("select 1", [])).toMatchObject({ rows: ["select 1"] });
  await client.query("select 2", []);
  await client.query("commit", []);
  expect(sent).toEqual(["begin; select 1", "select 2", "commit"]);
});

test("a begin comes before a first statement with parameters", async () => {
  const { client, sent } = connection();
  await client.query("begin", []);
  await client.query("select $1", [1]);
  expect(sent).toEqual(["begin", "select $1"]);
});

test.each(["commit", "rollback"])("a transaction that did nothing is not begun for its %s", async (end) => {
  const { client, sent } = connection();
  await client.query("begin", []);
  expect(await client.query(end, [])).toMatchObject({ command: end.toUpperCase() });
  await client.query("select 1", []);
  expect(sent).toEqual(["select 1"]);
});
