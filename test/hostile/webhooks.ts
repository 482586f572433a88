/** Hostile webhooks, by ingress. Everything here is also sent signed: what was signed is what is archived, whatever it is. */
import { fieldTexts, fieldValues, jsonBodies } from "./bytes.ts";
import { sendgridInbound } from "./mail-webhooks.ts";
import { twilio } from "./text-webhooks.ts";

export interface HostileWebhook {
  readonly name: string;
  readonly ingress: "sendgrid events" | "sendgrid inbound" | "twilio status" | "twilio inbound" | "twilio json";
  readonly body: Buffer;
  readonly headers?: Readonly<Record<string, string>>;
  /** Behind the `?` of the address. */
  readonly query?: string;
}

const json = { "content-type": "application/json" };

function* sendgridEvents(): Generator<HostileWebhook> {
  const ingress = "sendgrid events";
  const event = (fields: string) =>
    `[{"event":"delivered","timestamp":1772467200,"sg_event_id":"h","email":"x@example.com",${fields}}]`;
  for (const { name, bytes, encoding } of jsonBodies((value) => event(`"reason":${value}`))) {
    yield {
      name,
      ingress,
      body: bytes,
      headers: { ...json, ...(encoding === undefined ? {} : { "content-encoding": encoding }) },
    };
  }
  const types: Record<string, string | undefined> = {
    "no content type": undefined,
    "an empty content type": "",
    "the wrong content type": "text/plain",
    "a foreign charset": "application/json; charset=utf-7",
    "an unknown charset": "application/json; charset=klingon",
    "a content type of 8,000 characters": `application/json; x=${"y".repeat(8_000)}`,
    "a content type that is none": ";;;===,,,",
    "a form's content type": "application/x-www-form-urlencoded",
    "multipart without a boundary": "multipart/form-data",
    "multipart with an empty boundary": "multipart/form-data; boundary=",
  };
  for (const [name, type] of Object.entries(types)) {
    yield {
      name,
      ingress,
      body: Buffer.from(`${event('"reason":"x"').slice(0, -1)},{"n":"${name}"}]`),
      ...(type === undefined ? {} : { headers: { "content-type": type } }),
    };
  }
  const whole = (name: string, value: unknown): HostileWebhook => ({
    name,
    ingress,
    headers: json,
    body: Buffer.from(JSON.stringify(value)),
  });
  const good = {
    event: "delivered",
    timestamp: 1_772_467_200,
    sg_event_id: "h",
    email: "x@example.com",
    sg_message_id: "m.1",
  };
  for (const field of [
    "event",
    "timestamp",
    "sg_event_id",
    "email",
    "sg_message_id",
    "smtp-id",
    "url",
    "reason",
    "type",
    "status",
  ]) {
    const list = fieldValues.filter((value) => typeof value !== "string" || value.length < 100_000);
    yield whole(
      `${field} of every wrong type`,
      list.map((value, n) => ({ ...good, sg_event_id: `h-${field}-${n}`, [field]: value })),
    );
  }
  yield whole(
    "500 good events and one broken in the middle",
    Array.from({ length: 501 }, (_, n) => (n === 250 ? "broken" : { ...good, sg_event_id: `many-${n}` })),
  );
  yield whole(
    "the same event 1,000 times",
    Array.from({ length: 1_000 }, () => ({ ...good, sg_event_id: "same" })),
  );
  yield whole(
    "3,000 events",
    Array.from({ length: 3_000 }, (_, n) => ({ ...good, sg_event_id: `three-${n}` })),
  );
  yield whole("an id of 900,000 characters", [{ ...good, sg_event_id: "i".repeat(900_000) }]);
  yield whole("our id of somebody else", [
    {
      ...good,
      event: "bounce",
      type: "bounce",
      message_id: "omsg_01J00000000000000000000000",
      outrider_message_id: "omsg_01J00000000000000000000000",
      sg_event_id: "foreign",
    },
  ]);
  for (const [name, at] of Object.entries({
    "before Christ": -62_200_000_000,
    "year 10,000": 253_402_300_800,
    "year 292,278,994": 9_223_372_036_854,
    "a fraction": 1_772_467_200.123456,
    milliseconds: 1_772_467_200_000,
    "minus one": -1,
    "2038": 2_147_483_648,
  })) {
    yield whole(`timestamp ${name}`, [{ ...good, sg_event_id: `t-${name}`, timestamp: at }]);
  }
  yield whole(
    "addresses that are none",
    Object.values(fieldTexts).map((email, n) => ({
      ...good,
      event: "bounce",
      type: "bounce",
      reason: "550 5.1.1",
      email: email.slice(0, 5_000),
      sg_event_id: `addr-${n}`,
    })),
  );
}

/** Every hostile webhook, each under a name of its own. */
export function hostileWebhooks(): HostileWebhook[] {
  return [...sendgridEvents(), ...sendgridInbound(), ...twilio()];
}
