ALTER TABLE members DROP COLUMN vouched;

DELETE FROM erasures WHERE kind = 'ORGANIZATION';
ALTER TABLE erasures ALTER COLUMN erase_time SET DEFAULT now();
ALTER TABLE erasures DROP CONSTRAINT erasures_subject_check;
ALTER TABLE erasures DROP CONSTRAINT erasures_kind_check;
ALTER TABLE erasures ADD CONSTRAINT erasures_kind_check CHECK (kind IN ('MEMBER', 'ACCOUNT'));
ALTER TABLE erasures ADD CONSTRAINT erasures_check
    CHECK ((kind = 'MEMBER') = (account_id IS NULL) AND (kind = 'MEMBER') = (member_id IS NOT NULL)
           AND (kind = 'MEMBER') = (organization_id IS NOT NULL) AND (kind = 'MEMBER') = (tombstone_id IS NOT NULL));
COMMENT ON COLUMN erasures.erasure_id IS 'The id, UUIDv7: orders the ledger.';
COMMENT ON COLUMN erasures.kind IS 'MEMBER: a profile in one organization. ACCOUNT: an account.';
COMMENT ON COLUMN erasures.organization_id IS 'Of a MEMBER: the organization.';
COMMENT ON COLUMN erasures.erased_by IS 'OWNER: an owner erased the member. ACCOUNT: the person deleted the account.';
COMMENT ON COLUMN erasures.erase_time IS 'When.';
