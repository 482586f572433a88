/**
 * What `/` of a local system answers: where everything is. Only here: deployed, the API has no front page.
 * Invariant: it shows addresses and never a key, because any page in the browser may fetch it.
 */
import { escapeHtml } from "./simulator/http.ts";

export interface Front {
  readonly url: string;
  /** Null: messages go to the real providers. */
  readonly simulatorUrl: string | null;
}

const style = `body{font:16px/1.6 system-ui,sans-serif;margin:4rem auto;max-width:42rem;padding:0 1rem;color:#1a1a1a}
dt{font-weight:600}dd{margin:0 0 .8rem}a{color:#0b57d0}`;

/** @param accept the request's header: a page for browsers, JSON for everyone else */
export function frontPage({ url, simulatorUrl }: Front, accept = ""): { readonly type: string; readonly body: string } {
  const links = { openapi: `${url}/openapi.json`, health: `${url}/health`, api: `${url}/v1`, simulator: simulatorUrl };
  if (!accept.includes("text/html"))
    return { type: "application/json", body: JSON.stringify({ name: "outrider", ...links }) };
  const link = (address: string) => `<a href="${escapeHtml(address)}">${escapeHtml(address)}</a>`;
  const rows = [
    ["API, described", link(links.openapi)],
    ["Health", link(links.health)],
    [
      "Mailbox of the simulator: everything that was “sent”",
      simulatorUrl === null ? "off: messages go to the real providers" : link(simulatorUrl),
    ],
    ["Command line", "<code>npx outrider --help</code>, <code>npx outrider status</code>"],
  ];
  const list = rows.map(([name, value]) => `<dt>${name}</dt><dd>${value}</dd>`).join("");
  const head = `<meta charset="utf-8"><title>Outrider</title><style>${style}</style>`;
  return {
    type: "text/html; charset=utf-8",
    body: `<!doctype html><html lang="en"><head>${head}</head><body><h1>Outrider runs here</h1><dl>${list}</dl></body></html>`,
  };
}
