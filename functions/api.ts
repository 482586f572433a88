/**
 * HTTP: the tenant REST API (`/v1`), its OpenAPI document and the health of the installation.
 *
 * Invariant: every endpoint is a value in one of the lists below, which the server and the document are both made from.
 */
import { health } from "@outrider/core/operator";
import type { Context as HttpContext } from "hono";
import { campaignEndpoints } from "./api/campaigns.ts";
import { conversationEndpoints } from "./api/conversations.ts";
import { crmEndpoints } from "./api/crm.ts";
import { openApiDocument } from "./api/document.ts";
import type { Endpoint } from "./api/endpoint.ts";
import { goldenEndpoints } from "./api/golden.ts";
import { intakeEndpoints } from "./api/intake.ts";
import { messageEndpoints } from "./api/messages.ts";
import { sendingEndpoints } from "./api/sending.ts";
import { checkEndpoints, serve } from "./api/server.ts";
import { simulationEndpoints } from "./api/simulations.ts";
import { statusEndpoints } from "./api/status.ts";
import { suppressionEndpoints } from "./api/suppressions.ts";
import { templateEndpoints } from "./api/templates.ts";
import { tenancyEndpoints } from "./api/tenancy.ts";
import { lambda } from "./lib/http.ts";
import { type Host, lazily } from "./lib/runtime.ts";

export const endpoints: readonly Endpoint[] = [
  ...crmEndpoints,
  ...goldenEndpoints,
  ...intakeEndpoints,
  ...campaignEndpoints,
  ...simulationEndpoints,
  ...messageEndpoints,
  ...conversationEndpoints,
  ...suppressionEndpoints,
  ...templateEndpoints,
  ...sendingEndpoints,
  ...tenancyEndpoints,
  ...statusEndpoints,
];

/** Of the API, not of the package: it changes when a client must. */
const version = "1.0.0";

/** How long the database may take to answer before the installation counts as down. */
const healthLimitMs = 2_000;

/** The app by itself: what tests call. */
export function createApi(host: Host) {
  checkEndpoints(endpoints);
  let document: string | undefined;
  return serve(host, endpoints, [
    {
      path: "/openapi.json",
      run: async (c: HttpContext) => {
        document ??= JSON.stringify(openApiDocument(endpoints, { serverUrl: host.publicUrl, version }));
        return c.body(document, 200, { "content-type": "application/json" });
      },
    },
    {
      path: "/health",
      run: async (c: HttpContext) => {
        const report = await health(host.db, healthLimitMs);
        return c.json(report, report.status === "ok" ? 200 : 503);
      },
    },
  ]);
}

export const define = (host: Host) => lambda(createApi(host));
export const handler = lazily(define);
