//! Rows and feed entries as messages of the API.

mod enforcement;
mod history;
mod words;

use words::{
    account_state, assignments, erased_by, invitation_state, member_state, organization_role,
    organization_state, workspace_member_state, workspace_role, workspace_state,
};

pub(super) use enforcement::{report, subscription};
pub(super) use history::{
    audit_entry, departure, history_change, lost_revocation, member_at, workspace_member_at,
};
pub(super) use words::reason;

use std::time::SystemTime;

use chrono::{DateTime, Utc};

use crate::{
    engine::{app_etag, etag},
    feed::{Body, Digest, Encoded, Entry, Message, Thing, stream::BOOKMARK_INTERVAL},
    grpc::{feed::Subscribed, status},
    proto::{self, Frame, subject::Subject},
    rules::{
        self,
        ids::{ExternalId, StoreId},
        roles::ErasedBy,
    },
    storage::{
        AccountRead, AccountRow, AppRow, AppSettings, ContractRow, ErasureRow, InvitationRead, MemberColumns,
        MemberRead, OrganizationRead, SettingsColumns, WorkspaceMemberRead, WorkspaceRead,
    },
};

fn time(time: DateTime<Utc>) -> Option<prost_types::Timestamp> {
    Some(SystemTime::from(time).into())
}

/// Ids as texts.
pub(super) fn ids(ids: Vec<uuid::Uuid>) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn settings(row: SettingsColumns) -> proto::OrganizationSettings {
    let SettingsColumns {
        seat_limit,
        self_deactivation,
        invitation_forwarding,
        guest_inactivity_days,
        reactivate_on_return,
        erased_alias,
        deleted_account_alias,
    } = row;
    proto::OrganizationSettings {
        seat_limit,
        self_deactivation,
        invitation_forwarding,
        guest_inactivity_days,
        reactivate_on_return,
        erased_alias,
        deleted_account_alias,
    }
}

fn external_id(id: &ExternalId) -> proto::ExternalId {
    proto::ExternalId { issuer: id.issuer().to_owned(), subject: id.subject().to_owned() }
}

/// An account.
pub(super) fn account(read: AccountRead) -> proto::Account {
    let AccountRead { account, issuers, subjects } = read;
    let AccountRow { account_id, email, state, language, version, create_time, update_time } = account;
    let external_ids = issuers.into_iter().zip(subjects);
    proto::Account {
        etag: etag(&[account_id], version),
        account_id: account_id.to_string(),
        email: email.unwrap_or_default(),
        state: account_state(&state).into(),
        language,
        version,
        create_time: time(create_time),
        update_time: time(update_time),
        external_ids: external_ids.map(|(issuer, subject)| proto::ExternalId { issuer, subject }).collect(),
    }
}

/// An entry of the ledger of erasures, before it is sealed.
pub(super) fn erasure(row: ErasureRow) -> proto::Erasure {
    let text = |id: Option<uuid::Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    proto::Erasure {
        erasure_id: row.erasure_id.to_string(),
        organization_id: text(row.organization_id),
        member_id: text(row.member_id),
        tombstone_id: text(row.tombstone_id),
        account_id: text(row.account_id),
        erased_by: erased_by(&row.erased_by).into(),
        erase_time: time(row.erase_time),
        seal: String::new(),
    }
}

/// What a receipt tells: when and how much, and nothing of whom.
pub(super) fn receipt(row: ErasureRow) -> proto::GetErasureResponse {
    proto::GetErasureResponse {
        erase_time: time(row.erase_time),
        erased_by: erased_by(&row.erased_by).into(),
        profiles: row.profiles,
        addresses: row.addresses,
        external_ids: row.external_ids,
        invitations: row.invitations,
        mails: row.mails,
    }
}

/// An app.
pub(super) fn app(row: AppRow) -> proto::App {
    let AppSettings { lease_ttl, serve_stale, min_instances } = row.settings();
    let AppRow { app, create_time, version, .. } = row;
    proto::App {
        etag: app_etag(&app, version),
        name: app,
        create_time: time(create_time),
        // At most five minutes, which any duration can say.
        lease_ttl: lease_ttl.try_into().ok(),
        serve_stale,
        min_instances,
    }
}

/// An organization.
pub(super) fn organization(row: OrganizationRead) -> proto::Organization {
    let OrganizationRead {
        organization_id,
        display_name,
        state,
        contract_id,
        settings,
        version,
        create_time,
        update_time,
    } = row;
    proto::Organization {
        etag: etag(&[organization_id], version),
        organization_id: organization_id.to_string(),
        display_name,
        state: organization_state(&state).into(),
        version,
        create_time: time(create_time),
        update_time: time(update_time),
        settings: Some(self::settings(settings)),
        contract_id: contract_id.map(|id| id.to_string()).unwrap_or_default(),
        seats_used: None,
    }
}

/// A contract.
pub(super) fn contract(row: ContractRow) -> proto::Contract {
    let ContractRow { contract_id, display_name, seat_limit, version, create_time, update_time } = row;
    proto::Contract {
        etag: etag(&[contract_id], version),
        contract_id: contract_id.to_string(),
        display_name,
        seat_limit,
        version,
        create_time: time(create_time),
        update_time: time(update_time),
        seats_used: None,
    }
}

/// A workspace.
pub(super) fn workspace(row: WorkspaceRead) -> proto::Workspace {
    let WorkspaceRead {
        organization_id,
        workspace_id,
        app,
        display_name,
        state,
        version,
        create_time,
        update_time,
    } = row;
    proto::Workspace {
        etag: etag(&[workspace_id], version),
        organization_id: organization_id.to_string(),
        workspace_id: workspace_id.to_string(),
        app,
        display_name,
        state: workspace_state(&state).into(),
        version,
        create_time: time(create_time),
        update_time: time(update_time),
    }
}

/// A member.
pub(super) fn member(row: MemberRead) -> proto::Member {
    let MemberRead { member, display_name, email } = row;
    let MemberColumns {
        organization_id,
        member_id,
        account_id,
        role,
        state,
        leaving,
        return_time,
        tombstone_id,
        erased_by,
        version,
        create_time,
        update_time,
    } = member;
    proto::Member {
        etag: etag(&[member_id], version),
        organization_id: organization_id.to_string(),
        member_id: member_id.to_string(),
        account_id: account_id.map(|id| id.to_string()).unwrap_or_default(),
        role: organization_role(&role).into(),
        state: member_state(&state).into(),
        version,
        // Of an ERASED member nothing is left to show.
        profile: erased_by.is_none().then_some(proto::Profile { display_name, email }),
        create_time: time(create_time),
        update_time: time(update_time),
        leaving,
        return_time: return_time.and_then(time),
        tombstone_id: tombstone_id.map(|id| id.to_string()).unwrap_or_default(),
        // Told in the feed alone.
        external_ids: Vec::new(),
    }
}

/// How to render a member beside content (R28, R44, R45). None: not a member of the organization.
pub(super) fn rendered(
    member_id: String,
    row: Option<&MemberRead>,
    settings: &SettingsColumns,
) -> proto::RenderedMember {
    let Some(row) = row else {
        return proto::RenderedMember {
            member_id,
            rendering: proto::Rendering::Unknown.into(),
            ..proto::RenderedMember::default()
        };
    };
    let state = member_state(&row.member.state);
    let rendering = match state {
        proto::MemberState::Active => proto::Rendering::Plain,
        proto::MemberState::Deactivated => proto::Rendering::Deactivated,
        proto::MemberState::Removed => proto::Rendering::Struck,
        proto::MemberState::Erased => proto::Rendering::Alias,
        proto::MemberState::Invited | proto::MemberState::Unspecified => proto::Rendering::Unknown,
    };
    let display_name = match row.member.erased_by.as_deref().and_then(ErasedBy::from_word) {
        None => &row.display_name,
        Some(ErasedBy::Owner) => &settings.erased_alias,
        Some(ErasedBy::Account) => &settings.deleted_account_alias,
    };
    proto::RenderedMember {
        member_id,
        display_name: display_name.clone(),
        state: state.into(),
        rendering: rendering.into(),
        tombstone_id: row.member.tombstone_id.map(|id| id.to_string()).unwrap_or_default(),
    }
}

/// A membership in a workspace.
pub(super) fn workspace_member(row: WorkspaceMemberRead) -> proto::WorkspaceMember {
    let WorkspaceMemberRead {
        organization_id,
        workspace_id,
        member_id,
        role,
        state,
        version,
        create_time,
        update_time,
    } = row;
    proto::WorkspaceMember {
        etag: etag(&[workspace_id, member_id], version),
        organization_id: organization_id.to_string(),
        workspace_id: workspace_id.to_string(),
        member_id: member_id.to_string(),
        role: workspace_role(&role).into(),
        state: workspace_member_state(&state).into(),
        version,
        create_time: time(create_time),
        update_time: time(update_time),
    }
}

/// An invitation. Its generation is no one's business: it is in the secret.
pub(super) fn invitation(row: InvitationRead) -> proto::Invitation {
    let InvitationRead {
        organization_id,
        invitation_id,
        email,
        role,
        state,
        generation: _,
        language,
        inviting_member_id,
        member_id,
        version,
        send_time,
        expire_time,
        create_time,
        update_time,
        workspace_ids,
        workspace_roles,
        workspace_revoked,
    } = row;
    let workspaces = workspace_ids.into_iter().zip(workspace_roles).zip(workspace_revoked);
    let workspaces = workspaces.map(|((id, role), revoked)| proto::InvitationWorkspace {
        workspace_id: id.to_string(),
        role: workspace_role(&role).into(),
        revoked,
    });
    proto::Invitation {
        organization_id: organization_id.to_string(),
        invitation_id: invitation_id.to_string(),
        email: email.unwrap_or_default(),
        role: organization_role(&role).into(),
        state: invitation_state(&state).into(),
        workspaces: workspaces.collect(),
        language,
        inviting_member_id: inviting_member_id.map(|id| id.to_string()).unwrap_or_default(),
        member_id: member_id.map(|id| id.to_string()).unwrap_or_default(),
        version,
        send_time: time(send_time),
        expire_time: time(expire_time),
        create_time: time(create_time),
        update_time: time(update_time),
    }
}

/// A message of a stream. `digest` says what its follower must hold at a position.
pub(super) fn watch_response(
    message: Message,
    store_id: StoreId,
    subscribed: Option<Subscribed>,
    digest: impl FnOnce(i64) -> Option<Digest>,
) -> Frame {
    let Message { previous_cursor: previous, cursor, body } = message;
    match body {
        Body::Opened { head, snapshot_follows, refusal } => {
            let opened = proto::Opened {
                store_id: store_id.to_string(),
                subscription_id: subscribed.map(|subscribed| subscribed.id.to_string()).unwrap_or_default(),
                head_position: head,
                snapshot_follows,
                cursor_refusal: refusal.map(status::refusal_reason).unwrap_or_default().into(),
                bookmark_interval: enforcement::duration(BOOKMARK_INTERVAL),
                lease_ttl: subscribed.and_then(|subscribed| enforcement::duration(subscribed.ttl)),
                serve_stale: subscribed.is_some_and(|subscribed| subscribed.serve_stale),
            };
            Frame::opened(&previous, &cursor, &opened)
        }
        Body::SnapshotPage { index, things } => {
            let subjects = things.into_iter().map(subject_of).collect();
            Frame::snapshot_page(&previous, &cursor, &proto::SnapshotPage { index, subjects })
        }
        Body::SnapshotEnd { pages, position, ready } => {
            let end = proto::SnapshotEnd { pages, position, ready_position: ready };
            Frame::snapshot_end(&previous, &cursor, &end)
        }
        Body::Batch { changes: Encoded(runs), part, more_parts } => {
            Frame::batch(&previous, &cursor, runs, part, more_parts)
        }
        Body::Bookmark { position } => {
            let (digest, digest_position) = digest(position)
                .map(|Digest { bytes, position }| (bytes.to_vec(), position))
                .unwrap_or_default();
            let bookmark = proto::Bookmark { position, digest, digest_position };
            Frame::bookmark(&previous, &cursor, &bookmark)
        }
    }
}

/// Writes a change as it stands in a batch, for all streams that send it.
pub fn encode_change(entry: &Entry, profiles: bool, out: &mut Vec<u8>) {
    let Entry {
        point,
        command_id,
        command_end: _,
        apps: _,
        reason: why,
        thing,
        record_time,
        caller,
        acting_member_id,
        handover_to,
        assignments: policy,
        traceparent,
    } = entry;
    let mut thing = thing.clone();
    if let (Thing::Member { profile, .. }, false) = (&mut thing, profiles) {
        *profile = None;
    }
    let change = proto::Change {
        change_id: point.change_id.to_string(),
        position: point.position,
        command_id: command_id.to_string(),
        reason: reason(*why).into(),
        subject: Some(subject_of(thing)),
        record_time: Some((*record_time).into()),
        caller: caller.clone(),
        acting_member_id: acting_member_id.map(|id| id.to_string()).unwrap_or_default(),
        handover_to_member_id: handover_to.map(|id| id.to_string()).unwrap_or_default(),
        assignments: policy.map(assignments).unwrap_or_default().into(),
        traceparent: traceparent.clone().unwrap_or_default(),
    };
    Frame::write_change(&change, out);
}

/// A thing as a plan says it would be: without a version, which other commands count up as well.
pub(super) fn planned(subject: rules::Subject) -> proto::Subject {
    subject_of(match subject {
        rules::Subject::Organization(organization) => Thing::Organization {
            id: organization.id,
            display_name: organization.display_name.as_str().to_owned(),
            state: organization.state,
            version: 0,
        },
        rules::Subject::Workspace(workspace) => Thing::Workspace {
            organization_id: workspace.organization_id,
            id: workspace.id,
            app: workspace.app,
            display_name: workspace.display_name.as_str().to_owned(),
            state: workspace.state,
            version: 0,
        },
        rules::Subject::Member(member) => Thing::Member {
            organization_id: member.organization_id,
            id: member.id,
            account_id: member.account_id,
            role: member.role,
            state: member.state,
            leaving: member.leaving,
            // Another one is drawn when it is done.
            tombstone_id: None,
            version: 0,
            profile: None,
            external_ids: Vec::new(),
        },
        rules::Subject::WorkspaceMember(membership) => Thing::WorkspaceMember {
            organization_id: membership.organization_id,
            workspace_id: membership.workspace_id,
            member_id: membership.member_id,
            role: membership.role,
            state: membership.state,
            version: 0,
        },
    })
}

fn subject_of(thing: Thing) -> proto::Subject {
    let subject = match thing {
        Thing::Organization { id, display_name, state, version } => {
            Subject::Organization(proto::Organization {
                organization_id: id.to_string(),
                display_name,
                state: organization_state(state.as_str()).into(),
                version,
                ..proto::Organization::default()
            })
        }
        Thing::Workspace { organization_id, id, app, display_name, state, version } => {
            Subject::Workspace(proto::Workspace {
                organization_id: organization_id.to_string(),
                workspace_id: id.to_string(),
                app: app.to_string(),
                display_name,
                state: workspace_state(state.as_str()).into(),
                version,
                ..proto::Workspace::default()
            })
        }
        Thing::Member {
            organization_id,
            id,
            account_id,
            role,
            state,
            leaving,
            tombstone_id,
            version,
            profile,
            external_ids,
        } => Subject::Member(proto::Member {
            organization_id: organization_id.to_string(),
            member_id: id.to_string(),
            account_id: account_id.map(|id| id.to_string()).unwrap_or_default(),
            role: organization_role(role.as_str()).into(),
            state: member_state(state.as_str()).into(),
            version,
            profile: profile.map(|(display_name, email)| proto::Profile { display_name, email }),
            leaving,
            tombstone_id: tombstone_id.map(|id| id.to_string()).unwrap_or_default(),
            external_ids: external_ids.iter().map(external_id).collect(),
            ..proto::Member::default()
        }),
        Thing::WorkspaceMember { organization_id, workspace_id, member_id, role, state, version } => {
            Subject::WorkspaceMember(proto::WorkspaceMember {
                organization_id: organization_id.to_string(),
                workspace_id: workspace_id.to_string(),
                member_id: member_id.to_string(),
                role: workspace_role(role.as_str()).into(),
                state: workspace_member_state(state.as_str()).into(),
                version,
                ..proto::WorkspaceMember::default()
            })
        }
    };
    proto::Subject { subject: Some(subject) }
}
