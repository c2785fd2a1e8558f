-- Who was told of a change and owes a receipt, by positions of the log: clocks decide nothing.

ALTER TABLE subscriptions
    ADD COLUMN begin_position bigint NOT NULL DEFAULT 0,
    ADD COLUMN receipts_position bigint NOT NULL DEFAULT 0,
    ADD COLUMN end_position bigint;
COMMENT ON COLUMN subscriptions.begin_position IS 'It was told of changes after this position alone.';
COMMENT ON COLUMN subscriptions.receipts_position IS 'It may give receipts for changes after this position: begin_position or, where it goes on from a cursor of an earlier one of the same instance, that of the earlier one.';
COMMENT ON COLUMN subscriptions.end_position IS 'Where the log ended when it was given up. Null: it was not.';

ALTER TABLE receipts ADD COLUMN revoking boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN receipts.revoking IS 'Whether the change ended access.';

ALTER TABLE enforcements ADD COLUMN applied_instances text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN enforcements.applied_instances IS 'The names of those that had applied it and were to say what they ended; at most 100.';
