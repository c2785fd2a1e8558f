-- Retention: old changes leave the log for a history of their own, and the floor of the log follows them.

CREATE TABLE history (
    organization_id uuid NOT NULL,
    position bigint NOT NULL,
    change_id uuid NOT NULL,
    command_id uuid NOT NULL,
    subject text NOT NULL,
    workspace_id uuid,
    member_id uuid,
    state text NOT NULL,
    role text,
    version bigint NOT NULL,
    reason text NOT NULL,
    caller text NOT NULL,
    acting_member_id uuid,
    record_time timestamptz NOT NULL,
    PRIMARY KEY (organization_id, position)
);
CREATE INDEX history_by_member ON history (organization_id, member_id, position);
CREATE INDEX history_by_command ON history (command_id);
CREATE INDEX history_by_age ON history (record_time);
COMMENT ON TABLE history IS 'Who had access when: the changes that were trimmed from the log, as they stood there. Only trim_log() adds to it.';
COMMENT ON COLUMN history.organization_id IS 'The organization.';
COMMENT ON COLUMN history.position IS 'The place that the change had in the log.';
COMMENT ON COLUMN history.change_id IS 'The id of the change.';
COMMENT ON COLUMN history.command_id IS 'The command that produced it.';
COMMENT ON COLUMN history.subject IS 'ORGANIZATION, WORKSPACE, MEMBER or WORKSPACE_MEMBER.';
COMMENT ON COLUMN history.workspace_id IS 'The workspace, where the subject has one.';
COMMENT ON COLUMN history.member_id IS 'The member, where the subject has one.';
COMMENT ON COLUMN history.state IS 'The state of the subject after the change.';
COMMENT ON COLUMN history.role IS 'The role of the subject after the change, where it has one.';
COMMENT ON COLUMN history.version IS 'The version of the subject after the change.';
COMMENT ON COLUMN history.reason IS 'Why.';
COMMENT ON COLUMN history.caller IS 'The workload that commanded it.';
COMMENT ON COLUMN history.acting_member_id IS 'The member for whom the workload acted. Null: as itself.';
COMMENT ON COLUMN history.record_time IS 'When it was recorded, shortly before its commit. History is kept by it.';

ALTER TABLE log_floor ADD COLUMN change_id uuid;
COMMENT ON COLUMN log_floor.change_id IS 'The change that stood at the floor: a cursor exactly there is compared with it. Null: nothing was trimmed yet.';
COMMENT ON COLUMN log_floor.position IS 'Changes at or before this position were trimmed.';

-- Moves old changes from the log into the history and raises the floor, at most at_most rows in one call, always whole
-- commands. One autocommitted call from the client, as with sequencing: a client that is paused or killed holds nothing.
-- It shares no lock with sequencing, and readers see the floor and the rows of one moment in one statement.
CREATE FUNCTION trim_log(log_retention interval, hard_cap interval, subscription_retention interval, at_most bigint)
RETURNS TABLE (floor_position bigint, moved bigint, more boolean)
LANGUAGE plpgsql
SET lock_timeout = '2s'
AS $$
DECLARE
    old_floor bigint;
    new_floor bigint;
    head bigint;
    due bigint;
    overdue bigint;
    held bigint;
    reach bigint;
    new_change_id uuid;
    rows_moved bigint;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'trimming needs the primary' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    -- Each statement below needs a snapshot newer than the lock.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'trimming needs READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
    END IF;
    -- Never waits: whoever holds it does the work.
    IF NOT pg_try_advisory_xact_lock(8243122705118251) THEN
        RETURN QUERY SELECT f.position, 0::bigint, false FROM log_floor f;
        RETURN;
    END IF;
    SELECT f.position INTO STRICT old_floor FROM log_floor f;
    SELECT h.position INTO STRICT head FROM log_head h;

    -- How far the log is old enough: up to the first of the next batches that is not. Each batch has at least one
    -- position, so one more than at_most of them tell whether there is more to do.
    SELECT coalesce(min(b.first_position) FILTER (WHERE b.sequence_time > clock_timestamp() - log_retention) - 1,
                    max(b.last_position), old_floor),
           coalesce(min(b.first_position) FILTER (WHERE b.sequence_time > clock_timestamp() - hard_cap) - 1,
                    max(b.last_position), old_floor)
    INTO due, overdue
    FROM (SELECT * FROM batches WHERE last_position > old_floor ORDER BY last_position LIMIT at_most + 1) b;
    -- Null where nobody follows.
    SELECT min(s.applied_position) INTO held
    FROM subscriptions s JOIN apps USING (app)
    WHERE s.state = 'LIVE'
      AND coalesce(s.acknowledge_time, s.create_time) >= clock_timestamp() - subscription_retention;
    -- The rows at the head and at what the slowest follower has applied stay: a cursor there is compared with them.
    reach := least(greatest(least(due, held - 1), overdue), head - 1);

    -- Whole commands: as many as fit, or one that is larger.
    SELECT max(c.command_end) INTO new_floor FROM changes c
    WHERE c.position > old_floor AND c.position <= least(reach, old_floor + at_most)
      AND c.command_end <= least(reach, old_floor + at_most);
    IF new_floor IS NULL THEN
        SELECT c.command_end INTO new_floor FROM changes c WHERE c.position > old_floor ORDER BY c.position LIMIT 1;
    END IF;
    IF new_floor IS NULL OR new_floor > reach THEN
        RETURN QUERY SELECT old_floor, 0::bigint, false;
        RETURN;
    END IF;

    SELECT c.change_id INTO STRICT new_change_id FROM changes c WHERE c.position = new_floor;
    WITH trimmed AS (
        DELETE FROM changes c WHERE c.position > old_floor AND c.position <= new_floor RETURNING c.*
    )
    INSERT INTO history (organization_id, position, change_id, command_id, subject, workspace_id, member_id, state, role,
                         version, reason, caller, acting_member_id, record_time)
    SELECT t.organization_id, t.position, t.change_id, t.command_id, t.subject, t.workspace_id, t.member_id, t.state,
           t.role, t.version, t.reason, t.caller, t.acting_member_id, t.record_time
    FROM trimmed t;
    GET DIAGNOSTICS rows_moved = ROW_COUNT;
    -- The batch that has the floor stays: its hash is what the next one goes on from.
    DELETE FROM batches b WHERE b.last_position < new_floor;
    UPDATE log_floor SET position = new_floor, change_id = new_change_id;
    RETURN QUERY SELECT new_floor, rows_moved, reach > new_floor;
END
$$;
COMMENT ON FUNCTION trim_log(interval, interval, interval, bigint) IS 'Moves changes that are older than log_retention, and not needed by a live subscription seen within subscription_retention unless older than hard_cap, into the history. Returns the floor, how many rows it moved, and whether to call again.';

-- Drops what is older than the history is kept for, at most at_most rows in one call.
CREATE FUNCTION trim_history(history_retention interval, at_most bigint)
RETURNS TABLE (removed bigint, more boolean)
LANGUAGE plpgsql
SET lock_timeout = '2s'
AS $$
DECLARE
    rows_removed bigint;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'trimming needs the primary' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    IF NOT pg_try_advisory_xact_lock(8243122705118252) THEN
        RETURN QUERY SELECT 0::bigint, false;
        RETURN;
    END IF;
    DELETE FROM history h USING (
        SELECT o.organization_id, o.position FROM history o
        WHERE o.record_time < clock_timestamp() - history_retention
        ORDER BY o.record_time LIMIT at_most
    ) old
    WHERE h.organization_id = old.organization_id AND h.position = old.position;
    GET DIAGNOSTICS rows_removed = ROW_COUNT;
    RETURN QUERY SELECT rows_removed, rows_removed = at_most;
END
$$;
COMMENT ON FUNCTION trim_history(interval, bigint) IS 'Drops history that was recorded longer ago than history_retention. Returns how many rows, and whether to call again.';
