-- The audit: what was commanded and what was refused, chained so that it cannot be changed unseen.

CREATE TABLE pending_audit_entries (
    id bigserial PRIMARY KEY,
    record_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    caller text,
    acting_account_id uuid,
    method text NOT NULL,
    request_id uuid,
    command_id uuid,
    organization_id uuid,
    outcome text NOT NULL,
    times bigint NOT NULL DEFAULT 1 CHECK (times > 0)
);
-- As with pending_changes: small and hot.
ALTER TABLE pending_audit_entries SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
COMMENT ON TABLE pending_audit_entries IS 'Entries of the audit that are committed and not chained yet: for about a second.';
COMMENT ON COLUMN pending_audit_entries.id IS 'The order in which they are chained.';
COMMENT ON COLUMN pending_audit_entries.record_time IS 'When it was recorded.';
COMMENT ON COLUMN pending_audit_entries.caller IS 'The calling workload. Null: it is not known who called.';
COMMENT ON COLUMN pending_audit_entries.acting_account_id IS 'The account of the person for whom it acted, or of a refusal said to act. Null: as itself, or severed.';
COMMENT ON COLUMN pending_audit_entries.method IS 'The method, or of the service itself what it did.';
COMMENT ON COLUMN pending_audit_entries.request_id IS 'The request id that the caller gave.';
COMMENT ON COLUMN pending_audit_entries.command_id IS 'The command, where it changed something that the log tells of.';
COMMENT ON COLUMN pending_audit_entries.organization_id IS 'The organization that it is about.';
COMMENT ON COLUMN pending_audit_entries.outcome IS 'OK, or the reason of the refusal.';
COMMENT ON COLUMN pending_audit_entries.times IS 'How many equal refusals of a flood it stands for.';

CREATE TABLE audit_entries (
    position bigint PRIMARY KEY,
    record_time timestamptz NOT NULL,
    caller text,
    actor bytea CHECK (octet_length(actor) = 32),
    method text NOT NULL,
    request_id uuid,
    command_id uuid,
    organization_id uuid,
    outcome text NOT NULL,
    times bigint NOT NULL,
    hash bytea NOT NULL
);
CREATE INDEX audit_entries_by_organization ON audit_entries (organization_id, position) WHERE organization_id IS NOT NULL;
CREATE INDEX audit_entries_by_caller ON audit_entries (caller, position);
CREATE INDEX audit_entries_by_actor ON audit_entries (actor, position) WHERE actor IS NOT NULL;
CREATE INDEX audit_entries_refused ON audit_entries (outcome, position) WHERE outcome <> 'OK';
CREATE INDEX audit_entries_by_time ON audit_entries (record_time);
COMMENT ON TABLE audit_entries IS 'The audit: every command and every refusal, each with the running hash. Only chain_audit() writes it.';
COMMENT ON COLUMN audit_entries.position IS 'The place in the audit: dense from 1.';
COMMENT ON COLUMN audit_entries.record_time IS 'When it was recorded. The audit is kept by it.';
COMMENT ON COLUMN audit_entries.caller IS 'The calling workload. Null: it is not known who called.';
COMMENT ON COLUMN audit_entries.actor IS 'The person for whom it acted, by a name that tells nothing without audit_actors. Null: as itself, or severed.';
COMMENT ON COLUMN audit_entries.method IS 'The method, or of the service itself what it did.';
COMMENT ON COLUMN audit_entries.request_id IS 'The request id that the caller gave.';
COMMENT ON COLUMN audit_entries.command_id IS 'The command, where it changed something that the log tells of.';
COMMENT ON COLUMN audit_entries.organization_id IS 'The organization that it is about.';
COMMENT ON COLUMN audit_entries.outcome IS 'OK, or the reason of the refusal.';
COMMENT ON COLUMN audit_entries.times IS 'How many equal refusals of a flood it stands for.';
COMMENT ON COLUMN audit_entries.hash IS 'SHA-256 over the hash before and all of this entry.';

CREATE TABLE audit_actors (
    actor bytea PRIMARY KEY,
    salt uuid NOT NULL,
    account_id uuid NOT NULL,
    organization_id uuid,
    UNIQUE NULLS NOT DISTINCT (account_id, organization_id)
);
COMMENT ON TABLE audit_actors IS 'Who the actors of the audit are: a row for each account in each organization. An erasure deletes the row and with it the only thing that leads from the entries to the person.';
COMMENT ON COLUMN audit_actors.actor IS 'SHA-256 over salt, account and organization: the row can go, and cannot say somebody else.';
COMMENT ON COLUMN audit_actors.salt IS 'Random: without it nobody finds out by trying which account it was.';
COMMENT ON COLUMN audit_actors.account_id IS 'The account.';
COMMENT ON COLUMN audit_actors.organization_id IS 'The organization that the entries are about. Null: none.';

CREATE TABLE audit_head (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    position bigint NOT NULL,
    hash bytea NOT NULL,
    floor_position bigint NOT NULL,
    floor_hash bytea NOT NULL
);
COMMENT ON TABLE audit_head IS 'One row: where the audit ends and where it begins.';
COMMENT ON COLUMN audit_head.singleton IS 'Always true: keeps the table at one row.';
COMMENT ON COLUMN audit_head.position IS 'The position of the newest entry. 0: none yet.';
COMMENT ON COLUMN audit_head.hash IS 'The running hash at the newest entry.';
COMMENT ON COLUMN audit_head.floor_position IS 'Entries at or before this position were trimmed.';
COMMENT ON COLUMN audit_head.floor_hash IS 'The running hash at the floor: what the first entry that is left goes on from.';
INSERT INTO audit_head (position, hash, floor_position, floor_hash) VALUES (0, ''::bytea, 0, ''::bytea);

-- Chains at most at_most of the entries that wait. One autocommitted call from the client, as with sequencing. Writers do
-- not wait for it: they insert into a table of their own.
CREATE FUNCTION chain_audit(at_most bigint) RETURNS TABLE (chained bigint, more boolean)
LANGUAGE plpgsql
SET lock_timeout = '2s'
AS $$
DECLARE
    head audit_head;
    entry record;
    entry_actor bytea;
    new_salt uuid;
    count_chained bigint := 0;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'chaining needs the primary' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    -- Each statement below needs a snapshot newer than the lock.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'chaining needs READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
    END IF;
    PERFORM pg_advisory_xact_lock(8243122705118253);
    SELECT * INTO STRICT head FROM audit_head;
    FOR entry IN
        WITH taken AS (
            DELETE FROM pending_audit_entries
            WHERE id IN (SELECT p.id FROM pending_audit_entries p ORDER BY p.id LIMIT at_most)
            RETURNING *
        )
        -- Of refusals nobody has checked whom they name.
        SELECT taken.*, EXISTS (SELECT FROM accounts a
                                WHERE a.account_id = taken.acting_account_id AND a.state = 'ACTIVE') AS known
        FROM taken ORDER BY taken.id
    LOOP
        entry_actor := NULL;
        IF entry.known THEN
            SELECT a.actor INTO entry_actor FROM audit_actors a
            WHERE a.account_id = entry.acting_account_id
              AND a.organization_id IS NOT DISTINCT FROM entry.organization_id;
            IF entry_actor IS NULL THEN
                new_salt := gen_random_uuid();
                INSERT INTO audit_actors (actor, salt, account_id, organization_id)
                VALUES (sha256(convert_to(concat_ws('|', new_salt, entry.acting_account_id,
                                                    coalesce(entry.organization_id::text, '')), 'UTF8')),
                        new_salt, entry.acting_account_id, entry.organization_id)
                RETURNING actor INTO entry_actor;
            END IF;
        END IF;
        head.position := head.position + 1;
        head.hash := sha256(head.hash || convert_to(concat_ws('|',
            head.position, floor(extract(epoch FROM entry.record_time) * 1000000)::bigint, coalesce(entry.caller, ''),
            coalesce(encode(entry_actor, 'hex'), ''), entry.method, coalesce(entry.request_id::text, ''),
            coalesce(entry.command_id::text, ''), coalesce(entry.organization_id::text, ''), entry.outcome, entry.times
        ), 'UTF8'));
        INSERT INTO audit_entries (position, record_time, caller, actor, method, request_id, command_id,
                                   organization_id, outcome, times, hash)
        VALUES (head.position, entry.record_time, entry.caller, entry_actor, entry.method, entry.request_id,
                entry.command_id, entry.organization_id, entry.outcome, entry.times, head.hash);
        count_chained := count_chained + 1;
    END LOOP;
    IF count_chained > 0 THEN
        UPDATE audit_head h SET position = head.position, hash = head.hash;
    END IF;
    RETURN QUERY SELECT count_chained, count_chained = at_most;
END
$$;
COMMENT ON FUNCTION chain_audit(bigint) IS 'Gives entries of the audit that wait their positions and hashes. Returns how many, and whether to call again.';

-- Takes from the audit who acted: of an account everywhere, or in one organization. It waits for chaining, and chaining for
-- its commit: an entry is severed either here or where it waits.
CREATE FUNCTION sever_audit(severed_account uuid, severed_organization uuid) RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
    severed bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(8243122705118253);
    UPDATE pending_audit_entries p SET acting_account_id = NULL
    WHERE p.acting_account_id = severed_account
      AND (severed_organization IS NULL OR p.organization_id = severed_organization);
    DELETE FROM audit_actors a
    WHERE a.account_id = severed_account
      AND (severed_organization IS NULL OR a.organization_id = severed_organization);
    GET DIAGNOSTICS severed = ROW_COUNT;
    RETURN severed;
END
$$;
COMMENT ON FUNCTION sever_audit(uuid, uuid) IS 'An erasure: takes an account out of the audit, of one organization, or everywhere where that is null. Returns how many actors it was.';

-- Drops what is older than the audit is kept for, at most at_most entries in one call. What is left goes on from the floor.
CREATE FUNCTION trim_audit(audit_retention interval, at_most bigint) RETURNS TABLE (removed bigint, more boolean)
LANGUAGE plpgsql
SET lock_timeout = '2s'
AS $$
DECLARE
    head audit_head;
    new_floor bigint;
    new_hash bytea;
    young bigint;
    actors bytea[];
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'trimming needs the primary' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    IF NOT pg_try_advisory_xact_lock(8243122705118253) THEN
        RETURN QUERY SELECT 0::bigint, false;
        RETURN;
    END IF;
    SELECT * INTO STRICT head FROM audit_head;
    -- Up to the first of the next ones that is young, so that what is left is whole.
    SELECT min(e.position) FILTER (WHERE e.record_time >= clock_timestamp() - audit_retention), max(e.position)
    INTO young, new_floor
    FROM (SELECT * FROM audit_entries WHERE position > head.floor_position ORDER BY position LIMIT at_most) e;
    new_floor := coalesce(young - 1, new_floor);
    IF new_floor IS NULL OR new_floor <= head.floor_position THEN
        RETURN QUERY SELECT 0::bigint, false;
        RETURN;
    END IF;
    SELECT e.hash INTO STRICT new_hash FROM audit_entries e WHERE e.position = new_floor;
    WITH trimmed AS (
        DELETE FROM audit_entries e WHERE e.position > head.floor_position AND e.position <= new_floor RETURNING e.actor
    )
    SELECT array_agg(DISTINCT t.actor) INTO actors FROM trimmed t WHERE t.actor IS NOT NULL;
    -- Whom nothing speaks of any more need not be known.
    DELETE FROM audit_actors a
    WHERE a.actor = ANY (actors) AND NOT EXISTS (SELECT FROM audit_entries e WHERE e.actor = a.actor);
    UPDATE audit_head h SET floor_position = new_floor, floor_hash = new_hash;
    RETURN QUERY SELECT new_floor - head.floor_position, new_floor - head.floor_position = at_most;
END
$$;
COMMENT ON FUNCTION trim_audit(interval, bigint) IS 'Drops entries of the audit that were recorded longer ago than audit_retention. Returns how many, and whether to call again.';
