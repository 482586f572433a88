/** What operators, strangers and the clock do in a world. Invariant: through the same doors that a customer uses. */
import { activate, addToDnc, enroll, getCampaign, pause, resume, stop, suppress } from "../../core/campaigns/index.ts";
import { createImport } from "../../core/intake/index.ts";
import { resumeTenant, suspendTenant } from "../../core/tenancy/index.ts";
import { csvOf, newcomers, people } from "./base.ts";
import type { Invocation } from "./invocation.ts";
import { command, deliver } from "./outside.ts";
import { sendgridPost } from "./recipients.ts";
import { type ScriptEvent, tell } from "./script.ts";
import type { World } from "./world.ts";

/** An operator whose command was lost or refused for a passing reason tries again; so often at most. */
const maxTries = 4;
const againMs = 90_000;

/** @returns the run of the command, where it is one */
export function operate(world: World, event: ScriptEvent, tries = 1): Invocation | undefined {
  const { operation } = event;
  const tenant = world.parts.base.tenants[event.tenant];
  if (!tenant) return undefined;
  const { model } = world;
  world.say(`${tenant.name} ${tell(event)}`);
  const again = () => {
    if (tries < maxTries) world.at(world.now + againMs, `${tell(event)} again`, () => operate(world, event, tries + 1));
  };
  const contactIds = (emails: readonly string[]) => emails.flatMap((email) => tenant.contacts[email] ?? []);
  switch (operation.kind) {
    case "launch": {
      const campaignId = tenant.campaigns[operation.plan];
      return command(
        world,
        tenant,
        "launch",
        async (ctx) => {
          await enroll(ctx, { campaignId, audience: { contactIds: contactIds(operation.people) } });
          await activate(ctx, { id: campaignId });
        },
        () => {},
        again,
      );
    }
    case "enroll_again": {
      const campaignId = tenant.campaigns[operation.plan];
      return command(
        world,
        tenant,
        "enroll",
        (ctx) => enroll(ctx, { campaignId, audience: { contactIds: contactIds(operation.people) } }),
        () => {},
        again,
      );
    }
    case "enroll_all": {
      const campaignId = tenant.campaigns[operation.plan];
      return command(
        world,
        tenant,
        "enroll",
        async (ctx) => {
          await enroll(ctx, { campaignId, audience: { all: true } });
          await activate(ctx, { id: campaignId });
        },
        () => {},
        again,
      );
    }
    case "import": {
      const bytes = Buffer.from(csvOf([...newcomers, ...people.slice(0, 1)]));
      return command(world, tenant, "import", async (ctx, host) => {
        const file = (async function* () {
          yield bytes;
        })();
        const { id } = await createImport(host, ctx, { source: "fair", fileName: "fair.csv" }, file);
        await host.queue.ring([{ kind: "imports", tenantId: ctx.tenantId, ids: [id] }]).catch(() => {});
      });
    }
    case "pause": {
      const id = tenant.campaigns[operation.plan];
      return command(
        world,
        tenant,
        "pause",
        (ctx) => pause(ctx, { id }),
        (invocation) => model.quiet(`campaign ${id}`, invocation.committedAt),
        again,
      );
    }
    case "resume": {
      const id = tenant.campaigns[operation.plan];
      const end = model.loud(`campaign ${id}`);
      return command(
        world,
        tenant,
        "resume",
        async (ctx) => {
          const { status } = await getCampaign(ctx, { id });
          await (status === "draft" ? activate : resume)(ctx, { id });
        },
        end,
        () => {
          end();
          again();
        },
      );
    }
    case "stop": {
      const id = tenant.campaigns[operation.plan];
      return command(
        world,
        tenant,
        "stop",
        (ctx) => stop(ctx, { id }),
        (invocation) => model.quiet(`campaign ${id}`, invocation.committedAt),
        again,
      );
    }
    case "suspend":
      return command(
        world,
        tenant,
        "suspend",
        (ctx) => suspendTenant(ctx, {}),
        (invocation) => model.quiet(`tenant ${tenant.tenantId}`, invocation.committedAt),
        again,
      );
    case "reactivate": {
      const end = model.loud(`tenant ${tenant.tenantId}`);
      return command(
        world,
        tenant,
        "reactivate",
        (ctx) => resumeTenant(ctx, {}),
        end,
        () => {
          end();
          again();
        },
      );
    }
    case "suppress":
      return command(
        world,
        tenant,
        "suppress",
        (ctx) =>
          suppress(ctx, { entries: [{ channel: "email", address: operation.email, reason: "manual", source: "api" }] }),
        (invocation) => model.closed(tenant.tenantId, "email", operation.email, invocation.committedAt),
        again,
      );
    case "do_not_call":
      return command(
        world,
        tenant,
        "do not call",
        (ctx) => addToDnc(ctx, { phones: [operation.phone], reason: "asked", source: "api" }),
        (invocation) => {
          for (const one of world.parts.base.tenants)
            model.closed(one.tenantId, "sms", operation.phone, invocation.committedAt);
        },
        again,
      );
    case "forged_webhook": {
      world.hit("forged webhook");
      const request = sendgridPost(
        tenant,
        world.parts.base.signingKey,
        [
          {
            email: people[0]?.email,
            event: "unsubscribe",
            timestamp: Math.floor(world.now / 1000),
            sg_event_id: `forged-${event.id}`,
          },
        ],
        world.now,
      );
      const forged = { ...request, body: Buffer.from(request.body.toString().replace("unsubscribe", "spamreport")) };
      deliver(world, tenant, { what: "a forged webhook", target: "webhooks", request: forged }, (status) =>
        model.refused(tenant, forged, status),
      );
      return undefined;
    }
    case "stranger_event": {
      const other = world.parts.base.tenants[1 - event.tenant];
      const accept = model.accepts.find((one) => one.tenant === other && one.channel === "email");
      if (!accept) return undefined;
      world.hit("event about another tenant's message");
      const request = sendgridPost(
        tenant,
        world.parts.base.signingKey,
        [
          {
            email: "nobody@people.example",
            event: "bounce",
            type: "bounce",
            status: "5.1.1",
            timestamp: Math.floor(world.now / 1000),
            sg_event_id: `stranger-${event.id}`,
            outrider_message_id: accept.messageId,
          },
        ],
        world.now,
      );
      deliver(
        world,
        tenant,
        { what: "an event about another tenant's message", target: "webhooks", request },
        (status) => model.acknowledged(tenant, request, status),
      );
      return undefined;
    }
    case "clock_jump":
      world.hit("clock jumps ahead");
      world.now += operation.milliseconds;
      return undefined;
    case "sweep":
      world.schedule("sweep");
      return undefined;
  }
}
