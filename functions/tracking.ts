/**
 * HTTP: open pixel, click redirect, unsubscribe (RFC 8058).
 *
 * Invariants: a GET changes nothing about consent, whoever makes it; a token that is not ours looks like any other; a redirect leads only to
 * an address that this tenant put into a message.
 */
import { linkTarget, type OwnEvent, recordOwnEvents } from "@outrider/core/deliveries";
import { DomainError } from "@outrider/core/kernel";
import { type LinkKind, readLink } from "@outrider/core/messages";
import { type Context, Hono } from "hono";
import { lambda, withProblems } from "./lib/http.ts";
import { isMachine } from "./lib/machines.ts";
import { type Host, lazily } from "./lib/runtime.ts";
import { donePage, notFoundPage, pageHeaders, unsubscribePage } from "./lib/tracking-pages.ts";

/** The smallest transparent GIF. */
const pixel = Buffer.from("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7", "base64");
const pixelHeaders = {
  "content-type": "image/gif",
  "cache-control": "no-store, max-age=0",
  "content-length": String(pixel.length),
};

export function app(host: Host): Hono {
  const linkOf = (c: Context, kind: LinkKind) => readLink(host.signingKeys, kind, c.req.param("token") ?? "");
  const contextOf = (tenantId: string) => host.contextFor(tenantId, "tracking");
  const about = (c: Context) => ({
    machine: isMachine(c.req.method, c.req.header()),
    userAgent: c.req.header("user-agent"),
  });
  /** What a reader asked for is answered even when it cannot be written down. */
  const record = async (tenantId: string, event: OwnEvent) => {
    await recordOwnEvents(contextOf(tenantId), [event]).catch((error: unknown) =>
      host.log.warn("tracking.not_recorded", { tenantId, error }),
    );
  };

  return withProblems(host, new Hono())
    .get("/o/:token", async (c) => {
      const link = linkOf(c, "open");
      if (link) await record(link.tenantId, { type: "opened", messageId: link.messageId, ...about(c) });
      return c.body(pixel, 200, pixelHeaders);
    })
    .get("/c/:token", async (c) => {
      const link = linkOf(c, "click");
      const url = link?.linkId ? await linkTarget(contextOf(link.tenantId), link.linkId).catch(unknownTenant) : null;
      if (!link || !url) return c.html(notFoundPage, 404, pageHeaders);
      await record(link.tenantId, {
        type: "clicked",
        messageId: link.messageId,
        linkId: link.linkId,
        url,
        ...about(c),
      });
      return c.body(null, 302, {
        location: new URL(url).href,
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
      });
    })
    .get("/u/:token", (c) => c.html(unsubscribePage, 200, pageHeaders))
    .post("/u/:token", async (c) => {
      const link = linkOf(c, "unsubscribe");
      if (link) {
        const event: OwnEvent = { type: "unsubscribed", messageId: link.messageId, ...about(c), machine: false };
        await recordOwnEvents(contextOf(link.tenantId), [event]).catch(unknownTenant).catch(tryAgain);
      }
      const oneClick = (await c.req.text()).includes("One-Click");
      return oneClick ? c.text("", 200, { "cache-control": "no-store" }) : c.html(donePage, 200, pageHeaders);
    });
}

/** A tenant that is gone has no links and needs no unsubscribing; anything else is a failure. */
function unknownTenant(error: unknown): null {
  if (error instanceof DomainError && error.kind === "not_found") return null;
  throw error;
}

/** An unsubscribe that was not committed must never be answered with success. */
function tryAgain(cause: unknown): never {
  throw new DomainError(
    "unavailable",
    "tracking.unavailable",
    "This could not be stored at the moment. Please try again.",
    {
      cause,
      retryAfterSeconds: 30,
    },
  );
}

export const define = (host: Host) => lambda(app(host));
export const handler = lazily(define);
