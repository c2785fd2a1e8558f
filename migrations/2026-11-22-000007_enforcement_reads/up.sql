-- What is asked of enforcement is looked up, and what is written most often stays small.

CREATE INDEX subscriptions_ended ON subscriptions (end_time) WHERE NOT counted;
CREATE INDEX history_by_position ON history (position);
-- Every instance updates its row a few times each second, in columns that no index has: with room on the page the new
-- row stands beside the old one, and no index is touched.
ALTER TABLE subscriptions SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
