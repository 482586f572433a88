/**
 * The pages that recipients see. Constants: whoever asks, with whatever token, sees the same, so that a page tells nobody whether an address
 * is known. No script, no cookie, no request to anybody.
 */
export const pageHeaders = {
  "content-security-policy":
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
  "x-robots-tag": "noindex, nofollow",
  "cache-control": "no-store",
} as const;

const page = (title: string, body: string): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>
body { font: 1.1rem/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 32rem; margin: 15vh auto 0; padding: 0 1.5rem }
h1 { font-size: 1.5rem }
button { font: inherit; padding: .6rem 1.4rem; border: 0; border-radius: .4rem; background: #1a4fa3; color: #fff; cursor: pointer }
button:focus-visible { outline: 3px solid #1a1a1a; outline-offset: 2px }
@media (prefers-color-scheme: dark) { body { color: #eee; background: #161616 } button { background: #7aa7f0; color: #111 } }
</style>
</head>
<body>
<main>
<h1>${title}</h1>
${body}
</main>
</body>
</html>
`;

/** The form goes to the address it stands at, which carries the token. */
export const unsubscribePage = page(
  "Unsubscribe",
  `<p>You will receive no further messages of this kind from this sender.</p>
<form method="post"><button type="submit">Unsubscribe</button></form>`,
);

export const donePage = page(
  "You are unsubscribed",
  "<p>You will receive no further messages of this kind from this sender. You can close this page.</p>",
);

export const notFoundPage = page(
  "This link leads nowhere",
  "<p>It may be incomplete. Please copy the whole link from the message you received.</p>",
);
