/** Applies the migrations in a process that may kill itself between two of them. */
import path from "node:path";
import { connect } from "../../core/db/connect.ts";
import { migrate } from "../../core/db/migrate.ts";
import { arm } from "./arm.ts";
import { type MigrateTask, taskOf } from "./processes.ts";

const { databaseUrl, armed, faultLog } = taskOf<MigrateTask>();
arm("migrator", faultLog, armed);
const db = connect({ url: databaseUrl, driver: "pg" });
await migrate(db, { folder: path.resolve(import.meta.dirname, "../../migrations") });
await db.destroy();
