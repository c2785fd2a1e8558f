-- An instance that was told that it may answer after its lease goes on doing so, whatever the app is by now.

ALTER TABLE subscriptions ADD COLUMN serve_stale boolean NOT NULL DEFAULT false;
-- Which of them were told so is not known.
UPDATE subscriptions s SET serve_stale = true FROM apps a WHERE a.app = s.app AND a.serve_stale;
CREATE INDEX subscriptions_stale ON subscriptions (end_time) WHERE serve_stale AND NOT counted;
COMMENT ON COLUMN subscriptions.serve_stale IS 'Whether its instance was ever told that it may go on answering after its lease.';
