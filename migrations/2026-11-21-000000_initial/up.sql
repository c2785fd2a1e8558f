-- The whole store of the first release: who belongs where, the log of changes, and who follows it.

CREATE TABLE store (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    store_id uuid NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE store IS 'One row: what this database is.';
COMMENT ON COLUMN store.singleton IS 'Always true: keeps the table at one row.';
COMMENT ON COLUMN store.store_id IS 'The identity of the log. Cursors of another store are refused.';
COMMENT ON COLUMN store.create_time IS 'When the store was made.';
INSERT INTO store (store_id) VALUES (gen_random_uuid());

CREATE TABLE mac_keys (
    key_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    secret bytea NOT NULL CHECK (octet_length(secret) = 32),
    create_time timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE mac_keys IS 'The keys that seal cursors, tokens and page tokens. The newest seals, all verify.';
COMMENT ON COLUMN mac_keys.key_id IS 'Named in what it sealed.';
COMMENT ON COLUMN mac_keys.secret IS 'The secret: 32 bytes from the strong random source of the server.';
COMMENT ON COLUMN mac_keys.create_time IS 'When the key was made.';
-- Two version 4 UUIDs: 244 random bits in 32 bytes, without an extension.
INSERT INTO mac_keys (secret)
VALUES (decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));

CREATE TABLE apps (
    app text PRIMARY KEY,
    create_time timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE apps IS 'The consuming products.';
COMMENT ON COLUMN apps.app IS 'The name of the app.';
COMMENT ON COLUMN apps.create_time IS 'When it was registered.';

CREATE TABLE accounts (
    account_id uuid PRIMARY KEY,
    email text NOT NULL,
    email_key text NOT NULL UNIQUE,
    state text NOT NULL CHECK (state IN ('ACTIVE')),
    version bigint NOT NULL CHECK (version > 0),
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE accounts IS 'The persons, one row each for all organizations.';
COMMENT ON COLUMN accounts.account_id IS 'The id, UUIDv7.';
COMMENT ON COLUMN accounts.email IS 'Personal data: the e-mail address as it was given.';
COMMENT ON COLUMN accounts.email_key IS 'Personal data: the form in which addresses are compared, lower case with an ASCII domain.';
COMMENT ON COLUMN accounts.state IS 'ACTIVE.';
COMMENT ON COLUMN accounts.version IS '+1 with each change of the account.';
COMMENT ON COLUMN accounts.create_time IS 'When the account was created.';
COMMENT ON COLUMN accounts.update_time IS 'When the account last changed.';

CREATE TABLE organizations (
    organization_id uuid PRIMARY KEY,
    display_name text NOT NULL,
    apps text[] NOT NULL,
    state text NOT NULL CHECK (state IN ('ACTIVE')),
    version bigint NOT NULL CHECK (version > 0),
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE organizations IS 'The organizations.';
COMMENT ON COLUMN organizations.organization_id IS 'The id, UUIDv7.';
COMMENT ON COLUMN organizations.display_name IS 'The name shown to people.';
COMMENT ON COLUMN organizations.apps IS 'The apps that have or had a workspace here: whose scope the organization is in. Only grows.';
COMMENT ON COLUMN organizations.state IS 'ACTIVE.';
COMMENT ON COLUMN organizations.version IS '+1 with each change of the organization.';
COMMENT ON COLUMN organizations.create_time IS 'When the organization was created.';
COMMENT ON COLUMN organizations.update_time IS 'When the organization last changed.';

CREATE TABLE workspaces (
    organization_id uuid NOT NULL REFERENCES organizations,
    workspace_id uuid NOT NULL,
    app text NOT NULL REFERENCES apps,
    display_name text NOT NULL,
    state text NOT NULL CHECK (state IN ('ACTIVE', 'DELETED')),
    version bigint NOT NULL CHECK (version > 0),
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, workspace_id)
);
CREATE UNIQUE INDEX workspaces_live_name ON workspaces (organization_id, display_name) WHERE state = 'ACTIVE';
COMMENT ON TABLE workspaces IS 'The workspaces, DELETED ones included: followers learn of the end from the row.';
COMMENT ON COLUMN workspaces.organization_id IS 'The organization that owns it.';
COMMENT ON COLUMN workspaces.workspace_id IS 'The id, UUIDv7.';
COMMENT ON COLUMN workspaces.app IS 'The app that it belongs to. Never changes.';
COMMENT ON COLUMN workspaces.display_name IS 'The name shown to people, unique among the live ones of the organization.';
COMMENT ON COLUMN workspaces.state IS 'ACTIVE or DELETED.';
COMMENT ON COLUMN workspaces.version IS '+1 with each change of the workspace.';
COMMENT ON COLUMN workspaces.create_time IS 'When the workspace was created.';
COMMENT ON COLUMN workspaces.update_time IS 'When the workspace last changed.';

CREATE TABLE members (
    organization_id uuid NOT NULL REFERENCES organizations,
    member_id uuid NOT NULL,
    account_id uuid NOT NULL REFERENCES accounts,
    role text NOT NULL CHECK (role IN ('OWNER', 'ADMIN', 'MEMBER', 'GUEST')),
    state text NOT NULL CHECK (state IN ('ACTIVE', 'DEACTIVATED', 'REMOVED')),
    revoked_by uuid CHECK ((revoked_by IS NULL) = (state = 'ACTIVE')),
    apps text[] NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, member_id),
    UNIQUE (organization_id, account_id)
);
CREATE INDEX members_by_account ON members (account_id);
CREATE INDEX members_active_owners ON members (organization_id) WHERE role = 'OWNER' AND state = 'ACTIVE';
COMMENT ON TABLE members IS 'Accounts in organizations, REMOVED ones included: who returns keeps id and version.';
COMMENT ON COLUMN members.organization_id IS 'The organization.';
COMMENT ON COLUMN members.member_id IS 'The id, UUIDv7.';
COMMENT ON COLUMN members.account_id IS 'The account.';
COMMENT ON COLUMN members.role IS 'OWNER, ADMIN, MEMBER or GUEST.';
COMMENT ON COLUMN members.state IS 'ACTIVE, DEACTIVATED or REMOVED.';
COMMENT ON COLUMN members.revoked_by IS 'The command that last took the access away. Null while ACTIVE.';
COMMENT ON COLUMN members.apps IS 'The apps in which the member has or had a workspace membership: whose scope the member is in. Only grows.';
COMMENT ON COLUMN members.version IS '+1 with each change of the member.';
COMMENT ON COLUMN members.create_time IS 'When the member was first added.';
COMMENT ON COLUMN members.update_time IS 'When the member last changed.';

CREATE TABLE profiles (
    organization_id uuid NOT NULL,
    member_id uuid NOT NULL,
    display_name text NOT NULL,
    PRIMARY KEY (organization_id, member_id),
    FOREIGN KEY (organization_id, member_id) REFERENCES members
);
COMMENT ON TABLE profiles IS 'Personal data of members, per organization.';
COMMENT ON COLUMN profiles.organization_id IS 'The organization.';
COMMENT ON COLUMN profiles.member_id IS 'The member.';
COMMENT ON COLUMN profiles.display_name IS 'Personal data: the name shown in this organization.';

CREATE TABLE workspace_members (
    organization_id uuid NOT NULL,
    workspace_id uuid NOT NULL,
    member_id uuid NOT NULL,
    role text NOT NULL CHECK (role IN ('ADMIN', 'MEMBER', 'GUEST')),
    state text NOT NULL CHECK (state IN ('ACTIVE', 'DEACTIVATED', 'REMOVED')),
    revoked_by uuid CHECK ((revoked_by IS NULL) = (state = 'ACTIVE')),
    version bigint NOT NULL CHECK (version > 0),
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, workspace_id, member_id),
    FOREIGN KEY (organization_id, workspace_id) REFERENCES workspaces,
    FOREIGN KEY (organization_id, member_id) REFERENCES members
);
CREATE INDEX workspace_members_by_member ON workspace_members (organization_id, member_id);
COMMENT ON TABLE workspace_members IS 'Members in workspaces, REMOVED ones included.';
COMMENT ON COLUMN workspace_members.organization_id IS 'The organization.';
COMMENT ON COLUMN workspace_members.workspace_id IS 'The workspace.';
COMMENT ON COLUMN workspace_members.member_id IS 'The member.';
COMMENT ON COLUMN workspace_members.role IS 'ADMIN, MEMBER or GUEST.';
COMMENT ON COLUMN workspace_members.state IS 'ACTIVE, DEACTIVATED or REMOVED.';
COMMENT ON COLUMN workspace_members.revoked_by IS 'The command that last took the access away. Null while ACTIVE.';
COMMENT ON COLUMN workspace_members.version IS '+1 with each change of the membership.';
COMMENT ON COLUMN workspace_members.create_time IS 'When the member was first added to the workspace.';
COMMENT ON COLUMN workspace_members.update_time IS 'When the membership last changed.';

CREATE TABLE requests (
    caller text NOT NULL,
    request_id uuid NOT NULL,
    payload_mac bytea NOT NULL,
    command_id uuid,
    account_id uuid,
    organization_id uuid,
    workspace_id uuid,
    member_id uuid,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, request_id)
);
COMMENT ON TABLE requests IS 'Writes that carried a request_id and succeeded: a repetition is answered from here (AIP-155).';
COMMENT ON COLUMN requests.caller IS 'The workload that called: request ids are its own.';
COMMENT ON COLUMN requests.request_id IS 'The id that the caller gave.';
COMMENT ON COLUMN requests.payload_mac IS 'Keyed hash of method and payload: tells another payload, and nothing of the payload.';
COMMENT ON COLUMN requests.command_id IS 'The command, where it changed something or repeated a revocation.';
COMMENT ON COLUMN requests.account_id IS 'The account that the answer shows.';
COMMENT ON COLUMN requests.organization_id IS 'The organization that the answer shows.';
COMMENT ON COLUMN requests.workspace_id IS 'The workspace that the answer shows.';
COMMENT ON COLUMN requests.member_id IS 'The member that the answer shows.';
COMMENT ON COLUMN requests.create_time IS 'When the write was done.';

CREATE TABLE pending_changes (
    id bigserial PRIMARY KEY,
    change_id uuid NOT NULL,
    command_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    apps text[] NOT NULL,
    subject text NOT NULL,
    workspace_id uuid,
    member_id uuid,
    state text NOT NULL,
    role text,
    version bigint NOT NULL,
    reason text NOT NULL,
    caller text NOT NULL,
    acting_member_id uuid,
    record_time timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- The table is small and hot: vacuum it by count, not by share, before dead rows slow the sequencing down.
ALTER TABLE pending_changes SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
COMMENT ON TABLE pending_changes IS 'Changes that are committed and have no position yet. Written by the last statement of a command.';
COMMENT ON COLUMN pending_changes.id IS 'Drawn after every lock of the command: orders commands that saw one another.';
COMMENT ON COLUMN pending_changes.change_id IS 'The id of the change.';
COMMENT ON COLUMN pending_changes.command_id IS 'The command that produced it.';
COMMENT ON COLUMN pending_changes.organization_id IS 'The organization.';
COMMENT ON COLUMN pending_changes.apps IS 'The apps whose scope the change is in.';
COMMENT ON COLUMN pending_changes.subject IS 'ORGANIZATION, WORKSPACE, MEMBER or WORKSPACE_MEMBER.';
COMMENT ON COLUMN pending_changes.workspace_id IS 'The workspace, where the subject has one.';
COMMENT ON COLUMN pending_changes.member_id IS 'The member, where the subject has one.';
COMMENT ON COLUMN pending_changes.state IS 'The state of the subject after the change.';
COMMENT ON COLUMN pending_changes.role IS 'The role of the subject after the change, where it has one.';
COMMENT ON COLUMN pending_changes.version IS 'The version of the subject after the change.';
COMMENT ON COLUMN pending_changes.reason IS 'Why.';
COMMENT ON COLUMN pending_changes.caller IS 'The workload that commanded it.';
COMMENT ON COLUMN pending_changes.acting_member_id IS 'The member for whom the workload acted. Null: as itself.';
COMMENT ON COLUMN pending_changes.record_time IS 'When it was recorded, shortly before its commit. For people; orders nothing.';

CREATE TABLE changes (
    position bigint PRIMARY KEY,
    change_id uuid NOT NULL,
    command_id uuid NOT NULL,
    command_end bigint NOT NULL,
    organization_id uuid NOT NULL,
    apps text[] NOT NULL,
    subject text NOT NULL CHECK (subject IN ('ORGANIZATION', 'WORKSPACE', 'MEMBER', 'WORKSPACE_MEMBER')),
    workspace_id uuid,
    member_id uuid,
    state text NOT NULL,
    role text,
    version bigint NOT NULL,
    reason text NOT NULL,
    caller text NOT NULL,
    acting_member_id uuid,
    record_time timestamptz NOT NULL
);
CREATE INDEX changes_by_command ON changes (command_id);
CREATE INDEX changes_by_organization ON changes (organization_id, position);
COMMENT ON TABLE changes IS 'The log: every change at its position in the one total order. Only sequence_changes() writes it.';
COMMENT ON COLUMN changes.position IS 'The place in the order: dense from 1.';
COMMENT ON COLUMN changes.change_id IS 'The id of the change.';
COMMENT ON COLUMN changes.command_id IS 'The command that produced it.';
COMMENT ON COLUMN changes.command_end IS 'The position of the last change of the command.';
COMMENT ON COLUMN changes.organization_id IS 'The organization.';
COMMENT ON COLUMN changes.apps IS 'The apps whose scope the change is in.';
COMMENT ON COLUMN changes.subject IS 'ORGANIZATION, WORKSPACE, MEMBER or WORKSPACE_MEMBER.';
COMMENT ON COLUMN changes.workspace_id IS 'The workspace, where the subject has one.';
COMMENT ON COLUMN changes.member_id IS 'The member, where the subject has one.';
COMMENT ON COLUMN changes.state IS 'The state of the subject after the change.';
COMMENT ON COLUMN changes.role IS 'The role of the subject after the change, where it has one.';
COMMENT ON COLUMN changes.version IS 'The version of the subject after the change.';
COMMENT ON COLUMN changes.reason IS 'Why.';
COMMENT ON COLUMN changes.caller IS 'The workload that commanded it.';
COMMENT ON COLUMN changes.acting_member_id IS 'The member for whom the workload acted. Null: as itself.';
COMMENT ON COLUMN changes.record_time IS 'When it was recorded, shortly before its commit. For people; orders nothing.';

CREATE TABLE batches (
    last_position bigint PRIMARY KEY,
    first_position bigint NOT NULL,
    hash bytea NOT NULL,
    sequence_time timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE batches IS 'One row for each sequenced batch: the running hash shows later tampering with the log.';
COMMENT ON COLUMN batches.last_position IS 'The last position of the batch.';
COMMENT ON COLUMN batches.first_position IS 'The first position of the batch.';
COMMENT ON COLUMN batches.hash IS 'SHA-256 over the previous hash and every change of the batch.';
COMMENT ON COLUMN batches.sequence_time IS 'When the batch was sequenced.';

CREATE TABLE log_head (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    position bigint NOT NULL,
    change_id uuid NOT NULL,
    hash bytea NOT NULL
);
COMMENT ON TABLE log_head IS 'One row: where the log ends.';
COMMENT ON COLUMN log_head.singleton IS 'Always true: keeps the table at one row.';
COMMENT ON COLUMN log_head.position IS 'The position of the newest change. 0: none yet.';
COMMENT ON COLUMN log_head.change_id IS 'The newest change. Nil: none yet.';
COMMENT ON COLUMN log_head.hash IS 'The running hash at the newest change.';
INSERT INTO log_head (position, change_id, hash) VALUES (0, '00000000-0000-0000-0000-000000000000', ''::bytea);

CREATE TABLE log_floor (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    position bigint NOT NULL
);
COMMENT ON TABLE log_floor IS 'One row: where the log begins. Apart from the head, so that trimming never waits for sequencing.';
COMMENT ON COLUMN log_floor.singleton IS 'Always true: keeps the table at one row.';
COMMENT ON COLUMN log_floor.position IS 'Changes at or before this position may have been trimmed.';
INSERT INTO log_floor (position) VALUES (0);

CREATE TABLE subscriptions (
    subscription_id uuid PRIMARY KEY,
    app text NOT NULL REFERENCES apps,
    instance text NOT NULL,
    organization_ids uuid[] NOT NULL,
    stream_id uuid NOT NULL,
    state text NOT NULL CHECK (state IN ('LIVE', 'CLOSED', 'REPLACED')),
    applied_position bigint NOT NULL DEFAULT 0,
    create_time timestamptz NOT NULL DEFAULT now(),
    acknowledge_time timestamptz,
    end_time timestamptz CHECK ((end_time IS NULL) = (state = 'LIVE'))
);
CREATE UNIQUE INDEX subscriptions_live_instance ON subscriptions (app, instance) WHERE state = 'LIVE';
COMMENT ON TABLE subscriptions IS 'The processes that follow the log.';
COMMENT ON COLUMN subscriptions.subscription_id IS 'The id, UUIDv7.';
COMMENT ON COLUMN subscriptions.app IS 'The app that the process belongs to.';
COMMENT ON COLUMN subscriptions.instance IS 'The name of the process, unique among the live ones of the app.';
COMMENT ON COLUMN subscriptions.organization_ids IS 'The organizations that its newest stream filters by. Empty: all.';
COMMENT ON COLUMN subscriptions.stream_id IS 'Its newest stream: an older one ends, on whichever replica it is.';
COMMENT ON COLUMN subscriptions.state IS 'LIVE, CLOSED, or REPLACED by a newer one of the same instance.';
COMMENT ON COLUMN subscriptions.applied_position IS 'The position that it acknowledged to have applied. Never decreases.';
COMMENT ON COLUMN subscriptions.create_time IS 'When it was opened.';
COMMENT ON COLUMN subscriptions.acknowledge_time IS 'When it last acknowledged.';
COMMENT ON COLUMN subscriptions.end_time IS 'When it ended. Null while LIVE.';

-- Gives every committed pending change its position. One autocommitted call from the client, so that a client that is
-- paused or killed can neither hold the lock nor act late.
CREATE FUNCTION sequence_changes() RETURNS TABLE (head_position bigint, head_change_id uuid)
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
COMMENT ON FUNCTION sequence_changes() IS 'Moves every visible pending change into the log and returns its head. Whatever was committed before the call began stands at or before that head.';
