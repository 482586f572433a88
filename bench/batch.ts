/**
 * `intake-batch`: SendGrid's batch of 1,000 events, 370 KB, signed with ECDSA, until it is verified and archived; against the same
 * verification and one INSERT of the bytes. The large body goes to object storage, as it does in production: the emulator of the local
 * host, in a process of its own.
 */
import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign, verify } from "node:crypto";
import { WebhookIntake } from "../core/deliveries/index.ts";
import { newId } from "../core/kernel/id.ts";
import { s3Blobs } from "../core/providers/s3/index.ts";
import { sendgrid } from "../core/providers/sendgrid/index.ts";
import { createChannel } from "../core/tenancy/index.ts";
import { bucket, clients } from "../local/aws.ts";
import { startChild } from "./child.ts";
import { interleave, type Rig, rate, workingHour } from "./rig.ts";
import { type Addressed, sendgridBatch } from "./sendgrid-batch.ts";
import { keys, newTenant, publicUrl } from "./tenants.ts";

const strangers = (): Addressed[] =>
  Array.from({ length: 1_000 }, (_, n) => ({ id: newId("message", workingHour), address: `person${n}@example.com` }));

interface Signed {
  readonly body: Uint8Array;
  readonly timestamp: string;
  readonly signature: string;
}

export async function batchLines(rig: Rig): Promise<void> {
  const requests = rig.quick ? 100 : 400;
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const der = publicKey.export({ type: "spki", format: "der" });
  const tenant = await newTenant(rig);
  const channel = await createChannel(
    tenant,
    { keys, publicUrl },
    {
      channel: "email",
      provider: "sendgrid",
      name: "mail",
      credentials: { apiKey: "key", eventWebhookPublicKeys: [der.toString("base64")] },
    },
  );
  const storage = await startChild("storage.ts", []);
  const intake = new WebhookIntake({
    db: rig.db,
    keys,
    blobs: s3Blobs({ client: clients(storage.said).s3, bucket }),
    webhooks: { sendgrid },
    wallClock: () => new Date(),
    contextFor: () => ({ ...tenant, ring: async () => {} }),
    apply: async () => "applied",
  });
  await rig.raw.query(
    "create table raw_bytes (id uuid primary key default uuidv7(), key text not null unique, body bytea not null)",
  );

  /** No two are alike: an archive knows what it has. */
  const signed = (): Signed[] => {
    const body = Buffer.from(JSON.stringify(sendgridBatch(strangers())));
    const timestamp = String(Math.floor(workingHour.getTime() / 1_000));
    return Array.from({ length: requests }, () => {
      const own = Buffer.from(body);
      // In place of the same number of bytes of the first event's id.
      own.write(randomBytes(9).toString("base64url"), own.indexOf('"sg_event_id":"') + 15);
      return {
        body: own,
        timestamp,
        signature: sign("sha256", Buffer.concat([Buffer.from(timestamp), own]), privateKey).toString("base64"),
      };
    });
  };
  const lanes = (one: (given: Signed) => Promise<unknown>, count: number) => async (): Promise<number> => {
    const waiting = signed();
    return rate(async () => {
      const given = waiting.values();
      await Promise.all(
        Array.from({ length: count }, async () => {
          for (const each of given) await one(each);
        }),
      );
      return waiting.length;
    });
  };
  const target = `/webhooks/sendgrid/${channel.id}`;
  const outrider = ({ body, timestamp, signature }: Signed) =>
    intake.receive({
      provider: "sendgrid",
      channelConfigId: channel.id,
      target,
      request: {
        url: `${publicUrl}${target}`,
        headers: {
          "content-type": "application/json",
          "x-twilio-email-event-webhook-signature": signature,
          "x-twilio-email-event-webhook-timestamp": timestamp,
        },
        body,
      },
    });
  const key = createPublicKey({ key: der, format: "der", type: "spki" });
  const raw = async (given: Signed): Promise<void> => {
    if (!genuine(key, given)) throw new Error("a genuine signature was refused");
    await rig.raw.query({
      name: "store-bytes",
      text: "insert into raw_bytes (key, body) values ($1, $2) on conflict do nothing",
      values: [given.signature, given.body],
    });
  };
  const concurrent = 8;
  await lanes(outrider, concurrent)();
  const values = await interleave(rig, "intake-batch", {
    outrider: lanes(outrider, concurrent),
    raw: lanes(raw, concurrent),
  });
  rig.line({ name: "intake-batch", value: values.outrider, unit: "requests/s", baseline: values.raw });
  storage.stop();
}

const genuine = (key: KeyObject, { body, timestamp, signature }: Signed): boolean =>
  verify("sha256", Buffer.concat([Buffer.from(timestamp), body]), key, Buffer.from(signature, "base64"));
