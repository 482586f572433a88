/** Endpoints that name a row by its id, and ids and bodies of the right form to ask them with. Invariant: an endpoint is found by its path alone. */
import { idPrefixes } from "../../../core/kernel/id.ts";
import { pathFields } from "../../../functions/api/endpoint.ts";
import { endpoints } from "../../../functions/api.ts";
import { smallPlan } from "./everything.ts";
import { missingId } from "./support.ts";

const prefixOf: Readonly<Record<string, keyof typeof idPrefixes>> = {
  leads: "lead",
  contacts: "contact",
  people: "person",
  companies: "company",
  segments: "segment",
  imports: "import",
  campaigns: "campaign",
  enrollments: "enrollment",
  templates: "template",
  senders: "sender",
  channels: "channelConfig",
  "rate-limits": "rateLimit",
  "api-keys": "apiKey",
  suppressions: "suppression",
  conversations: "conversation",
  deliveries: "delivery",
  messages: "message",
  simulations: "simulation",
  tasks: "task",
  consents: "consent",
};
/** `/v1/leads/{id}` → `leads` */
export const resourceOf = (path: string) => path.split("/")[2] ?? "";
/** An id of the right form that nobody has. */
export const exampleOf = (path: string, name: string) =>
  name === "key" ? "nobody.has.this" : missingId(idPrefixes[prefixOf[resourceOf(path)] ?? "lead"]);

/** A body that passes the form of every endpoint with an id, so that only the id is left to refuse. */
export const bodies: Readonly<Record<string, object>> = {
  "patch /v1/leads/{id}": { status: "hot" },
  "post /v1/imports/uploads/{uploadId}/complete": { parts: 1, source: "fair" },
  "post /v1/suppressions/{id}/lift": { note: "asked" },
  "post /v1/campaigns/{id}/versions": { plan: smallPlan },
  "post /v1/campaigns/{campaignId}/enroll": { audience: { all: true } },
};

export const withIds = endpoints.filter(({ path }) => pathFields(path).some((name) => name !== "key"));
