import { expect, it } from "vitest";
import { memoryBlobs, memoryKeys, memoryQueue } from "../../core/providers/memory/index.ts";
import { sendgrid } from "../../core/providers/sendgrid/index.ts";
import { define } from "../../functions/deliveries.ts";
import { createLog } from "../../functions/lib/log.ts";
import { createHost } from "../../functions/lib/runtime.ts";
import { archive, deliveriesOf, events, eventsOf, mailEvent } from "../core/deliveries/world.ts";
import { testDatabase } from "../support/database.ts";
import { readyTenant } from "../support/outreach.ts";
import { bell, fakeInvocation, sqsEvent } from "./lib/fake.ts";

const database = await testDatabase();
const handler = define(
  createHost({
    db: database.db,
    queue: memoryQueue(),
    blobs: memoryBlobs(),
    keys: memoryKeys(),
    senders: {},
    webhooks: { sendgrid },
    publicUrl: "https://go.example.test",
    signingKeys: [new Uint8Array(32)],
    log: createLog({ write: () => {}, now: () => new Date(0) }),
  }),
);

it("a bell has its deliveries applied, and rung twice changes nothing", async () => {
  const tenant = await readyTenant(database);
  const ids = await archive(tenant, "sendgrid", [
    events([mailEvent(null, "delivered", 0)]),
    { body: Buffer.from("poison") },
  ]);
  for (let n = 0; n < 2; n++) {
    expect(await handler(sqsEvent([bell(tenant.tenantId, ...ids)]), fakeInvocation())).toEqual({
      batchItemFailures: [],
    });
  }
  expect((await deliveriesOf(database, tenant)).map((row) => row.status).toSorted()).toEqual(["completed", "failed"]);
  expect(await eventsOf(database, tenant)).toHaveLength(1);
});
