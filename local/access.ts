/** `local.json` in the home directory: how tools and tests reach the running system. Written whole or not at all, readable by its owner only. */
import { readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import * as z from "zod";

const Channel = z.object({
  id: z.string(),
  webhookUrl: z.string(),
  /** What a test needs to sign webhooks as the provider would. */
  signing: z.record(z.string(), z.unknown()),
});

export const LocalAccess = z.object({
  baseUrl: z.string(),
  apiKey: z.string(),
  organizationId: z.string(),
  tenantId: z.string(),
  channels: z.record(z.string(), Channel),
  simulatorUrl: z.string().nullable(),
});
export type LocalAccess = z.output<typeof LocalAccess>;

const fileOf = (home: string): string => path.join(home, "local.json");

/** @returns undefined when there is none, or one that cannot be used */
export async function readAccess(home: string): Promise<LocalAccess | undefined> {
  try {
    return LocalAccess.safeParse(JSON.parse(await readFile(fileOf(home), "utf8"))).data;
  } catch {
    return undefined;
  }
}

export async function writeAccess(home: string, access: LocalAccess): Promise<void> {
  const file = fileOf(home);
  await writeFile(`${file}.new`, `${JSON.stringify(access, null, 2)}\n`, { mode: 0o600 });
  await rename(`${file}.new`, file);
}
