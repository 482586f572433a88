/** Queue `actions`: move the enrollments whose time has come. */
import { runActions } from "@outrider/core/campaigns";
import { type Host, lazily } from "./lib/runtime.ts";
import { consumer } from "./lib/sqs.ts";

export const define = (host: Host) =>
  consumer(host, "actions", (ctx, ids, limits) => runActions(ctx, ids, limits.remainingMs));
export const handler = lazily(define);
