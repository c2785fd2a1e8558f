ALTER TABLE subscriptions RESET (fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
DROP INDEX history_by_position;
DROP INDEX subscriptions_ended;
