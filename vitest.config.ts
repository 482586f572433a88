import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

/** Three suites: `unit` (behaviour, on real PostgreSQL), `guard` (the house's rules), `infra` (the deployed graph; needs SST's platform). */
export default defineConfig({
  test: {
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // On two cores vitest would take one, and leave it idle while a test waits for PostgreSQL or a child process. Three took 343 s for what
    // two took 375 s.
    maxWorkers: Math.max(3, availableParallelism() - 1),
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          // One file's modules serve the next: nothing in them is changed by a test and not changed back.
          isolate: false,
          include: ["test/**/*.test.ts"],
          exclude: ["test/guard/**", "test/infra/**"],
          globalSetup: ["test/support/global-setup.ts"],
          setupFiles: ["test/support/setup.ts"],
        },
      },
      {
        extends: true,
        test: { name: "guard", include: ["test/guard/**/*.test.ts"], globalSetup: ["test/support/global-setup.ts"] },
      },
      {
        extends: true,
        test: { name: "infra", include: ["test/infra/**/*.test.ts"], testTimeout: 120_000, hookTimeout: 120_000 },
      },
    ],
  },
});
