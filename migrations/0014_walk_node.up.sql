-- By which node its enrollment's plan knows a message now. Moving an enrollment to another version may give its nodes other names; what
-- was sent stays sent under `node_id` of `plan_version_id`, and what becomes of it is told under this name. null: node_id still.

alter table outbound_messages add column walk_node_id text;
