/**
 * `claim`: from the sweep's question to rows under a lease, against the claim statement somebody would write by hand; and `claim-dead`, the
 * same with half a million dead rows at the head of the index that an old snapshot keeps from being removed.
 */
import type pg from "pg";
import { Bells, batch, fillProduct, leaveDead, tenantCount } from "./claim-work.ts";
import { interleave, type Rig, rate, workingHour } from "./rig.ts";

const rawClaim = `
  with due as materialized (
    select id from actions where status = 'pending' and run_at <= $1 order by run_at, id limit ${batch} for update skip locked
  )
  update actions a set status = 'claimed', attempts = attempts + 1, locked_until = now() + interval '60 seconds', locked_by = 'w1'
  from due where a.id = due.id returning a.id, a.tenant_id, a.kind, a.payload`;

export async function claimLines(rig: Rig): Promise<void> {
  const pending = rig.quick ? 150_000 : 1_000_000;
  const perRound = rig.quick ? 5_000 : 20_000;
  const dead = pending / 2;
  // Vacuum would race with the measurement; the dead rows of `claim-dead` are meant to stay.
  await leaveDead(rig);
  const tenants = await fillProduct(rig, { pending });
  await fillRaw(rig.raw, pending);
  const bells = new Bells(rig, tenants);
  const outrider = (workers: number) => () => rate(() => bells.claim(perRound, workers));
  const raw = (workers: number) => () => rate(() => claimRaw(rig.raw, perRound, workers));

  for (const workers of [1, 4]) {
    const name = workers === 1 ? "claim" : `claim-${workers}-workers`;
    const values = await interleave(rig, name, { outrider: outrider(workers), raw: raw(workers) });
    rig.line({ name, value: values.outrider, unit: "rows/s", baseline: values.raw });
  }

  const clean = await interleave(rig, "claim clean", { outrider: outrider(1), raw: raw(1) }, 2);
  const release = [await oldSnapshot(rig, "product"), await oldSnapshot(rig, "baseline")];
  await bells.retire(dead);
  await rig.raw.query(
    "update actions set status = 'done' where id in (select id from actions where status = 'pending' order by run_at, id limit $1)",
    [dead],
  );
  // Fewer rows than before: each of the raw side's statements reads the whole dead head again.
  const rawRows = rig.quick ? 500 : 1_000;
  const buried = await interleave(
    rig,
    "claim dead",
    { outrider: outrider(1), raw: () => rate(() => claimRaw(rig.raw, rawRows, 1)) },
    3,
  );
  rig.line({ name: "claim-dead", value: buried.outrider, unit: "rows/s", baseline: clean.outrider });
  rig.line({ name: "claim-dead-raw", value: buried.raw, unit: "rows/s", baseline: clean.raw });
  rig.line({ name: "claim-dead-full-pass", value: await bells.fullPass(), unit: "ms", baseline: null });
  for (const end of release) await end();
}

async function fillRaw(raw: pg.Pool, count: number): Promise<void> {
  await raw.query(`
    create table actions (id bigint generated always as identity primary key, tenant_id int not null, kind text not null,
      dedupe_key text not null, run_at timestamptz not null, status text not null default 'pending', attempts smallint not null default 0,
      locked_until timestamptz, locked_by text, payload jsonb not null default '{}', created_at timestamptz not null default now())
      with (autovacuum_enabled = false)`);
  await raw.query(
    `insert into actions (tenant_id, kind, dedupe_key, run_at, payload)
     select g % ${tenantCount}, 'send_step', 'seq:' || g || ':step:1', $2::timestamptz - interval '1 day' + random() * interval '86000 seconds',
       jsonb_build_object('enrollment_id', g, 'step', 1) from generate_series(1, $1::int) g`,
    [count, workingHour],
  );
  await raw.query("create index on actions (run_at, id) where status = 'pending'");
  await raw.query("create unique index on actions (tenant_id, dedupe_key)");
  await raw.query("vacuum analyze actions");
}

async function claimRaw(raw: pg.Pool, count: number, workers: number): Promise<number> {
  let claimed = 0;
  const worker = async (): Promise<void> => {
    const client = await raw.connect();
    try {
      while (claimed < count) {
        const { rows } = await client.query({ name: "claim-actions", text: rawClaim, values: [workingHour] });
        if (rows.length === 0) throw new Error("no work is left to claim");
        claimed += rows.length;
      }
    } finally {
      client.release();
    }
  };
  await Promise.all(Array.from({ length: workers }, worker));
  return claimed;
}

/** A report that never ends. @returns what ends it */
async function oldSnapshot(rig: Rig, database: "product" | "baseline"): Promise<() => Promise<void>> {
  const table = database === "product" ? "scheduled_actions" : "actions";
  const client = await rig.superuser(database);
  await client.query("begin isolation level repeatable read");
  await client.query(`select count(*) from ${table}`);
  return () => client.end();
}
