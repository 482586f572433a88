/** Starts a server and says so, for a test that kills this process. Usage: node orphan.ts <dir>. */
import { startPostgres } from "../../local/postgres.ts";

const [, , dir = ""] = process.argv;
const server = await startPostgres({ dir, mode: "durable" });
console.log(JSON.stringify({ pid: server.pid, url: server.url() }));
