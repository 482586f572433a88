/**
 * Who is calling: from the bearer key to a context of its tenant.
 *
 * Invariant: every refused key gets the same words after the same work, so that a refusal tells nothing about which keys, tenants or
 * rows exist.
 */
import { type Context, DomainError, newId } from "@outrider/core/kernel";
import { type ApiScope, authenticate, hasScope } from "@outrider/core/tenancy";
import type { Context as HttpContext } from "hono";
import type { Host } from "../lib/runtime.ts";

const bearer = /^Bearer +([^\s]{1,200})$/i;
const correlation = /^[\w.:-]{1,100}$/;

const errors = {
  missing: () =>
    new DomainError("unauthenticated", "auth.missing", "Send an API key in the header Authorization: Bearer or_live_…"),
  invalid: () => new DomainError("unauthenticated", "auth.invalid", "This API key is not valid."),
  scope: (scope: ApiScope) =>
    new DomainError("forbidden", "auth.scope_missing", `This API key lacks the scope ${scope}.`),
  correlation: () =>
    new DomainError("invalid", "input.invalid", "X-Correlation-Id: at most 100 letters, digits and _ . : -", {
      fields: [{ path: "X-Correlation-Id", message: "at most 100 letters, digits and _ . : -" }],
    }),
};

/**
 * @returns the context that the request's core call runs in
 * @throws DomainError `auth.missing`, `auth.invalid`, `auth.scope_missing`
 */
export async function callerOf(host: Host, c: HttpContext, scope: ApiScope): Promise<Context> {
  const header = c.req.header("authorization");
  const key = header?.match(bearer)?.[1];
  const known = key === undefined ? null : await authenticate(host.db, key);
  if (!known) {
    const reason = header === undefined ? "missing" : "invalid";
    host.log.metric("AuthenticationsRefused", 1, "Count", { reason });
    throw errors[reason]();
  }
  if (!hasScope(known.scopes, scope)) {
    host.log.metric("AuthenticationsRefused", 1, "Count", { reason: "scope" });
    throw errors.scope(scope);
  }
  const correlationId = c.req.header("x-correlation-id") ?? newId("correlation", new Date());
  if (!correlation.test(correlationId)) throw errors.correlation();
  c.header("x-correlation-id", correlationId);
  return {
    ...host.contextFor(known.tenantId, "api", correlationId),
    actor: { type: known.actorType, id: known.actorId },
  };
}
