DROP FUNCTION sequence_changes();
DROP TABLE subscriptions, log_floor, log_head, batches, changes, pending_changes, requests, workspace_members, profiles,
    members, workspaces, organizations, accounts, apps, mac_keys, store;
