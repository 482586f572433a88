/** What work costs the database, where a guarantee speaks of it. */
import type { Kysely, KyselyPlugin } from "kysely";
import type { DB } from "../../core/db/types.gen.ts";

export interface Counted {
  readonly plugin: KyselyPlugin;
  /** Statements since the counter was made; begin and commit are not among them. */
  readonly statements: () => number;
}

export function counter(): Counted {
  let statements = 0;
  return {
    plugin: {
      transformQuery({ node }) {
        statements++;
        return node;
      },
      transformResult: async ({ result }) => result,
    },
    statements: () => statements,
  };
}

/** Statements of one piece of work. */
export async function statementsOf(db: Kysely<DB>, work: (db: Kysely<DB>) => Promise<unknown>): Promise<number> {
  const { plugin, statements } = counter();
  await work(db.withPlugin(plugin));
  return statements();
}
