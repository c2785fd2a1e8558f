DROP INDEX workspaces_by_id;
