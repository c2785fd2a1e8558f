-- An app asks about workspaces by their ids alone, and is told only of its own.

CREATE UNIQUE INDEX workspaces_by_id ON workspaces (workspace_id);
