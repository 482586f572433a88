/** The demo tenant made ready: who it is, what it may send, how fast, and which list it has. All of it through the same commands the API calls. */
import { setTimeout as wait } from "node:timers/promises";
import { createImport, getImport, type ImportView } from "../../core/intake/index.ts";
import type { Context } from "../../core/kernel/context.ts";
import {
  createSender,
  getTenant,
  listRateLimits,
  markSenderVerified,
  putRateLimit,
  setDefaultSender,
  updateChannel,
  updateRateLimit,
  updateTenantSettings,
} from "../../core/tenancy/index.ts";
import type { System } from "../system.ts";
import { peopleCsv } from "./people.ts";

/** Where replies of the demo go; the simulator plays the provider's inbound parsing for it. */
const inboundDomain = "reply.outrider.example";

export async function prepareTenant(system: System, ctx: Context): Promise<void> {
  const { host } = system.local;
  const { sendgrid, twilio } = system.access.channels;
  if (!sendgrid || !twilio) throw new Error("the demo needs the provider simulator");
  await updateTenantSettings(ctx, {
    companyName: "Outrider Demo",
    postalAddress: "Outrider Demo, 1 Main Street, Springfield, IL 62701, USA",
    defaultCountry: "US",
    timeZone: "America/New_York",
  });
  await updateChannel(ctx, host, { id: sendgrid.id, settings: { inboundDomain } });
  await updateChannel(ctx, host, { id: twilio.id, settings: { from: "+12025550100" } });
  const sender = await createSender(ctx, {
    fromEmail: "ada@outrider.example",
    fromName: "Ada at Outrider",
    channelConfigId: sendgrid.id,
  });
  await markSenderVerified(ctx, { id: sender.id });
  await setDefaultSender(ctx, { id: sender.id });
  const { data: before } = await listRateLimits(ctx, {});
  for (const limit of before) await updateRateLimit(ctx, { id: limit.id, enabled: false });
  await putRateLimit(ctx, { scope: "tenant", channel: "email", maxCount: 120, windowSeconds: 60 });
  await putRateLimit(ctx, { scope: "tenant", channel: "email", maxCount: 1_000, windowSeconds: 3_600 });
  await putRateLimit(ctx, { scope: "tenant", channel: "sms", maxCount: 30, windowSeconds: 60 });
  await putRateLimit(ctx, { scope: "tenant", channel: "sms", maxCount: 200, windowSeconds: 3_600 });
  await getTenant(ctx, {});
}

/** Streams the list through the front door of intake and waits until the queue has worked on it. */
export async function importList(
  system: System,
  ctx: Context,
  onProgress: (view: ImportView) => void,
): Promise<ImportView> {
  const { host } = system.local;
  const made = await createImport(
    host,
    ctx,
    { fileName: "sp500-people.csv", source: "sp500", options: {} },
    peopleCsv(),
  );
  await host.queue.ring([{ kind: "imports", tenantId: ctx.tenantId, ids: [made.id] }]);
  for (;;) {
    const view = await getImport(ctx, { id: made.id });
    onProgress(view);
    if (view.status === "failed" || view.status === "cancelled")
      throw new Error(`the import ${view.status}: ${view.lastError ?? "no reason given"}`);
    if (view.status === "completed") return view;
    await wait(50);
  }
}
