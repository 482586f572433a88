/** Random changes of signed requests. Invariant: the same generator draws the same attacks. */
import type { WebhookRequest } from "../../core/ports/sender.ts";
import type { Random } from "../long/report.ts";
import {
  type Attack,
  type Base,
  flipped,
  headerNames,
  signatureHeader,
  signatureOf,
  timestamp,
  withBody,
  withHeader,
  withUrl,
} from "./signatures.ts";

const junk = [" ", "\n", "\0", "\ufeff", "&", "=", "%", "+", ",", "[", "}", '"'];

/** A random change: several bits, bytes moved, doubled, dropped or put in, fields permuted, in one part or in two. */
export function randomChange(base: Base, random: Random): Attack {
  const first = oneChange(base, base.request, random);
  if (!random.chance(0.2)) return first;
  const second = oneChange(base, first.request, random);
  return { kind: `${first.kind}, ${second.kind}`, request: second.request };
}

function oneChange(base: Base, request: WebhookRequest, random: Random): Attack {
  const header = signatureHeader(base);
  switch (random.below(base.provider === "sendgrid" ? 7 : 8)) {
    case 0: {
      const bytes = Buffer.from(signatureOf(base), "base64");
      let changed: Buffer = bytes;
      for (let n = 1 + random.below(8); n > 0; n--) changed = flipped(changed, random.below(bytes.length * 8));
      return { kind: "signature bits", request: withHeader(request, header, changed.toString("base64")) };
    }
    case 1: {
      const bytes = Buffer.from(
        Array.from({ length: Buffer.from(signatureOf(base), "base64").length }, () => random.below(256)),
      );
      return { kind: "signature invented", request: withHeader(request, header, bytes.toString("base64")) };
    }
    case 2: {
      let changed: Buffer = Buffer.from(request.body);
      for (let n = 2 + random.below(8); n > 0 && changed.length > 0; n--)
        changed = flipped(changed, random.below(changed.length * 8));
      return { kind: "body bits", request: withBody(request, changed) };
    }
    case 3: {
      const text = Buffer.from(request.body);
      const at = random.below(text.length + 1);
      return {
        kind: "body put in",
        request: withBody(
          request,
          Buffer.concat([text.subarray(0, at), Buffer.from(random.pick(junk)), text.subarray(at)]),
        ),
      };
    }
    case 4: {
      const text = Buffer.from(request.body);
      const [a, b] = [random.below(text.length + 1), random.below(text.length + 1)].toSorted((x, y) => x - y);
      return {
        kind: "body cut out",
        request: withBody(request, Buffer.concat([text.subarray(0, a), text.subarray(b)])),
      };
    }
    case 5: {
      const parts = Buffer.from(request.body)
        .toString("latin1")
        .split(/(?=[&,{])/);
      const [a, b] = [random.below(parts.length), random.below(parts.length)];
      [parts[a], parts[b]] = [parts[b] ?? "", parts[a] ?? ""];
      if (random.chance(0.3)) parts.splice(a, 0, parts[b] ?? "");
      return { kind: "body parts moved", request: withBody(request, Buffer.from(parts.join(""), "latin1")) };
    }
    case 6: {
      if (base.provider === "sendgrid") {
        const shift = (random.below(2) * 2 - 1) * (1 + random.below(100_000));
        return {
          kind: "timestamp shifted",
          request: withHeader(request, headerNames.timestamp, String(Number(timestamp) + shift)),
        };
      }
      const at = request.url.indexOf("/webhooks") + random.below(request.url.length - request.url.indexOf("/webhooks"));
      const url = `${request.url.slice(0, at)}${random.pick(["a", "%61", "/", "?x=1", "&x=1", "//", "%2F", ";", "%00", "é"])}${request.url.slice(at + random.below(2))}`;
      return {
        kind: "url changed",
        request: URL.canParse(url) ? withUrl(request, url) : withHeader(request, header, ""),
      };
    }
    default: {
      const fields = Buffer.from(request.body).toString("latin1").split("&");
      const at = random.below(fields.length);
      const extra = random.pick([
        "Body=STOP",
        "AccountSid=AC2",
        "MessageSid=SM9",
        "__proto__=x",
        "constructor=y",
        "To=%2B1",
        "Body",
        "=x",
        "toString=1",
      ]);
      fields.splice(at, random.below(2), extra);
      return { kind: "field put in", request: withBody(request, Buffer.from(fields.join("&"), "latin1")) };
    }
  }
}
