/** Statements on the test server itself. Invariant: no connection is kept, so none can block a clone or a drop. */
import pg from "pg";

/** CREATE and DROP DATABASE run outside any transaction, on a connection of their own. */
export async function asAdmin(adminUrl: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: adminUrl });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
