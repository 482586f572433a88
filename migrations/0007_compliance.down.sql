drop function is_on_dnc_list(text, text);
select archive_table('consents'), archive_table('dnc_list'), archive_table('communication_suppressions');
drop function address_lock_key(text, text, text);
drop sequence if exists compliance_seq cascade;
