-- Out means out: leases of the instances that follow, what they ended, and when a change was enforced.

ALTER TABLE apps
    ADD COLUMN lease_ttl_ms bigint NOT NULL DEFAULT 30000 CHECK (lease_ttl_ms BETWEEN 2000 AND 300000),
    ADD COLUMN serve_stale boolean NOT NULL DEFAULT false,
    ADD COLUMN min_instances integer NOT NULL DEFAULT 1 CHECK (min_instances BETWEEN 1 AND 10000),
    ADD COLUMN unregister_time timestamptz,
    ADD COLUMN version bigint NOT NULL DEFAULT 1 CHECK (version > 0);
COMMENT ON COLUMN apps.lease_ttl_ms IS 'How long an instance may go on answering access checks without hearing from the service.';
COMMENT ON COLUMN apps.serve_stale IS 'Whether its instances may go on answering after their lease: then nothing is ever known to be enforced there.';
COMMENT ON COLUMN apps.min_instances IS 'How many instances it should have at least.';
COMMENT ON COLUMN apps.unregister_time IS 'When it was unregistered. Null: registered.';
COMMENT ON COLUMN apps.version IS '+1 with each change of the app.';
-- The service's own replicas follow the log under this name, which nobody could register before.
INSERT INTO apps (app, lease_ttl_ms) VALUES ('rollcall', 10000) ON CONFLICT (app) DO NOTHING;

ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_state_check;
ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_state_check
    CHECK (state IN ('LIVE', 'CLOSED', 'REPLACED', 'LAPSED'));
ALTER TABLE subscriptions
    ADD COLUMN grant_seq bigint NOT NULL DEFAULT 0,
    ADD COLUMN lease_ttl_ms bigint NOT NULL DEFAULT 30000,
    ADD COLUMN counted boolean NOT NULL DEFAULT true;
-- The release before this one granted no leases: what it ended holds none.
UPDATE subscriptions SET counted = false WHERE state <> 'LIVE';
ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_counted_check CHECK (counted OR state <> 'LIVE');
CREATE INDEX subscriptions_counted ON subscriptions (app, subscription_id) WHERE counted;
COMMENT ON COLUMN subscriptions.state IS 'LIVE, CLOSED, REPLACED by a newer one of the same instance, or LAPSED: given up after a silence longer than its lease.';
COMMENT ON COLUMN subscriptions.grant_seq IS '+1 with each lease that it was granted. While it stands still, the instance is silent.';
COMMENT ON COLUMN subscriptions.lease_ttl_ms IS 'The longest lease that it may hold: that of the app when it was opened, or since.';
COMMENT ON COLUMN subscriptions.counted IS 'Whether it may hold a lease: then a change is not enforced before it has applied it.';

CREATE TABLE enforcements (
    organization_id uuid NOT NULL,
    command_id uuid NOT NULL,
    app text NOT NULL,
    position bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('ENFORCED', 'NO_INSTANCES', 'UNBOUNDED')),
    write_time timestamptz NOT NULL,
    enforce_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    instances integer NOT NULL,
    applied integer NOT NULL,
    lapsed integer NOT NULL,
    lapsed_instances text[] NOT NULL,
    PRIMARY KEY (organization_id, command_id, app)
);
CREATE INDEX enforcements_by_age ON enforcements (write_time);
COMMENT ON TABLE enforcements IS 'When a command that took access away was enforced, per app in whose scope it was. Written once.';
COMMENT ON COLUMN enforcements.organization_id IS 'The organization.';
COMMENT ON COLUMN enforcements.command_id IS 'The command.';
COMMENT ON COLUMN enforcements.app IS 'The app.';
COMMENT ON COLUMN enforcements.position IS 'The position of the last change of the command.';
COMMENT ON COLUMN enforcements.state IS 'ENFORCED; NO_INSTANCES: so by whoever follows, who are too few; UNBOUNDED: the app serves stale answers, nothing is known.';
COMMENT ON COLUMN enforcements.write_time IS 'When the command was recorded. For people.';
COMMENT ON COLUMN enforcements.enforce_time IS 'When it was found to be so, by the clock of the database. For people.';
COMMENT ON COLUMN enforcements.instances IS 'How many instances it was about.';
COMMENT ON COLUMN enforcements.applied IS 'How many of them had applied it.';
COMMENT ON COLUMN enforcements.lapsed IS 'How many of them were waited out instead.';
COMMENT ON COLUMN enforcements.lapsed_instances IS 'The names of those that were waited out; at most 100.';

CREATE TABLE receipts (
    organization_id uuid NOT NULL,
    position bigint NOT NULL,
    subscription_id uuid NOT NULL,
    app text NOT NULL,
    instance text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('ENDED', 'FAILED')),
    ended_sessions integer NOT NULL CHECK (ended_sessions >= 0),
    handed_over integer NOT NULL CHECK (handed_over >= 0),
    detail text NOT NULL,
    record_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (organization_id, position, subscription_id)
);
CREATE INDEX receipts_by_age ON receipts (record_time);
COMMENT ON TABLE receipts IS 'What instances ended because of a change, as they said it.';
COMMENT ON COLUMN receipts.organization_id IS 'The organization of the change.';
COMMENT ON COLUMN receipts.position IS 'The position of the change.';
COMMENT ON COLUMN receipts.subscription_id IS 'The subscription of the instance.';
COMMENT ON COLUMN receipts.app IS 'The app of the instance.';
COMMENT ON COLUMN receipts.instance IS 'The name of the instance.';
COMMENT ON COLUMN receipts.outcome IS 'ENDED: all that there was; FAILED: something could not be ended. A FAILED one is replaced by what comes after it.';
COMMENT ON COLUMN receipts.ended_sessions IS 'How many sessions were closed.';
COMMENT ON COLUMN receipts.handed_over IS 'How many things were handed over or cleared.';
COMMENT ON COLUMN receipts.detail IS 'Of FAILED: why, as a word for programs.';
COMMENT ON COLUMN receipts.record_time IS 'When it was said last.';

CREATE TABLE lost_revocations (
    change_id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    workspace_id uuid,
    member_id uuid NOT NULL,
    reason text NOT NULL,
    record_time timestamptz,
    app text NOT NULL,
    instance text NOT NULL,
    report_time timestamptz NOT NULL DEFAULT now(),
    decision text CHECK (decision IN ('APPLIED_AGAIN', 'DROPPED')),
    decide_time timestamptz CHECK ((decide_time IS NULL) = (decision IS NULL))
);
CREATE INDEX lost_revocations_waiting ON lost_revocations (change_id) WHERE decision IS NULL;
COMMENT ON TABLE lost_revocations IS 'Revocations that instances had applied and that a failover lost: an operator decides about each.';
COMMENT ON COLUMN lost_revocations.change_id IS 'The change that the log lost.';
COMMENT ON COLUMN lost_revocations.organization_id IS 'Its organization, which the log may have lost too.';
COMMENT ON COLUMN lost_revocations.workspace_id IS 'Its workspace. Null: the whole organization.';
COMMENT ON COLUMN lost_revocations.member_id IS 'The member whose access it ended.';
COMMENT ON COLUMN lost_revocations.reason IS 'Why it happened.';
COMMENT ON COLUMN lost_revocations.record_time IS 'When it had been recorded. Null: not said.';
COMMENT ON COLUMN lost_revocations.app IS 'The app of the instance that reported it first.';
COMMENT ON COLUMN lost_revocations.instance IS 'The instance that reported it first.';
COMMENT ON COLUMN lost_revocations.report_time IS 'When it was first reported.';
COMMENT ON COLUMN lost_revocations.decision IS 'APPLIED_AGAIN or DROPPED. Null: nobody has decided.';
COMMENT ON COLUMN lost_revocations.decide_time IS 'When it was decided.';

-- As before; with the history of a change goes what is known of its enforcement, and what was decided about lost ones.
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
    DELETE FROM enforcements e USING (
        SELECT o.organization_id, o.command_id, o.app FROM enforcements o
        WHERE o.write_time < clock_timestamp() - history_retention ORDER BY o.write_time LIMIT at_most
    ) old
    WHERE e.organization_id = old.organization_id AND e.command_id = old.command_id AND e.app = old.app;
    DELETE FROM receipts r USING (
        SELECT o.organization_id, o.position, o.subscription_id FROM receipts o
        WHERE o.record_time < clock_timestamp() - history_retention ORDER BY o.record_time LIMIT at_most
    ) old
    WHERE r.organization_id = old.organization_id AND r.position = old.position
      AND r.subscription_id = old.subscription_id;
    DELETE FROM lost_revocations l WHERE l.decide_time < clock_timestamp() - history_retention;
    RETURN QUERY SELECT rows_removed, rows_removed = at_most;
END
$$;
