-- Loses what this migration made room for; rows that an older schema cannot hold stop it.
CREATE OR REPLACE FUNCTION trim_history(history_retention interval, at_most bigint)
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

DROP TABLE history_floor;
DROP INDEX changes_by_member, changes_by_workspace, changes_by_actor, changes_by_time;
DROP INDEX history_by_workspace, history_by_actor, history_by_time;

CREATE OR REPLACE FUNCTION sequence_changes() RETURNS TABLE (head_position bigint, head_change_id uuid)
LANGUAGE plpgsql
SET lock_timeout = '2s'
AS $$
DECLARE
    old_head log_head;
    moved bigint;
    batch_hash bytea;
BEGIN
    -- A standby answers reads of its own time: a mark made there would promise what only the primary knows.
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'sequencing needs the primary' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    -- Each statement below needs a snapshot newer than the lock.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'sequencing needs READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
    END IF;
    PERFORM pg_advisory_xact_lock(8243122705118243);
    SELECT * INTO STRICT old_head FROM log_head;

    WITH taken AS (
        DELETE FROM pending_changes RETURNING *
    ), ordered AS (
        -- Commands in the order of their first id, the rows of a command together.
        SELECT taken.*, min(id) OVER (PARTITION BY taken.command_id) AS first_id FROM taken
    ), placed AS (
        SELECT ordered.*, old_head.position + row_number() OVER (ORDER BY first_id, id) AS position FROM ordered
    ), inserted AS (
        INSERT INTO changes (position, change_id, command_id, command_end, organization_id, apps, subject, workspace_id,
                             member_id, state, role, version, reason, caller, acting_member_id, record_time)
        SELECT position, change_id, command_id, max(position) OVER (PARTITION BY command_id), organization_id, apps,
               subject, workspace_id, member_id, state, role, version, reason, caller, acting_member_id, record_time
        FROM placed
        RETURNING *
    )
    SELECT count(*),
           sha256(old_head.hash || string_agg(convert_to(concat_ws('|',
               position, change_id, command_id, organization_id, array_to_string(apps, ','), subject,
               coalesce(workspace_id::text, ''), coalesce(member_id::text, ''), state, coalesce(role, ''), version,
               reason, caller, coalesce(acting_member_id::text, ''), floor(extract(epoch FROM record_time) * 1000000)::bigint
           ), 'UTF8'), '\x0a'::bytea ORDER BY position))
    INTO moved, batch_hash FROM inserted;

    IF moved = 0 THEN
        RETURN QUERY SELECT old_head.position, old_head.change_id;
        RETURN;
    END IF;
    INSERT INTO batches (last_position, first_position, hash)
    VALUES (old_head.position + moved, old_head.position + 1, batch_hash);
    UPDATE log_head
    SET position = old_head.position + moved,
        hash = batch_hash,
        change_id = (SELECT c.change_id FROM changes c WHERE c.position = old_head.position + moved);
    PERFORM pg_notify('rollcall_head', (old_head.position + moved)::text);
    RETURN QUERY SELECT h.position, h.change_id FROM log_head h;
END
$$;

CREATE OR REPLACE FUNCTION trim_log(log_retention interval, hard_cap interval, subscription_retention interval, at_most bigint)
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

ALTER TABLE history DROP COLUMN assignments, DROP COLUMN handover_to_member_id, DROP COLUMN tombstone_id, DROP COLUMN leaving;
ALTER TABLE changes DROP COLUMN assignments, DROP COLUMN handover_to_member_id, DROP COLUMN tombstone_id, DROP COLUMN leaving;
ALTER TABLE pending_changes DROP COLUMN assignments, DROP COLUMN handover_to_member_id, DROP COLUMN tombstone_id, DROP COLUMN leaving;
ALTER TABLE requests DROP COLUMN erasure_id, DROP COLUMN contract_id, DROP COLUMN invitation_id;
DROP TABLE mails;
DROP TABLE erasures;
DROP TABLE departures;
DROP TABLE invitation_sends;
DROP TABLE invitation_workspaces;
DROP TABLE invitations;
DROP TABLE member_activity;
DROP INDEX members_active, members_active_guests;
DROP INDEX members_return_due;
DROP INDEX organizations_by_guest_inactivity;
ALTER TABLE members DROP CONSTRAINT members_erased_check;
ALTER TABLE members DROP COLUMN erased_by, DROP COLUMN tombstone_id, DROP COLUMN return_remind_time,
    DROP COLUMN return_time, DROP COLUMN active_time, DROP COLUMN leaving;
ALTER TABLE members DROP CONSTRAINT members_state_check;
ALTER TABLE members ADD CONSTRAINT members_state_check CHECK (state IN ('ACTIVE', 'DEACTIVATED', 'REMOVED'));
ALTER TABLE members ALTER COLUMN account_id SET NOT NULL;
COMMENT ON TABLE members IS 'Accounts in organizations, REMOVED ones included: who returns keeps id and version.';
COMMENT ON COLUMN members.account_id IS 'The account.';
COMMENT ON COLUMN members.state IS 'ACTIVE, DEACTIVATED or REMOVED.';
ALTER TABLE organizations DROP COLUMN deleted_account_alias, DROP COLUMN erased_alias,
    DROP COLUMN reactivate_on_return, DROP COLUMN guest_inactivity_days, DROP COLUMN invitation_forwarding,
    DROP COLUMN self_deactivation, DROP COLUMN seat_limit, DROP COLUMN contract_id;
ALTER TABLE organizations DROP CONSTRAINT organizations_state_check;
ALTER TABLE organizations ADD CONSTRAINT organizations_state_check CHECK (state IN ('ACTIVE'));
COMMENT ON TABLE organizations IS 'The organizations.';
COMMENT ON COLUMN organizations.state IS 'ACTIVE.';
DROP TABLE account_external_ids;
ALTER TABLE accounts DROP COLUMN language;
ALTER TABLE accounts DROP CONSTRAINT accounts_email_check;
ALTER TABLE accounts DROP CONSTRAINT accounts_state_check;
ALTER TABLE accounts ADD CONSTRAINT accounts_state_check CHECK (state IN ('ACTIVE'));
ALTER TABLE accounts ALTER COLUMN email SET NOT NULL;
ALTER TABLE accounts ALTER COLUMN email_key SET NOT NULL;
COMMENT ON TABLE accounts IS 'The persons, one row each for all organizations.';
COMMENT ON COLUMN accounts.email IS 'Personal data: the e-mail address as it was given.';
COMMENT ON COLUMN accounts.email_key IS 'Personal data: the form in which addresses are compared, lower case with an ASCII domain.';
COMMENT ON COLUMN accounts.state IS 'ACTIVE.';
DROP TABLE contracts;
