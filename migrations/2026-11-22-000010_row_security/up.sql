-- A row of an organization is seen and written by whoever says whose rows they are after: one organization's
-- (rollcall.organization) or those of all (rollcall.across), until the end of a transaction. Nothing said, nothing seen.
-- What a statement asks for stands in its WHERE clause; this is for the day on which that is wrong.
--
-- The owner of the tables is held too; a superuser or a role with BYPASSRLS is not. Replicas of earlier releases say
-- nothing, so they see nothing from here on: end them first.
--
-- Each setting is asked for once for a statement, not for each row. Comparing UUIDs tells nobody anything, so conditions
-- on the organization are looked up in indexes as before.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'organizations', 'workspaces', 'members', 'profiles', 'workspace_members', 'member_activity', 'invitations',
        'invitation_workspaces', 'departures', 'erasures', 'mails', 'pending_changes', 'changes', 'history',
        'enforcements', 'receipts', 'lost_revocations'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY of_organization ON %I FOR ALL '
            'USING ((SELECT current_setting(''rollcall.across'', true) = ''yes'') '
            'OR organization_id = (SELECT nullif(current_setting(''rollcall.organization'', true), '''')::uuid))',
            name);
    END LOOP;
END
$$;
