/** Queues are bells and nothing else: losing every one of them loses nothing, and doubling every one of them doubles nothing. */
import { PurgeQueueCommand } from "@aws-sdk/client-sqs";
import { describe, expect, test } from "vitest";
import type { Bell } from "../../core/kernel/bell.ts";
import { type QueueName, queues } from "../../functions/topology.ts";
import { days, launch, oneEmail, people, testSystem } from "../support/system.ts";

const system = await testSystem();
const crowd = 25;
const addresses = (domain: string) => Array.from({ length: crowd }, (_, n) => `p${n}@${domain}`);
const accepted = (domain: string) => system.simulator.accepted().filter(({ to }) => to.endsWith(`@${domain}`));

describe("bells", () => {
  test("that are all lost cost time and nothing else: the sweep brings every send", async () => {
    const tenant = await system.tenant();
    const silent = { ...tenant, ring: () => Promise.reject(new Error("the queue is down")) };
    const ids = await people(
      system,
      tenant,
      addresses("lost.example").map((email) => ({ email })),
    );
    system.script({ "@lost.example": [{ kind: "delivered", afterSeconds: 5 }] });
    await launch(silent, oneEmail, ids);
    await system.local.idle();
    expect(await system.messages(tenant)).toEqual([]);
    await system.advance(1 * days);
    expect((await system.messages(tenant)).map(({ status }) => status)).toEqual(Array(crowd).fill("delivered"));
    expect(accepted("lost.example")).toHaveLength(crowd);
  });

  test("that are taken out of every queue while the work goes on leave nothing behind", async () => {
    const tenant = await system.tenant();
    const ids = await people(
      system,
      tenant,
      addresses("purged.example").map((email) => ({ email })),
    );
    system.script({ "@purged.example": [{ kind: "delivered", afterSeconds: 5 }] });
    await launch(tenant, oneEmail, ids);
    const { sqs, queues: made } = system.local.aws;
    for (const name of Object.keys(queues) as QueueName[]) {
      await sqs.send(new PurgeQueueCommand({ QueueUrl: made[name].url }));
    }
    await system.advance(1 * days);
    expect(accepted("purged.example")).toHaveLength(crowd);
    expect((await system.messages(tenant)).every(({ status }) => status === "delivered")).toBe(true);
  });

  test("that are doubled, at once and long after, send nothing twice", async () => {
    const tenant = await system.tenant();
    const rung: Bell[] = [];
    const { queue } = system.local.host;
    const twice = {
      ...tenant,
      async ring(bells: readonly Bell[]) {
        rung.push(...bells);
        await Promise.all([queue.ring(bells), queue.ring(bells), queue.ring(bells)]);
      },
    };
    const ids = await people(
      system,
      tenant,
      addresses("doubled.example").map((email) => ({ email })),
    );
    system.script({ "@doubled.example": [{ kind: "delivered", afterSeconds: 5 }] });
    await launch(twice, oneEmail, ids);
    await system.settle();
    const messageIds = (await system.messages(tenant)).map(({ id }) => id);
    const everything: Bell = { kind: "send", tenantId: tenant.tenantId, ids: [] };
    for (let n = 0; n < 5; n++) {
      await queue.ring([...rung, { kind: "send", tenantId: tenant.tenantId, ids: messageIds }, everything]);
    }
    await system.advance(1 * days);
    await queue.ring([...rung, everything]);
    await system.local.idle();
    expect(rung.length).toBeGreaterThan(0);
    expect(accepted("doubled.example")).toHaveLength(crowd);
    expect((await system.messages(tenant)).map(({ status }) => status)).toEqual(Array(crowd).fill("delivered"));
  });
});
