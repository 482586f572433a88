drop view lead_point_of_contacts;
select archive_table('lead_source_costs'), archive_table('segments'), archive_table('lead_assignments'),
       archive_table('lead_score_history'), archive_table('lead_status_history'), archive_table('lead_audit_log'),
       archive_table('contact_channels');
select archive_table('contacts');
select archive_table('leads');
drop function keep_lead_source();
drop function audit_lead_columns();
drop function record_lead_update();
drop function record_lead_insert();
drop function current_trigger_type();
drop function lead_stage_order(text);
