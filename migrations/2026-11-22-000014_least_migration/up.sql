-- Which programs may serve on this schema: those that know this migration. A migration after which the release before it
-- cannot go on names itself here, so that an older program refuses to start instead of failing by and by.

ALTER TABLE store ADD COLUMN least_migration text NOT NULL DEFAULT '20261122000010';
COMMENT ON COLUMN store.least_migration IS 'Version of the migration that a program must know to serve on this schema.';
