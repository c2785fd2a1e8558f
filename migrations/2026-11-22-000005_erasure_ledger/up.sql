-- The ledger of erasures has the ends of organizations too, and days in place of times. Members remember whether somebody
-- stood for it that they belong.

ALTER TABLE erasures DROP CONSTRAINT erasures_kind_check;
ALTER TABLE erasures DROP CONSTRAINT erasures_check;
ALTER TABLE erasures ADD CONSTRAINT erasures_kind_check CHECK (kind IN ('MEMBER', 'ORGANIZATION', 'ACCOUNT'));
ALTER TABLE erasures ADD CONSTRAINT erasures_subject_check
    CHECK ((organization_id IS NOT NULL) = (kind IN ('MEMBER', 'ORGANIZATION'))
           AND (member_id IS NOT NULL) = (kind = 'MEMBER') AND (tombstone_id IS NOT NULL) = (kind = 'MEMBER')
           AND (account_id IS NOT NULL) = (kind = 'ACCOUNT'));
-- What was erased by one command has one time to the microsecond, which would link what R46 keeps apart.
ALTER TABLE erasures ALTER COLUMN erase_time SET DEFAULT date_trunc('day', now(), 'UTC');
UPDATE erasures SET erase_time = date_trunc('day', erase_time, 'UTC');
COMMENT ON TABLE erasures IS 'The ledger of what was erased: applied again to a store that was restored from before. Ids alone; rows about an account and rows about its members name nothing in common.';
COMMENT ON COLUMN erasures.erasure_id IS 'The id, random but for its beginning: the ledger has members first, then organizations, then accounts.';
COMMENT ON COLUMN erasures.kind IS 'MEMBER: a profile in one organization. ORGANIZATION: all that an organization had. ACCOUNT: an account.';
COMMENT ON COLUMN erasures.organization_id IS 'Of a MEMBER or an ORGANIZATION: the organization.';
COMMENT ON COLUMN erasures.erased_by IS 'OWNER: an owner erased the member, or the organization was deleted. ACCOUNT: the person deleted the account.';
COMMENT ON COLUMN erasures.erase_time IS 'The day, in UTC: its beginning.';

ALTER TABLE members ADD COLUMN vouched boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN members.vouched IS 'Whether the person agreed to belong, or a workload as itself said so. Where another person did, an erasure does not end the account (R43).';
