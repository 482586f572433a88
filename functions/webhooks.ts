/** HTTP: webhooks of providers. Verify on raw bytes, archive, ring, answer; what they mean is found out by `deliveries`. */
import { Hono } from "hono";
import { lambda, withProblems } from "./lib/http.ts";
import { type Host, lazily } from "./lib/runtime.ts";
import { webhookIntake } from "./lib/webhook-intake.ts";

export function app(host: Host): Hono {
  const intake = webhookIntake(host);
  return withProblems(host, new Hono()).post("/webhooks/:provider/:channelConfigId", async (c) => {
    const { pathname, search } = new URL(c.req.url);
    const target = `${pathname}${search}`;
    const kept = await intake.receive({
      provider: c.req.param("provider"),
      channelConfigId: c.req.param("channelConfigId"),
      target,
      request: {
        url: `${host.publicUrl}${target}`,
        headers: c.req.header(),
        body: new Uint8Array(await c.req.arrayBuffer()),
      },
    });
    if (kept === null) host.log.warn("webhook.spilled", { provider: c.req.param("provider") });
    // Empty, because Twilio reads a body as TwiML; 200, because SendGrid's Inbound Parse asks for exactly that.
    return c.body(null, 200);
  });
}

export const define = (host: Host) => lambda(app(host));
export const handler = lazily(define);
