DROP FUNCTION trim_audit(interval, bigint);
DROP FUNCTION sever_audit(uuid, uuid);
DROP FUNCTION chain_audit(bigint);
DROP TABLE audit_head;
DROP TABLE audit_actors;
DROP TABLE audit_entries;
DROP TABLE pending_audit_entries;
