/** What every test file starts from, whichever files ran before it in the same process. */
import fc from "fast-check";
import { seedIds } from "../../core/kernel/id.ts";

/** Properties draw the same cases in every `npm test`, so that a red run means a change; `npm run test:long` draws new ones each time. */
if (process.env["OUTRIDER_LONG"] !== "1") fc.configureGlobal({ seed: 20_261_121 });

/** Ids never go back in time: a file whose clock stood in the future would date those of the next one. */
seedIds(Math.random);
