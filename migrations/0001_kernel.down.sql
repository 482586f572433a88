-- role: admin
-- Roles belong to the cluster and stay: other databases may use them. Schema archive stays too: it holds what was saved.
set local role outrider_owner;
drop function archive_table(regclass);
drop function protect(regclass, text, text, text);
drop function touch_updated_at();
drop function try_jsonb(bytea);
drop function new_id(text);
drop function row_id(text, text, bigint, text);
drop function id_tail();
drop function make_id(text, text, bigint);
drop function ulid_time(timestamptz);
drop function set_app_clock(timestamptz);
drop function app_now();
drop table deployment;
drop schema bit, ple, marketing, people, company, vault, intake;
reset role;
drop extension pg_trgm;
