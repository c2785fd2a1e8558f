-- The trace of a command goes with its changes, so that what an instance does because of one is a part of that trace.

ALTER TABLE pending_changes ADD COLUMN traceparent text;
COMMENT ON COLUMN pending_changes.traceparent IS 'The trace and span that recorded the change, as W3C Trace Context writes them. Null: it is in no trace that is recorded, or must not be linked with others.';

ALTER TABLE changes ADD COLUMN traceparent text;
COMMENT ON COLUMN changes.traceparent IS 'As it was pending. Forgotten within two hours, and no part of the hash: it says nothing about what happened.';

-- So that forgetting needs no index, which would be built behind a lock, and reads no change twice.
ALTER TABLE log_floor ADD COLUMN traces_forgotten bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN log_floor.traces_forgotten IS 'Changes at or before this position have forgotten their traces.';
UPDATE log_floor SET traces_forgotten = (SELECT position FROM log_head);

-- As before, with the new column, which is not hashed.
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
                             member_id, state, role, version, reason, caller, acting_member_id, record_time,
                             leaving, tombstone_id, handover_to_member_id, assignments, traceparent)
        SELECT position, change_id, command_id, max(position) OVER (PARTITION BY command_id), organization_id, apps,
               subject, workspace_id, member_id, state, role, version, reason, caller, acting_member_id, record_time,
               leaving, tombstone_id, handover_to_member_id, assignments, traceparent
        FROM placed
        RETURNING *
    )
    SELECT count(*),
           sha256(old_head.hash || string_agg(convert_to(concat_ws('|',
               position, change_id, command_id, organization_id, array_to_string(apps, ','), subject,
               coalesce(workspace_id::text, ''), coalesce(member_id::text, ''), state, coalesce(role, ''), version,
               reason, caller, coalesce(acting_member_id::text, ''), floor(extract(epoch FROM record_time) * 1000000)::bigint,
               coalesce(leaving::text, ''), coalesce(tombstone_id::text, ''), coalesce(handover_to_member_id::text, ''),
               coalesce(assignments, '')
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
