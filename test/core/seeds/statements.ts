/**
 * The seeds' documented statements, word for word, and what had to change where they do not work. Invariant: `stated` is never edited; a
 * statement that is wrong has `corrected` beside it and the defect's number in the seed map, and `queries.test.ts` shows both.
 */
export interface Statement {
  /** As the seed writes it. Parts of a larger statement name that one. */
  readonly stated: string;
  /** What runs instead. */
  readonly corrected?: string;
  readonly why?: string;
}

const funnel = `WITH funnel AS (
  SELECT
    to_status,
    COUNT(*) as count,
    LAG(COUNT(*)) OVER (ORDER BY stage_order) as prev_count
  FROM lead_status_history
  WHERE changed_at > NOW() - INTERVAL '30 days'
  GROUP BY to_status
)
SELECT
  to_status,
  count,
  count::float / NULLIF(prev_count, 0) as conversion_rate
FROM funnel`;

const funnelCorrected = `WITH stages AS (
  SELECT to_status, min(stage_order) as stage_order, COUNT(*) as count
  FROM lead_status_history
  WHERE changed_at > NOW() - INTERVAL '30 days'
  GROUP BY to_status
), funnel AS (
  SELECT to_status, count, stage_order, LAG(count) OVER (ORDER BY stage_order) as prev_count FROM stages
)
SELECT
  to_status,
  count,
  count::float / NULLIF(prev_count, 0) as conversion_rate
FROM funnel
ORDER BY stage_order`;

const roi = `WITH source_metrics AS (
  SELECT
    l.source,
    COUNT(*) as total_leads,
    COUNT(CASE WHEN status = 'recruited' THEN 1 END) as recruited,
    COALESCE(SUM(c.cost_usd), 0) as total_cost
  FROM leads l
  LEFT JOIN lead_source_costs c
    ON l.source = c.source
    AND l.user_id = c.user_id
  WHERE l.user_id = $1
  GROUP BY l.source
)
SELECT
  source,
  total_leads,
  recruited,
  total_cost,
  total_cost / NULLIF(total_leads, 0) as cost_per_lead,
  recruited::float / NULLIF(total_leads, 0) as conversion_rate,
  total_cost / NULLIF(recruited, 0) as cost_per_recruit
FROM source_metrics`;

const roiCorrected = `WITH lead_metrics AS (
  SELECT source, COUNT(*) as total_leads, COUNT(CASE WHEN status = 'recruited' THEN 1 END) as recruited
  FROM leads
  WHERE user_id = $1 AND deleted_at IS NULL
  GROUP BY source
), cost_metrics AS (
  SELECT source, SUM(cost_usd) as total_cost FROM lead_source_costs WHERE user_id = $1 GROUP BY source
), source_metrics AS (
  SELECT l.source, l.total_leads, l.recruited, COALESCE(c.total_cost, 0) as total_cost
  FROM lead_metrics l LEFT JOIN cost_metrics c ON c.source = l.source
)
SELECT
  source,
  total_leads,
  recruited,
  total_cost,
  total_cost / NULLIF(total_leads, 0) as cost_per_lead,
  recruited::float / NULLIF(total_leads, 0) as conversion_rate,
  total_cost / NULLIF(recruited, 0) as cost_per_recruit
FROM source_metrics`;

const roiParts = {
  stated: roi,
  corrected: roiCorrected,
  why: "D-06: the join multiplies leads by cost periods; both sides are added up before they meet",
};

export const statements: Readonly<Record<string, Statement>> = {
  "002.Q.pending": {
    stated: `SELECT load_id, batch_id, raw_data->>'email' as email, created_at
FROM intake.raw_loads
WHERE status = 'pending'
ORDER BY created_at DESC
LIMIT 100`,
  },
  "002.Q.recent_promotions": {
    stated: `SELECT c.contact_id, c.email, c.name, c.created_at
FROM vault.contacts c
WHERE c.created_at > NOW() - INTERVAL '1 day'
ORDER BY c.created_at DESC`,
  },
  "002.Q.high_value": {
    stated: `SELECT email, name, company, score, status
FROM vault.contacts
WHERE score >= 80
  AND status = 'active'
ORDER BY score DESC
LIMIT 50`,
  },
  "002.Q.campaign_performance": {
    stated: `SELECT
  c.name,
  c.sent_count,
  c.response_count,
  ROUND(100.0 * c.response_count / NULLIF(c.sent_count, 0), 2) as response_rate
FROM marketing.campaigns c
WHERE c.status = 'active'
ORDER BY response_rate DESC`,
  },
  "002.Q.email_lookup": { stated: "EXPLAIN ANALYZE SELECT * FROM vault.contacts WHERE email = 'john@example.com'" },
  "002.Q.last_7_days": { stated: "SELECT * FROM vault.contacts WHERE created_at > NOW() - INTERVAL '7 days'" },
  "002.Q.ingest_call": {
    stated: `SELECT * FROM intake.f_ingest_json(
  p_rows := ARRAY['{"email":"john@example.com","name":"John Doe"}'::jsonb],
  p_source := 'apollo',
  p_batch_id := 'batch-123'
)`,
  },
  "002.Q.promote_call": {
    stated: `SELECT * FROM vault.f_promote_contacts(
  p_load_ids := ARRAY[123, 456, 789]
)`,
    corrected: `SELECT * FROM vault.f_promote_contacts(
  p_load_ids := $1
)`,
    why: "C-04: a load's id is a prefixed ULID, so the array holds texts",
  },
  "002.P.bypass": {
    stated: "SET ROLE postgres",
    corrected: "SET LOCAL ROLE outrider_owner",
    why: "C-02: an administrator takes a role for one transaction; the application may take none",
  },
  "002.P.bypass_reset": { stated: "RESET ROLE" },
  "004.Q.tags_any": {
    stated: `SELECT * FROM leads
WHERE tags && ARRAY['facebook', 'linkedin']
AND deleted_at IS NULL`,
  },
  "004.Q.tags_all": {
    stated: `SELECT * FROM leads
WHERE tags @> ARRAY['hot', 'referral']
AND deleted_at IS NULL`,
  },
  "004.Q.dnc_check": {
    stated: "SELECT is_on_dnc_list('+12125551234', 'org-uuid')",
    corrected: "SELECT is_on_dnc_list('+12125551234', $1)",
    why: "the seed's 'org-uuid' stands for an organization's id",
  },
  "004.Q.funnel": {
    stated: funnel,
    corrected: funnelCorrected,
    why: "D-05: stage_order is not grouped by; stages are counted first, then compared",
  },
  "004.Q.funnel.window": {
    stated: `SELECT to_status, COUNT(*) as count FROM lead_status_history
WHERE changed_at > NOW() - INTERVAL '30 days' GROUP BY to_status`,
  },
  "004.Q.roi": roiParts,
  "004.Q.roi.recruited": roiParts,
  "004.Q.roi.total_cost": roiParts,
  "004.Q.roi.cost_per_lead": roiParts,
  "004.Q.roi.conversion_rate": roiParts,
  "004.Q.roi.cost_per_recruit": roiParts,
  "004.Q.timeline": {
    stated: `SELECT
  'status_change' as type,
  to_status as summary,
  changed_at as timestamp
FROM lead_status_history
WHERE lead_id = $1
ORDER BY changed_at DESC
LIMIT 10`,
  },
  "004.Q.hot_leads": {
    stated: `SELECT * FROM leads
WHERE status IN ('hot', 'qualified')
AND lead_score >= 70
AND deleted_at IS NULL
ORDER BY lead_score DESC, last_contact_date DESC
LIMIT 10`,
  },
  "004.Q.no_n_plus_1": {
    stated: `SELECT l.*,
       json_agg(h.*) as status_history
FROM leads l
LEFT JOIN lead_status_history h ON l.id = h.lead_id
GROUP BY l.id`,
    corrected: `SELECT l.*,
       json_agg(h.*) as status_history
FROM leads l
LEFT JOIN lead_status_history h ON l.tenant_id = h.tenant_id AND l.id = h.lead_id
GROUP BY l.tenant_id, l.id`,
    why: "design 2.7: the key begins with the tenant, so that l.* is determined by both columns of it and not by id alone",
  },
  "004.Q.explain": {
    stated: `EXPLAIN ANALYZE
SELECT * FROM leads
WHERE status = 'hot'
AND lead_score > 70`,
  },
  "004.Q.verify_tables": {
    stated: `SELECT table_name
FROM information_schema.tables
WHERE table_schema = 'public'
AND table_name LIKE 'lead%'`,
  },
  "004.P.only_own": { stated: "SELECT * FROM leads" },
  "004.P.set_tenant": {
    stated: "SET app.current_tenant_id = 'user-tenant-uuid'",
    corrected: "SELECT set_config('app.tenant_id', $1, true)",
    why: "C-02, D-09: a SET outlives its transaction on a pooled connection and would show the next user this tenant's rows",
  },
};
