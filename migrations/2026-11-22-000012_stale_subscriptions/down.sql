ALTER TABLE subscriptions DROP COLUMN serve_stale;
