select archive_table('marketing.feedback_reports'), archive_table('marketing.attribution'), archive_table('simulated_sends');
select archive_table('campaign_simulations'), archive_table('tasks'), archive_table('email_templates'),
       archive_table('scheduled_actions'), archive_table('campaign_transitions');
select archive_table('contact_campaigns');
select archive_table('email_sender_identities');
select archive_table('node_renames');
select archive_table('campaign_plan_versions');
select archive_table('marketing.campaigns');
drop function refuse_change();
