/**
 * What the simulator must remember: the accept log, who opted out, its signing key, and the latest message bodies.
 *
 * Invariant: an acknowledged accept is on disk. The log is the referee for "at most once", so it outlives `kill -9`
 * of the simulator and of everybody who talks to it. Bodies are a convenience and bounded in memory.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { type FileHandle, mkdir, open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Behaviour } from "./script.ts";

/** An append-only NDJSON file. Appends that wait for the same fsync share it, so load makes it cheaper, not slower. */
export class Journal<T> {
  readonly entries: T[];
  /** Number of fsyncs so far. */
  syncs = 0;
  readonly #file: FileHandle;
  #waiting: { line: string; done: () => void; failed: (error: unknown) => void }[] = [];
  #busy = false;
  #writing: Promise<void> = Promise.resolve();

  private constructor(file: FileHandle, entries: T[]) {
    this.#file = file;
    this.entries = entries;
  }

  /** Reads what is there. A torn last line was never acknowledged and is cut off. */
  static async open<T>(path: string): Promise<Journal<T>> {
    const file = await open(path, "a+");
    const text = await file.readFile("utf8");
    const whole = text.slice(0, text.lastIndexOf("\n") + 1);
    if (whole.length < text.length) await file.truncate(Buffer.byteLength(whole));
    const entries = whole
      .split("\n")
      .filter((line) => line !== "")
      .map((line): T => JSON.parse(line));
    return new Journal(file, entries);
  }

  /** Resolves once the entry is on disk; it is in `entries` at once. */
  append(entry: T): Promise<void> {
    this.entries.push(entry);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ line: `${JSON.stringify(entry)}\n`, done: resolve, failed: reject });
    if (!this.#busy) {
      this.#busy = true;
      this.#writing = this.#drain();
    }
    return promise;
  }

  async #drain(): Promise<void> {
    // The requests already read from their sockets in this turn join the first write.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const group = this.#waiting;
      this.#waiting = [];
      try {
        await this.#file.appendFile(group.map((one) => one.line).join(""));
        await this.#file.datasync();
        this.syncs += 1;
        for (const one of group) one.done();
      } catch (error) {
        for (const one of group) one.failed(error);
      }
    }
    this.#busy = false;
  }

  async clear(): Promise<void> {
    await this.#writing;
    await this.#file.truncate(0);
    await this.#file.datasync();
    this.entries.length = 0;
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#file.close();
  }
}

/** One message taken over for delivery: a line of the accept log. */
export interface Accept {
  readonly provider: "sendgrid" | "twilio";
  /** The provider's id. SendGrid gives one per request, so a request to several recipients has several lines with it. */
  readonly messageId: string;
  /** Our id as it came with the message (custom argument or callback query), if it did. */
  readonly ourMessageId: string | null;
  readonly to: string;
  readonly from: string;
  readonly at: string;
  readonly ordinal: number;
  readonly subject?: string;
  /** Hex SHA-256 of the request body. */
  readonly bodySha256: string;
}

/** An accepted message with what its reactions need. */
export interface Message {
  readonly accept: Accept;
  readonly script: Behaviour;
  readonly account: string;
  readonly toName: string | null;
  readonly replyTo: string;
  readonly text: string;
  readonly html: string | null;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly customArgs: Readonly<Record<string, string>>;
  readonly categories: readonly string[];
  readonly callbackUrl: string | null;
  readonly messagingServiceSid: string | null;
}

interface OptOut {
  readonly from: string;
  readonly to: string;
  readonly at: string;
}

/** Bodies kept for people, tests and replies: 64 MiB, oldest gone first. */
const bodyBudgetBytes = 64 * 1024 * 1024;

const sizeOf = (message: Message) => 2 * (message.text.length + (message.html?.length ?? 0)) + 1024;

export class State {
  readonly accepts: Journal<Accept>;
  readonly signingKey: KeyObject;
  /** Base64 SPKI, the form in which the console shows it. */
  readonly publicKey: string;
  readonly #optOuts: Journal<OptOut>;
  readonly #optedOut = new Set<string>();
  readonly #ordinals = new Map<string, number>();
  /** Both the provider's ids and ours. */
  readonly #byId = new Map<string, Accept>();
  readonly #messages = new Map<string, Message>();
  #bodyBytes = 0;

  private constructor(accepts: Journal<Accept>, optOuts: Journal<OptOut>, signingKey: KeyObject) {
    this.accepts = accepts;
    this.signingKey = signingKey;
    this.publicKey = createPublicKey(signingKey).export({ format: "der", type: "spki" }).toString("base64");
    this.#optOuts = optOuts;
    for (const accept of accepts.entries) {
      this.nextOrdinal(accept.provider, accept.to);
      this.#index(accept);
    }
    for (const { from, to } of optOuts.entries) this.#optedOut.add(`${from}|${to}`);
  }

  static async open(dir: string): Promise<State> {
    await mkdir(dir, { recursive: true });
    const signingKey = await readSigningKey(join(dir, "sendgrid-key.pem"));
    const accepts = await Journal.open<Accept>(join(dir, "accepts.ndjson"));
    const optOuts = await Journal.open<OptOut>(join(dir, "opt-outs.ndjson"));
    return new State(accepts, optOuts, signingKey);
  }

  /** Counts: every call names the next message to that address. */
  nextOrdinal(provider: string, to: string): number {
    const key = `${provider}|${to}`;
    const ordinal = (this.#ordinals.get(key) ?? 0) + 1;
    this.#ordinals.set(key, ordinal);
    return ordinal;
  }

  /** Resolves when the accept is on disk: answer the sender only then. */
  async accept(message: Message): Promise<void> {
    const key = `${message.accept.messageId}|${message.accept.to}`;
    this.#messages.set(key, message);
    this.#bodyBytes += sizeOf(message);
    for (const [oldest, kept] of this.#messages) {
      if (this.#bodyBytes <= bodyBudgetBytes || oldest === key) break;
      this.#messages.delete(oldest);
      this.#bodyBytes -= sizeOf(kept);
    }
    this.#index(message.accept);
    await this.accepts.append(message.accept);
  }

  #index(accept: Accept): void {
    this.#byId.set(accept.messageId, accept);
    if (accept.ourMessageId !== null) this.#byId.set(accept.ourMessageId, accept);
  }

  /** By the provider's id or ours. `message` is null when its body is no longer kept. */
  find(id: string): { readonly accept: Accept; readonly message: Message | null } | null {
    const accept = this.#byId.get(id);
    if (accept === undefined) return null;
    return { accept, message: this.#messages.get(`${accept.messageId}|${accept.to}`) ?? null };
  }

  isOptedOut = (from: string, to: string): boolean => this.#optedOut.has(`${from}|${to}`);

  /** Twilio keeps the block per sender (number or Messaging Service) and recipient. */
  async optOut(from: string, to: string, at: Date): Promise<void> {
    if (this.isOptedOut(from, to)) return;
    this.#optedOut.add(`${from}|${to}`);
    await this.#optOuts.append({ from, to, at: at.toISOString() });
  }

  /** Forgets everything but the signing key. */
  async reset(): Promise<void> {
    await this.accepts.clear();
    await this.#optOuts.clear();
    this.#optedOut.clear();
    this.#ordinals.clear();
    this.#byId.clear();
    this.#messages.clear();
    this.#bodyBytes = 0;
  }

  async close(): Promise<void> {
    await this.accepts.close();
    await this.#optOuts.close();
  }
}

/** One key for the life of the directory: channels that were provisioned with it stay valid after a restart. */
async function readSigningKey(path: string): Promise<KeyObject> {
  try {
    return createPrivateKey(await readFile(path));
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    await writeFile(path, privateKey.export({ format: "pem", type: "pkcs8" }), { mode: 0o600 });
    return privateKey;
  }
}
