/** The demo tenant made ready: who it is, what it may send, how fast, and which list it has. All of it through the same commands the API calls. */
import { setTimeout as wait } from "node:timers/promises";
import { createImport, getImport, type ImportView } from "../../core/intake/index.ts";
import type { Context } from "../../core/kernel/context.ts";
import { putRateLimit } from "../../core/tenancy/index.ts";
import type { System } from "../system.ts";
import { peopleCsv } from "./people.ts";

/** Slow enough that a list of this size meets its limits. */
const limits = [
  { channel: "email", maxCount: 120, windowSeconds: 60 },
  { channel: "email", maxCount: 1_000, windowSeconds: 3_600 },
  { channel: "sms", maxCount: 30, windowSeconds: 60 },
  { channel: "sms", maxCount: 200, windowSeconds: 3_600 },
] as const;

/** The demo tenant comes ready to send; the demo only slows it down. */
export async function prepareTenant(ctx: Context): Promise<void> {
  for (const limit of limits) await putRateLimit(ctx, { scope: "tenant", ...limit });
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
