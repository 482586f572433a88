/** Queue `imports`: read a stored file on, a chunk per transaction, until it ends or the time does. */
import { runImports } from "@outrider/core/intake";
import { type Host, lazily } from "./lib/runtime.ts";
import { consumer } from "./lib/sqs.ts";

export const define = (host: Host) =>
  consumer(host, "imports", (ctx, ids, limits) => runImports(host, ctx, ids, limits));
export const handler = lazily(define);
