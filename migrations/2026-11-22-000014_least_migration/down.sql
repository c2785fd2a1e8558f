ALTER TABLE store DROP COLUMN least_migration;
