drop function vault.f_mark_contacts(text[], text);
drop function vault.f_promote_contacts(text[]);
drop function vault.survives(text, text, jsonb, text);
drop function vault.origin(text, text, timestamptz, jsonb);
drop function vault.said(jsonb, text);
drop function intake.f_ingest_json(jsonb[], text, text);
drop function intake.f_ingest_rows(jsonb[], text[], jsonb[], text, text);
drop function intake.lock_tenant(text);
