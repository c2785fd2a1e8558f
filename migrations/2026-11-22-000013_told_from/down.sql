ALTER TABLE enforcements DROP COLUMN applied_instances;
ALTER TABLE receipts DROP COLUMN revoking;
ALTER TABLE subscriptions DROP COLUMN begin_position, DROP COLUMN receipts_position, DROP COLUMN end_position;
