/// <reference path="./.sst/platform/config.d.ts" />

/** What `sst deploy` reads. No top-level imports: SST evaluates this file before its globals exist. The stack is infra/stack.ts. */
export default $config({
  app(input) {
    const production = input.stage === "production";
    return {
      name: "outrider",
      home: "aws",
      removal: production ? "retain" : "remove",
      protect: production,
      providers: { aws: { region: "eu-central-1", defaultTags: { tags: { app: "outrider", stage: input.stage } } } },
    };
  },
  async run() {
    const { stack } = await import("./infra/stack.ts");
    return stack();
  },
});
