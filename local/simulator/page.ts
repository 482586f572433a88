/** The mailbox: a page that shows a person what was "sent". Everything shown came from outside, so everything is escaped. */
import { escapeHtml } from "./http.ts";
import type { Accept, Message } from "./state.ts";

const style = `body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1a1a1a}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}
th{color:#555;font-weight:600}pre{white-space:pre-wrap;background:#f6f6f6;padding:1rem}iframe{width:100%;height:32rem;border:1px solid #ddd}a{color:#0b57d0}`;

const layout = (title: string, body: string) =>
  `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(title)}</title><style>${style}</style></head><body>${body}</body></html>`;

const shownRows = 200;

/** The latest accepts, newest first. */
export function mailboxPage(accepts: readonly Accept[], pending: number): string {
  const rows = accepts
    .slice(-shownRows)
    .reverse()
    .map(
      (one) =>
        `<tr><td>${escapeHtml(one.at)}</td><td>${one.provider}</td><td>${escapeHtml(one.to)}</td><td>${escapeHtml(one.from)}</td><td><a href="/messages/${encodeURIComponent(one.messageId)}">${escapeHtml(one.subject ?? one.messageId)}</a></td></tr>`,
    )
    .join("");
  const summary = `<p>${accepts.length} messages accepted, ${pending} reactions to come. Nothing leaves this machine.</p>`;
  const head = "<tr><th>At</th><th>Provider</th><th>To</th><th>From</th><th>Subject</th></tr>";
  return layout("Mailbox", `<h1>Mailbox</h1>${summary}<table><thead>${head}</thead><tbody>${rows}</tbody></table>`);
}

/** One message with what its recipient does. The HTML part runs in a sandboxed frame without network, so looking at it opens nothing. */
export function messagePage(accept: Accept, message: Message | null): string {
  const facts = Object.entries(accept)
    .map(([name, value]) => `<tr><th>${escapeHtml(name)}</th><td>${escapeHtml(String(value))}</td></tr>`)
    .join("");
  const script = message?.script
    .map(
      (one) =>
        `<tr><td>+${one.afterSeconds} s</td><td>${escapeHtml(one.kind)}</td><td>${"text" in one ? escapeHtml(one.text) : ""}</td></tr>`,
    )
    .join("");
  const body =
    message === null
      ? "<p>Its body is no longer kept.</p>"
      : `<h2>Recipient</h2><table>${script}</table><h2>Text</h2><pre>${escapeHtml(message.text)}</pre>${
          message.html === null ? "" : `<h2>HTML</h2><iframe sandbox srcdoc="${escapeHtml(message.html)}"></iframe>`
        }`;
  return layout(
    accept.subject ?? accept.messageId,
    `<p><a href="/">Mailbox</a></p><h1>${escapeHtml(accept.subject ?? accept.messageId)}</h1><table>${facts}</table>${body}`,
  );
}
