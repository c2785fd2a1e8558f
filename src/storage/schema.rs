//! The tables as diesel sees them. A test compares this file with the database.

#![allow(missing_docs, unreachable_pub)]

diesel::table! {
    store (singleton) {
        singleton -> Bool,
        store_id -> Uuid,
        create_time -> Timestamptz,
        least_migration -> Text,
    }
}
diesel::table! {
    mac_keys (key_id) { key_id -> Int4, secret -> Bytea, create_time -> Timestamptz, }
}
diesel::table! {
    apps (app) {
        app -> Text,
        create_time -> Timestamptz,
        lease_ttl_ms -> Int8,
        serve_stale -> Bool,
        min_instances -> Int4,
        unregister_time -> Nullable<Timestamptz>,
        version -> Int8,
    }
}
diesel::table! {
    accounts (account_id) {
        account_id -> Uuid,
        email -> Nullable<Text>,
        email_key -> Nullable<Text>,
        state -> Text,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
        language -> Text,
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
        contract_id -> Nullable<Uuid>,
        seat_limit -> Nullable<Int8>,
        self_deactivation -> Bool,
        invitation_forwarding -> Bool,
        guest_inactivity_days -> Nullable<Int4>,
        reactivate_on_return -> Bool,
        erased_alias -> Text,
        deleted_account_alias -> Text,
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
        account_id -> Nullable<Uuid>,
        role -> Text,
        state -> Text,
        revoked_by -> Nullable<Uuid>,
        apps -> Array<Text>,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
        leaving -> Bool,
        active_time -> Timestamptz,
        return_time -> Nullable<Timestamptz>,
        return_remind_time -> Nullable<Timestamptz>,
        tombstone_id -> Nullable<Uuid>,
        erased_by -> Nullable<Text>,
        vouched -> Bool,
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
        invitation_id -> Nullable<Uuid>,
        contract_id -> Nullable<Uuid>,
        erasure_id -> Nullable<Uuid>,
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
        leaving -> Nullable<Bool>,
        tombstone_id -> Nullable<Uuid>,
        handover_to_member_id -> Nullable<Uuid>,
        assignments -> Nullable<Text>,
        traceparent -> Nullable<Text>,
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
        leaving -> Nullable<Bool>,
        tombstone_id -> Nullable<Uuid>,
        handover_to_member_id -> Nullable<Uuid>,
        assignments -> Nullable<Text>,
        traceparent -> Nullable<Text>,
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
        leaving -> Nullable<Bool>,
        tombstone_id -> Nullable<Uuid>,
        handover_to_member_id -> Nullable<Uuid>,
        assignments -> Nullable<Text>,
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
    log_floor (singleton) {
        singleton -> Bool,
        position -> Int8,
        change_id -> Nullable<Uuid>,
        traces_forgotten -> Int8,
    }
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
        grant_seq -> Int8,
        lease_ttl_ms -> Int8,
        counted -> Bool,
        serve_stale -> Bool,
        begin_position -> Int8,
        receipts_position -> Int8,
        end_position -> Nullable<Int8>,
    }
}
diesel::table! {
    enforcements (organization_id, command_id, app) {
        organization_id -> Uuid,
        command_id -> Uuid,
        app -> Text,
        position -> Int8,
        state -> Text,
        write_time -> Timestamptz,
        enforce_time -> Timestamptz,
        instances -> Int4,
        applied -> Int4,
        lapsed -> Int4,
        lapsed_instances -> Array<Text>,
        applied_instances -> Array<Text>,
    }
}
diesel::table! {
    receipts (organization_id, position, subscription_id) {
        organization_id -> Uuid,
        position -> Int8,
        subscription_id -> Uuid,
        app -> Text,
        instance -> Text,
        outcome -> Text,
        ended_sessions -> Int4,
        handed_over -> Int4,
        detail -> Text,
        record_time -> Timestamptz,
        revoking -> Bool,
    }
}
diesel::table! {
    lost_revocations (change_id) {
        change_id -> Uuid,
        organization_id -> Uuid,
        workspace_id -> Nullable<Uuid>,
        member_id -> Uuid,
        reason -> Text,
        record_time -> Nullable<Timestamptz>,
        app -> Text,
        instance -> Text,
        report_time -> Timestamptz,
        decision -> Nullable<Text>,
        decide_time -> Nullable<Timestamptz>,
    }
}
diesel::table! {
    contracts (contract_id) {
        contract_id -> Uuid,
        display_name -> Text,
        seat_limit -> Nullable<Int8>,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
    }
}
diesel::table! {
    account_external_ids (issuer, subject) {
        issuer -> Text,
        subject -> Text,
        account_id -> Uuid,
    }
}
diesel::table! {
    member_activity (organization_id, member_id) {
        organization_id -> Uuid,
        member_id -> Uuid,
        active_time -> Timestamptz,
    }
}
diesel::table! {
    invitations (organization_id, invitation_id) {
        organization_id -> Uuid,
        invitation_id -> Uuid,
        email -> Nullable<Text>,
        email_key -> Nullable<Text>,
        role -> Text,
        state -> Text,
        generation -> Int4,
        language -> Text,
        inviting_member_id -> Nullable<Uuid>,
        member_id -> Nullable<Uuid>,
        version -> Int8,
        send_time -> Timestamptz,
        expire_time -> Timestamptz,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
    }
}
diesel::table! {
    invitation_workspaces (organization_id, invitation_id, workspace_id) {
        organization_id -> Uuid,
        invitation_id -> Uuid,
        workspace_id -> Uuid,
        role -> Text,
        revoked -> Bool,
    }
}
diesel::table! {
    invitation_sends (send_id) {
        send_id -> Uuid,
        email_mac -> Bytea,
        send_time -> Timestamptz,
    }
}
diesel::table! {
    departures (organization_id, command_id, member_id) {
        organization_id -> Uuid,
        command_id -> Uuid,
        member_id -> Uuid,
        reason -> Text,
        caller -> Text,
        acting_member_id -> Nullable<Uuid>,
        handover_to_member_id -> Nullable<Uuid>,
        seats_freed -> Int4,
        depart_time -> Timestamptz,
    }
}
diesel::table! {
    history_floor (singleton) {
        singleton -> Bool,
        position -> Int8,
        record_time -> Nullable<Timestamptz>,
    }
}
diesel::table! {
    erasures (erasure_id) {
        erasure_id -> Uuid,
        kind -> Text,
        organization_id -> Nullable<Uuid>,
        member_id -> Nullable<Uuid>,
        tombstone_id -> Nullable<Uuid>,
        account_id -> Nullable<Uuid>,
        erased_by -> Text,
        profiles -> Int4,
        addresses -> Int4,
        external_ids -> Int4,
        invitations -> Int4,
        mails -> Int4,
        erase_time -> Timestamptz,
    }
}
diesel::table! {
    mails (mail_id) {
        mail_id -> Uuid,
        kind -> Text,
        recipient -> Text,
        language -> Text,
        organization_id -> Nullable<Uuid>,
        workspace_id -> Nullable<Uuid>,
        member_id -> Nullable<Uuid>,
        account_id -> Nullable<Uuid>,
        invitation_id -> Nullable<Uuid>,
        invitation_generation -> Nullable<Int4>,
        attempts -> Int4,
        next_attempt_time -> Timestamptz,
        claim_id -> Nullable<Uuid>,
        create_time -> Timestamptz,
    }
}

diesel::table! {
    pending_audit_entries (id) {
        id -> Int8,
        record_time -> Timestamptz,
        caller -> Nullable<Text>,
        acting_account_id -> Nullable<Uuid>,
        method -> Text,
        request_id -> Nullable<Uuid>,
        command_id -> Nullable<Uuid>,
        organization_id -> Nullable<Uuid>,
        outcome -> Text,
        times -> Int8,
    }
}
diesel::table! {
    audit_entries (position) {
        position -> Int8,
        record_time -> Timestamptz,
        caller -> Nullable<Text>,
        actor -> Nullable<Bytea>,
        method -> Text,
        request_id -> Nullable<Uuid>,
        command_id -> Nullable<Uuid>,
        organization_id -> Nullable<Uuid>,
        outcome -> Text,
        times -> Int8,
        hash -> Bytea,
    }
}
diesel::table! {
    audit_actors (actor) {
        actor -> Bytea,
        salt -> Uuid,
        account_id -> Uuid,
        organization_id -> Nullable<Uuid>,
    }
}
diesel::table! {
    audit_head (singleton) {
        singleton -> Bool,
        position -> Int8,
        hash -> Bytea,
        floor_position -> Int8,
        floor_hash -> Bytea,
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
diesel::allow_tables_to_appear_in_same_query!(audit_entries, audit_actors);
