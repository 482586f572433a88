/**
 * What handlers reach outside of the database (the queue, the providers), and what reaches them from outside: requests and commands.
 *
 * Invariant: each is a turn of the handler that does it, so the seed decides when it happens.
 */
import type { Context } from "../../core/kernel/index.ts";
import type { Bell } from "../../core/ports/index.ts";
import type { HttpCall, HttpResult } from "../../core/providers/http.ts";
import type { Host } from "../../functions/lib/runtime.ts";
import type { SimTenant } from "./base.ts";
import { running } from "./clock.ts";
import { strike } from "./fates.ts";
import { Invocation } from "./invocation.ts";
import { answerOf, lookUp } from "./providers.ts";
import type { Reaction, WebRequest } from "./recipients.ts";
import type { LookedUp } from "./wire.ts";
import type { World } from "./world.ts";

const minute = 60_000;

function current(): Invocation {
  const invocation = running.getStore();
  if (!(invocation instanceof Invocation)) throw new Error("nobody is running");
  return invocation;
}

export function ring(world: World, bells: readonly Bell[]): Promise<void> {
  const invocation = current();
  if (bells.length === 0) return Promise.resolve();
  return new Promise((resolve, reject) =>
    invocation.add({
      kind: "ring",
      label: `rings ${bells.map((bell) => `${bell.kind} ${bell.ids.length}`).join(", ")}`,
      readyAt: world.now,
      run: () => {
        if (world.script.faults.bells && !world.calm && world.chances.chance(0.02)) {
          world.hit("queue unavailable");
          reject(new Error("the queue does not answer"));
          return;
        }
        for (const bell of bells) world.queue.send(bell, world.now, world.script.faults.bells && !world.calm);
        resolve();
      },
    }),
  );
}

/** One HTTP request to a provider: it arrives, and then its answer comes, or does not. */
export function call(world: World, request: HttpCall): Promise<HttpResult> {
  const invocation = current();
  const begunAt = world.now;
  return new Promise((resolve) =>
    invocation.add({
      kind: "call",
      label: "calls its provider",
      readyAt: world.now,
      run: async (step) => {
        const { result, afterMs, messageId, isAccepted } = await answerOf(world, invocation, request, {
          step,
          begunAt,
        });
        strike(world, invocation, isAccepted);
        // The worst moment to come back is when somebody else has taken the same message up.
        for (const other of world.active) if (other.frozen && other.holds === messageId) other.frozenUntil = world.now;
        const what = "status" in result ? String(result.status) : result.kind;
        invocation.add({
          kind: "call",
          label: `gets ${what}`,
          readyAt: world.now + afterMs,
          run: () => {
            const { fate } = invocation;
            if (fate.kind === "freeze_after" && invocation.turns > fate.turn && !invocation.frozenUntil) {
              world.turns.freezeWith(invocation, fate.milliseconds, what, () => resolve(result));
              invocation.holds = messageId;
            } else resolve(result);
          },
        });
      },
    }),
  );
}

/** Somebody asks a provider what became of a call. */
export function ask(world: World, messageId: string): Promise<LookedUp> {
  const invocation = current();
  return new Promise((resolve) =>
    invocation.add({
      kind: "call",
      label: "asks its provider",
      readyAt: world.now,
      run: () => {
        const answer = lookUp(world, messageId, world.chances);
        world.log(`told ${answer.kind}`);
        resolve(answer);
      },
    }),
  );
}

/** Sends a request until it is answered; a provider tries again for a day. */
export function deliver(
  world: World,
  tenant: SimTenant,
  reaction: Pick<Reaction, "what" | "target"> & { readonly request: WebRequest },
  onAck: (status: number, invocation: Invocation) => void | Promise<void>,
  onBegin: (invocation: Invocation) => void = () => {},
  tries = 0,
): void {
  const { request, target, what } = reaction;
  const [path = "", query = ""] = request.path.split("?");
  const again = () => {
    if (tries < 8)
      world.at(world.now + (2 + tries * 40) * minute, `${what} again`, () =>
        deliver(world, tenant, reaction, onAck, onBegin, tries + 1),
      );
  };
  const invocation = world.invoke(
    target,
    10,
    (handlers, context) =>
      handlers[target](
        {
          version: "2.0",
          routeKey: "$default",
          rawPath: path,
          rawQueryString: query,
          headers: {
            host: "go.simulation.example",
            "content-length": String(request.body.length),
            ...request.headers,
          },
          requestContext: {
            http: { method: request.method, path, sourceIp: "203.0.113.9", protocol: "HTTP/1.1", userAgent: "" },
            requestId: "r",
          },
          body: request.body.length > 0 ? request.body.toString("base64") : undefined,
          isBase64Encoded: true,
        } as never,
        context,
      ),
    (answer) => {
      const { statusCode = 500 } = (answer ?? {}) as { statusCode?: number };
      world.log(`answered ${statusCode}`);
      world.checks.push(async () => onAck(statusCode, invocation));
      if (statusCode >= 500) again();
    },
    again,
  );
  world.model.watch(invocation, again);
  onBegin(invocation);
}

/** A command of an operator, in a process like any other. */
export function command(
  world: World,
  tenant: SimTenant,
  name: string,
  call: (ctx: Context, host: Host) => Promise<unknown>,
  onDone: (invocation: Invocation) => void = () => {},
  onLost: () => void = () => {},
): Invocation {
  const invocation = world.invoke(
    name,
    29,
    (_handlers, _context, host) =>
      call(
        { ...host.contextFor(tenant.tenantId, "api", "corr_sim"), actor: { type: "user", id: tenant.actorId } },
        host,
      ),
    (_answer, ended) => onDone(ended),
    (error) => {
      world.log(`refused: ${error instanceof Error ? error.message.slice(0, 100) : ""}`);
      onLost();
    },
  );
  world.model.watch(invocation, onLost);
  return invocation;
}
