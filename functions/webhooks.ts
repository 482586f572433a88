/** HTTP: webhooks of providers. Verify on raw bytes, archive, ring, answer; what they mean is found out by `deliveries`. */
import { WebhookIntake } from "@outrider/core/deliveries";
import { Hono } from "hono";
import { lambda, withProblems } from "./lib/http.ts";
import { type Host, lazily } from "./lib/runtime.ts";

export function app(host: Host): Hono {
  const intake = new WebhookIntake({
    db: host.db,
    keys: host.keys,
    blobs: host.blobs,
    webhooks: host.webhooks,
    wallClock: () => new Date(),
    contextFor: (tenantId) => host.contextFor(tenantId, "webhooks"),
  });
  return withProblems(host, new Hono()).post("/webhooks/:provider/:channelConfigId", async (c) => {
    const { pathname, search } = new URL(c.req.url);
    const target = `${pathname}${search}`;
    await intake.receive({
      provider: c.req.param("provider"),
      channelConfigId: c.req.param("channelConfigId"),
      target,
      request: {
        url: `${host.publicUrl}${target}`,
        headers: c.req.header(),
        body: new Uint8Array(await c.req.arrayBuffer()),
      },
    });
    // Empty, because Twilio reads a body as TwiML; 200, because SendGrid's Inbound Parse asks for exactly that.
    return c.body(null, 200);
  });
}

export const define = (host: Host) => lambda(app(host));
export const handler = lazily(define);
