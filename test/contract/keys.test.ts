/** One suite, three key services: the key file, KMS (its wire commands answered by a stand-in) and the one in memory. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import {
  DecryptCommand,
  GenerateDataKeyCommand,
  InvalidCiphertextException,
  type KMSClient,
} from "@aws-sdk/client-kms";
import { afterAll, describe, expect, test } from "vitest";
import { open, seal } from "../../core/kernel/seal.ts";
import type { KeyService } from "../../core/ports/secrets.ts";
import { keyFile } from "../../core/providers/keyfile/index.ts";
import { kmsKeys } from "../../core/providers/kms/index.ts";
import { memoryKeys } from "../../core/providers/memory/index.ts";

const home = mkdtempSync(path.join(os.tmpdir(), "outrider-keys-"));
afterAll(() => rmSync(home, { recursive: true, force: true }));

/** Answers as KMS documents: what does not open in its encryption context is an InvalidCiphertextException. */
function kmsStandIn(): Pick<KMSClient, "send"> {
  const inner = memoryKeys("arn:aws:kms:eu-central-1:000000000000:key/1");
  const send = async (command: unknown) => {
    if (command instanceof GenerateDataKeyCommand) {
      const { plaintext, wrapped } = await inner.generateDataKey(command.input.EncryptionContext ?? {});
      return { Plaintext: plaintext, CiphertextBlob: wrapped };
    }
    if (!(command instanceof DecryptCommand)) throw new Error("an unexpected command");
    const { KeyId = "", CiphertextBlob = new Uint8Array(), EncryptionContext = {} } = command.input;
    const Plaintext = await inner.unwrapDataKey(KeyId, CiphertextBlob, EncryptionContext).catch(() => {
      throw new InvalidCiphertextException({ message: "", $metadata: {} });
    });
    return { Plaintext };
  };
  return { send } as unknown as Pick<KMSClient, "send">;
}

const context = { tenant: "tenant_a", row: "chc_1", column: "channel_configs.credentials" };

describe.each<[string, KeyService]>([
  ["a key file", await keyFile(path.join(home, "key"))],
  ["KMS", kmsKeys({ client: kmsStandIn(), keyId: "arn:aws:kms:eu-central-1:000000000000:key/1" })],
  ["memory", memoryKeys()],
])("keys from %s", (_name, keys) => {
  test("a data key opens in the context it was made for, whatever the order of its pairs", async () => {
    const { plaintext, wrapped } = await keys.generateDataKey(context);
    const again = { column: context.column, row: context.row, tenant: context.tenant };
    expect(await keys.unwrapDataKey(keys.keyId, wrapped, again)).toEqual(plaintext);
    expect(plaintext).toHaveLength(32);
  });

  test.each([
    ["another tenant", { ...context, tenant: "tenant_b" }],
    ["another row", { ...context, row: "chc_2" }],
    ["another column", { ...context, column: "api_keys.hash" }],
    ["fewer pairs", { tenant: context.tenant }],
    ["a shifted boundary", { ...context, tenant: "tenant_achc", row: "_1" }],
  ])("it does not open for %s", async (_what, other) => {
    const { wrapped } = await keys.generateDataKey(context);
    await expect(keys.unwrapDataKey(keys.keyId, wrapped, other)).rejects.toMatchObject({ code: "keys.refused" });
  });

  test("one flipped bit anywhere and it does not open", async () => {
    const { wrapped } = await keys.generateDataKey(context);
    for (const at of wrapped.keys()) {
      const damaged = wrapped.slice();
      damaged[at] = (damaged[at] ?? 0) ^ 1;
      await expect(keys.unwrapDataKey(keys.keyId, damaged, context)).rejects.toMatchObject({ code: "keys.refused" });
    }
  });

  test("no two data keys are the same, and the wrapped form does not show the key", async () => {
    const [one, two] = await Promise.all([keys.generateDataKey(context), keys.generateDataKey(context)]);
    expect(one.plaintext).not.toEqual(two.plaintext);
    expect(Buffer.from(one.wrapped).includes(Buffer.from(one.plaintext))).toBe(false);
  });

  test("a sealed value opens where it was sealed and nowhere else", async () => {
    const place = { tenantId: "tenant_a", row: "chc_1", column: "channel_configs.credentials" };
    const sealed = await seal(keys, "SG.secret", place);
    expect(await open(keys, sealed, place)).toBe("SG.secret");
    await expect(open(keys, sealed, { ...place, tenantId: "tenant_b" })).rejects.toMatchObject({ code: "seal.broken" });
  });
});

describe("the key file", () => {
  test("is made once, readable by its owner only, and opens what it wrapped after a restart", async () => {
    const file = path.join(home, "restart/key");
    const first = await keyFile(file);
    const { plaintext, wrapped } = await first.generateDataKey(context);
    const second = await keyFile(file);
    expect(await second.unwrapDataKey(first.keyId, wrapped, context)).toEqual(plaintext);
    expect(second.derive("links")).toEqual(first.derive("links"));
    expect(second.derive("links")).not.toEqual(second.derive("other"));
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file)).toHaveLength(32);
  });

  test("twenty starters at once agree on one key", async () => {
    const file = path.join(home, "race/key");
    const all = await Promise.all(Array.from({ length: 20 }, () => keyFile(file)));
    expect(new Set(all.map(({ keyId }) => keyId)).size).toBe(1);
  });

  test("a damaged file is refused with a way out, and left as it is", async () => {
    const file = path.join(home, "damaged");
    writeFileSync(file, "short");
    await expect(keyFile(file)).rejects.toThrow(/damaged is not a key file \(5 bytes instead of 32\)\. Restore it/);
    expect(readFileSync(file, "utf8")).toBe("short");
  });

  test("what another key wrapped is refused", async () => {
    const [one, two] = await Promise.all([keyFile(path.join(home, "one")), keyFile(path.join(home, "two"))]);
    const { wrapped } = await one.generateDataKey(context);
    await expect(two.unwrapDataKey(one.keyId, wrapped, context)).rejects.toMatchObject({ code: "keys.refused" });
  });
});

test("a KMS that cannot be reached is unavailable", async () => {
  const client = { send: () => Promise.reject(new Error("ETIMEDOUT")) } as unknown as Pick<KMSClient, "send">;
  const keys = kmsKeys({ client, keyId: "k" });
  await expect(keys.generateDataKey(context)).rejects.toMatchObject({ kind: "unavailable" });
  await expect(keys.unwrapDataKey("k", new Uint8Array(1), context)).rejects.toMatchObject({ kind: "unavailable" });
});
