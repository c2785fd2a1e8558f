//! The tables as diesel sees them. A test compares this file with the database.

#![allow(missing_docs, unreachable_pub)]

diesel::table! {
    store (singleton) { singleton -> Bool, store_id -> Uuid, create_time -> Timestamptz, }
}
diesel::table! {
    mac_keys (key_id) { key_id -> Int4, secret -> Bytea, create_time -> Timestamptz, }
}
diesel::table! {
    apps (app) { app -> Text, create_time -> Timestamptz, }
}
diesel::table! {
    accounts (account_id) {
        account_id -> Uuid,
        email -> Text,
        email_key -> Text,
        state -> Text,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
    }
}
diesel::table! {
    organizations (organization_id) {
        organization_id -> Uuid,
        display_name -> Text,
        apps -> Array<Text>,
        state -> Text,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
    }
}
diesel::table! {
    workspaces (organization_id, workspace_id) {
        organization_id -> Uuid,
        workspace_id -> Uuid,
        app -> Text,
        display_name -> Text,
        state -> Text,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
    }
}
diesel::table! {
    members (organization_id, member_id) {
        organization_id -> Uuid,
        member_id -> Uuid,
        account_id -> Uuid,
        role -> Text,
        state -> Text,
        revoked_by -> Nullable<Uuid>,
        apps -> Array<Text>,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
    }
}
diesel::table! {
    profiles (organization_id, member_id) {
        organization_id -> Uuid,
        member_id -> Uuid,
        display_name -> Text,
    }
}
diesel::table! {
    workspace_members (organization_id, workspace_id, member_id) {
        organization_id -> Uuid,
        workspace_id -> Uuid,
        member_id -> Uuid,
        role -> Text,
        state -> Text,
        revoked_by -> Nullable<Uuid>,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
    }
}
diesel::table! {
    requests (caller, request_id) {
        caller -> Text,
        request_id -> Uuid,
        payload_mac -> Bytea,
        command_id -> Nullable<Uuid>,
        account_id -> Nullable<Uuid>,
        organization_id -> Nullable<Uuid>,
        workspace_id -> Nullable<Uuid>,
        member_id -> Nullable<Uuid>,
        create_time -> Timestamptz,
    }
}
diesel::table! {
    pending_changes (id) {
        id -> Int8,
        change_id -> Uuid,
        command_id -> Uuid,
        organization_id -> Uuid,
        apps -> Array<Text>,
        subject -> Text,
        workspace_id -> Nullable<Uuid>,
        member_id -> Nullable<Uuid>,
        state -> Text,
        role -> Nullable<Text>,
        version -> Int8,
        reason -> Text,
        caller -> Text,
        acting_member_id -> Nullable<Uuid>,
        record_time -> Timestamptz,
    }
}
diesel::table! {
    changes (position) {
        position -> Int8,
        change_id -> Uuid,
        command_id -> Uuid,
        command_end -> Int8,
        organization_id -> Uuid,
        apps -> Array<Text>,
        subject -> Text,
        workspace_id -> Nullable<Uuid>,
        member_id -> Nullable<Uuid>,
        state -> Text,
        role -> Nullable<Text>,
        version -> Int8,
        reason -> Text,
        caller -> Text,
        acting_member_id -> Nullable<Uuid>,
        record_time -> Timestamptz,
    }
}
diesel::table! {
    history (organization_id, position) {
        organization_id -> Uuid,
        position -> Int8,
        change_id -> Uuid,
        command_id -> Uuid,
        subject -> Text,
        workspace_id -> Nullable<Uuid>,
        member_id -> Nullable<Uuid>,
        state -> Text,
        role -> Nullable<Text>,
        version -> Int8,
        reason -> Text,
        caller -> Text,
        acting_member_id -> Nullable<Uuid>,
        record_time -> Timestamptz,
    }
}
diesel::table! {
    batches (last_position) {
        last_position -> Int8,
        first_position -> Int8,
        hash -> Bytea,
        sequence_time -> Timestamptz,
    }
}
diesel::table! {
    log_head (singleton) { singleton -> Bool, position -> Int8, change_id -> Uuid, hash -> Bytea, }
}
diesel::table! {
    log_floor (singleton) { singleton -> Bool, position -> Int8, change_id -> Nullable<Uuid>, }
}
diesel::table! {
    subscriptions (subscription_id) {
        subscription_id -> Uuid,
        app -> Text,
        instance -> Text,
        organization_ids -> Array<Uuid>,
        stream_id -> Uuid,
        state -> Text,
        applied_position -> Int8,
        create_time -> Timestamptz,
        acknowledge_time -> Nullable<Timestamptz>,
        end_time -> Nullable<Timestamptz>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    accounts,
    organizations,
    workspaces,
    members,
    profiles,
    workspace_members
);
diesel::allow_tables_to_appear_in_same_query!(changes, log_floor);
