/** Bells that nobody of us rang. Invariant: the honest bell beside each is answered, and nothing comes again that will never be understood. */
import { bell, fakeInvocation, sqsEvent } from "../functions/lib/fake.ts";
import { jsonBodies } from "./bytes.ts";
import { collector, type Ran } from "./collector.ts";
import type { Rig } from "./rig.ts";

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
    "a strange tenant": `tenant_01J00000000000000000000000`,
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
