DROP FUNCTION trim_history(interval, bigint);
DROP FUNCTION trim_log(interval, interval, interval, bigint);
ALTER TABLE log_floor DROP COLUMN change_id;
COMMENT ON COLUMN log_floor.position IS 'Changes at or before this position may have been trimmed.';
DROP TABLE history;
