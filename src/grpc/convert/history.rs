//! Rows of the history as messages of the API.

use super::{
    assignments, member_state, organization_role, organization_state, reason, time, workspace_member_state,
    workspace_role, workspace_state,
};
use crate::{
    audit::heads::hex,
    proto::{self, subject::Subject},
    rules::{
        Reason,
        ids::{MemberId, OrganizationId},
        roles::Assignments,
    },
    storage::{AuditRow, DepartureRow, LostRevocationRow, RecordedRow, StandingRow},
};

fn text(id: Option<uuid::Uuid>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

/// A stored word as the reason of the API; a word that this version does not know is unspecified.
fn reason_of(word: &str) -> i32 {
    Reason::from_word(word).map(reason).unwrap_or_default().into()
}

/// An entry of the audit.
pub(in crate::grpc) fn audit_entry(row: AuditRow) -> proto::AuditEntry {
    let AuditRow {
        position,
        record_time,
        caller,
        actor,
        account_id,
        method,
        request_id,
        command_id,
        organization_id,
        outcome,
        times,
    } = row;
    proto::AuditEntry {
        position,
        record_time: time(record_time),
        caller: caller.unwrap_or_default(),
        actor: actor.map(|actor| hex(&actor)).unwrap_or_default(),
        actor_account_id: text(account_id),
        method,
        request_id: text(request_id),
        command_id: text(command_id),
        organization_id: text(organization_id),
        outcome,
        times,
    }
}

/// A revocation that the log lost.
pub(in crate::grpc) fn lost_revocation(row: LostRevocationRow) -> proto::LostRevocation {
    let LostRevocationRow {
        change_id,
        organization_id,
        workspace_id,
        member_id,
        reason,
        record_time,
        app,
        instance,
    } = row;
    proto::LostRevocation {
        change_id: change_id.to_string(),
        organization_id: organization_id.to_string(),
        workspace_id: text(workspace_id),
        member_id: member_id.to_string(),
        reason: reason_of(&reason),
        record_time: record_time.and_then(time),
        instance,
        app,
    }
}

/// A change as it stands in the feed, without what is joined there.
pub(in crate::grpc) fn history_change(row: RecordedRow) -> proto::Change {
    let RecordedRow {
        position,
        change_id,
        command_id,
        organization_id,
        subject,
        workspace_id,
        member_id,
        state,
        role,
        version,
        reason,
        caller,
        acting_member_id,
        record_time,
        leaving,
        tombstone_id,
        handover_to_member_id,
        assignments: policy,
    } = row;
    let organization_id = organization_id.to_string();
    let role = role.unwrap_or_default();
    let subject = match subject.as_str() {
        "ORGANIZATION" => Some(Subject::Organization(proto::Organization {
            organization_id,
            state: organization_state(&state).into(),
            version,
            ..proto::Organization::default()
        })),
        "WORKSPACE" => Some(Subject::Workspace(proto::Workspace {
            organization_id,
            workspace_id: text(workspace_id),
            state: workspace_state(&state).into(),
            version,
            ..proto::Workspace::default()
        })),
        "MEMBER" => Some(Subject::Member(proto::Member {
            organization_id,
            member_id: text(member_id),
            role: organization_role(&role).into(),
            state: member_state(&state).into(),
            version,
            leaving: leaving.unwrap_or_default(),
            tombstone_id: text(tombstone_id),
            ..proto::Member::default()
        })),
        "WORKSPACE_MEMBER" => Some(Subject::WorkspaceMember(proto::WorkspaceMember {
            organization_id,
            workspace_id: text(workspace_id),
            member_id: text(member_id),
            role: workspace_role(&role).into(),
            state: workspace_member_state(&state).into(),
            version,
            ..proto::WorkspaceMember::default()
        })),
        // A kind that this version does not know.
        _ => None,
    };
    proto::Change {
        change_id: change_id.to_string(),
        position,
        command_id: command_id.to_string(),
        reason: reason_of(&reason),
        subject: Some(proto::Subject { subject }),
        record_time: time(record_time),
        caller,
        acting_member_id: text(acting_member_id),
        handover_to_member_id: text(handover_to_member_id),
        assignments: policy
            .and_then(|word| Assignments::from_word(&word))
            .map(assignments)
            .unwrap_or_default()
            .into(),
        traceparent: String::new(),
    }
}

/// A member as it was.
pub(in crate::grpc) fn member_at(
    organization: OrganizationId,
    member: MemberId,
    row: StandingRow,
) -> proto::Member {
    proto::Member {
        organization_id: organization.to_string(),
        member_id: member.to_string(),
        role: organization_role(&row.role).into(),
        state: member_state(&row.state).into(),
        version: row.version,
        leaving: row.leaving,
        tombstone_id: text(row.tombstone_id),
        ..proto::Member::default()
    }
}

/// A membership in a workspace as it was.
pub(in crate::grpc) fn workspace_member_at(
    organization: OrganizationId,
    member: MemberId,
    row: StandingRow,
) -> proto::WorkspaceMember {
    proto::WorkspaceMember {
        organization_id: organization.to_string(),
        workspace_id: text(row.workspace_id),
        member_id: member.to_string(),
        role: workspace_role(&row.role).into(),
        state: workspace_member_state(&row.state).into(),
        version: row.version,
        ..proto::WorkspaceMember::default()
    }
}

/// A departure.
pub(in crate::grpc) fn departure(row: DepartureRow) -> proto::Departure {
    let DepartureRow {
        organization_id,
        command_id,
        member_id,
        reason,
        caller,
        acting_member_id,
        handover_to_member_id,
        seats_freed,
        depart_time,
        apps,
        instances,
        applied,
        lapsed,
    } = row;
    let counts = instances.into_iter().zip(applied).zip(lapsed);
    let apps =
        apps.into_iter().zip(counts).map(|(app, ((following, applied), lapsed))| proto::DepartureInApp {
            app,
            instances: following + lapsed,
            applied_instances: applied,
            lapsed_instances: lapsed,
        });
    proto::Departure {
        organization_id: organization_id.to_string(),
        member_id: member_id.to_string(),
        reason: reason_of(&reason),
        command_id: command_id.to_string(),
        depart_time: time(depart_time),
        caller,
        acting_member_id: text(acting_member_id),
        seats_freed,
        handover_to_member_id: text(handover_to_member_id),
        apps: apps.collect(),
    }
}
