/** Requests that no person made. Pure. A wrong "machine" costs a figure, a wrong "person" sends somebody the next message: in doubt, machine. */

/** Privacy proxies that fetch everything at once, link scanners, previews, libraries. Proxies that fetch when a person reads (Gmail's, Yahoo's) are not here. */
const agents: readonly RegExp[] = [
  // Apple's Mail Privacy Protection says this and no more.
  /^Mozilla\/5\.0$/,
  /bot\b|crawl|spider|scan|preview|headless|monitor|validator|fetcher/i,
  /barracuda|proofpoint|mimecast|symantec|safelinks|messagelabs|trendmicro|fireeye|cloudmark|ironport|zscaler/i,
  /slack|facebookexternalhit|whatsapp|telegram|discord|skypeuripreview|linkedin/i,
  /^(curl|wget|python|java|go-http-client|okhttp|axios|node|ruby|php|perl|libwww|httpclient|apache-httpclient)\b/i,
];

const prefetch = ["purpose", "sec-purpose", "x-purpose", "x-moz"] as const;

/** @param headers names in lower case */
export function isMachine(method: string, headers: Readonly<Record<string, string>>): boolean {
  if (method === "HEAD") return true;
  if (prefetch.some((name) => /prefetch|preview|prerender/i.test(headers[name] ?? ""))) return true;
  const agent = headers["user-agent"]?.trim() ?? "";
  return agent === "" || agents.some((pattern) => pattern.test(agent));
}
