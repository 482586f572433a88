export * from "./blobs.ts";
export * from "./queue.ts";
export * from "./secrets.ts";
export * from "./sender.ts";
