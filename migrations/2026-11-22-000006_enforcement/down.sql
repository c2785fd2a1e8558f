-- Loses what this migration made room for.
CREATE OR REPLACE FUNCTION trim_history(history_retention interval, at_most bigint)
RETURNS TABLE (removed bigint, more boolean)
LANGUAGE plpgsql
SET lock_timeout = '2s'
AS $$
DECLARE
    rows_removed bigint;
    last_position bigint;
    last_time timestamptz;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'trimming needs the primary' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    IF NOT pg_try_advisory_xact_lock(8243122705118252) THEN
        RETURN QUERY SELECT 0::bigint, false;
        RETURN;
    END IF;
    WITH dropped AS (
        DELETE FROM history h USING (
            SELECT o.organization_id, o.position FROM history o
            WHERE o.record_time < clock_timestamp() - history_retention
            ORDER BY o.record_time LIMIT at_most
        ) old
        WHERE h.organization_id = old.organization_id AND h.position = old.position
        RETURNING h.position, h.record_time
    )
    SELECT count(*), max(d.position), max(d.record_time) INTO rows_removed, last_position, last_time FROM dropped d;
    IF rows_removed > 0 THEN
        UPDATE history_floor f SET position = greatest(f.position, last_position),
                                   record_time = greatest(f.record_time, last_time);
    END IF;
    RETURN QUERY SELECT rows_removed, rows_removed = at_most;
END
$$;

DROP TABLE lost_revocations;
DROP TABLE receipts;
DROP TABLE enforcements;
DELETE FROM subscriptions WHERE app = 'rollcall';
DELETE FROM apps WHERE app = 'rollcall';
UPDATE subscriptions SET state = 'CLOSED' WHERE state = 'LAPSED';
DROP INDEX subscriptions_counted;
ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_counted_check;
ALTER TABLE subscriptions DROP COLUMN counted, DROP COLUMN lease_ttl_ms, DROP COLUMN grant_seq;
ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_state_check;
ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_state_check CHECK (state IN ('LIVE', 'CLOSED', 'REPLACED'));
COMMENT ON COLUMN subscriptions.state IS 'LIVE, CLOSED, or REPLACED by a newer one of the same instance.';
ALTER TABLE apps DROP COLUMN version, DROP COLUMN unregister_time, DROP COLUMN min_instances,
    DROP COLUMN serve_stale, DROP COLUMN lease_ttl_ms;
