/**
 * What must be in place before any module of the system is loaded: virtual clocks, and a model instead of the network to the providers.
 * Invariant: the only module that is replaced is the one that opens sockets to providers.
 */
import { registerHooks } from "node:module";
import { installClock } from "./clock.ts";

installClock();
const wire = new URL("./wire.ts", import.meta.url).href;
registerHooks({
  resolve(specifier, context, next) {
    const found = next(specifier, context);
    return found.url.endsWith("/core/providers/http.ts") ? { ...found, url: wire } : found;
  },
});
