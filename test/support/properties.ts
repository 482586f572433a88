/** Properties draw the same cases in every `npm test`, so that a red run means a change; `npm run test:long` draws new ones each time. */
import fc from "fast-check";

if (process.env["OUTRIDER_LONG"] !== "1") fc.configureGlobal({ seed: 20_261_121 });
