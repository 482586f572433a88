drop view lead_sequence_enrollments, nurture_sequences, email_sequence_steps, email_campaigns, messages, marketing.outreach_history,
  attempt_logs, emails_sent, webhook_events, company.slot, people.slot, vault.contacts;
