/** What is known of files before one is read. By itself, so that naming a format does not bring the readers of all of them. */
export const fileFormats = ["csv", "json", "ndjson"] as const;
export type FileFormat = (typeof fileFormats)[number];

/** Decisions about a file are taken per block; 64 KiB is also what object stores deliver at a time. */
export const blockBytes = 64 * 1024;
