//! Writes what a command decided: the rows of its subjects, then its pending changes, then COMMIT, in one pipeline.
//!
//! Rows go as arrays, one for each column, so that the text of a statement does not depend on their number: it stays
//! prepared.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use diesel::sql_types;
use diesel_async::RunQueryDsl as _;
use futures_util::{
    future::{OptionFuture, join_all},
    join,
};
use uuid::Uuid;

use super::{
    accounts::AccountWrite,
    apart::Apart,
    audit::AuditWrite,
    erase::ErasureWrite,
    error::StorageError,
    invitation_writes::InvitationWrite,
    log::{Acting, ChangeOrigin},
    prepared::{Text, prepared},
    requests::{Claim, RequestSubject},
    rows::app_words,
    transaction::Transaction,
};
use crate::rules::{
    Change, Notice, Subject,
    ids::{AppName, DisplayName, MemberId, OrganizationId},
    roles::Assignments,
    state::{Member, Moment, Organization, Workspace, WorkspaceMember},
};

/// All that a write writes before its COMMIT, besides what it wrote to find out whether it may.
pub struct Writes<'a> {
    /// The mails that are queued, first of all: the addresses are those from before the changes (R49).
    pub notices: &'a [Notice],
    /// What of an account changes.
    pub account: Option<&'a AccountWrite>,
    /// What is erased. After the mails, which read the address for the last time.
    pub erasures: &'a [ErasureWrite],
    /// The changes, in order.
    pub changes: &'a [Change],
    /// The shown name of a member.
    pub profile: Option<ProfileWrite<'a>>,
    /// What becomes of invitations.
    pub invitation: Option<&'a InvitationWrite>,
    /// What the claimed request did, where it is not what was expected.
    pub completed: Option<(Claim<'a>, &'a RequestSubject)>,
    /// Where the changes come from. None: there are none.
    pub origin: Option<ChangeOrigin>,
    /// The entry of the audit.
    pub audit: AuditWrite<'a>,
}

/// The shown name of a member.
#[derive(Debug, Clone, Copy)]
pub struct ProfileWrite<'a> {
    /// The organization.
    pub organization: OrganizationId,
    /// The member.
    pub member: MemberId,
    /// The name. None: empty.
    pub display_name: Option<&'a DisplayName>,
}

struct WriteOrganizations;

impl Text for WriteOrganizations {
    const SQL: &'static str = "
        INSERT INTO organizations (organization_id, display_name, apps, state, version, contract_id, seat_limit,
                                   self_deactivation, invitation_forwarding, guest_inactivity_days,
                                   reactivate_on_return, erased_alias, deleted_account_alias, update_time)
        SELECT organization_id, display_name, string_to_array(apps, ','), state, version, contract_id, seat_limit,
               self_deactivation, invitation_forwarding, guest_inactivity_days, reactivate_on_return, erased_alias,
               deleted_account_alias, now() - earlier * interval '1 microsecond'
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
            AS t (organization_id, display_name, apps, state, version, contract_id, seat_limit, self_deactivation,
                  invitation_forwarding, guest_inactivity_days, reactivate_on_return, erased_alias,
                  deleted_account_alias, earlier)
        ON CONFLICT (organization_id) DO UPDATE
        SET display_name = excluded.display_name, apps = excluded.apps, state = excluded.state,
            version = excluded.version, contract_id = excluded.contract_id, seat_limit = excluded.seat_limit,
            self_deactivation = excluded.self_deactivation,
            invitation_forwarding = excluded.invitation_forwarding,
            guest_inactivity_days = excluded.guest_inactivity_days,
            reactivate_on_return = excluded.reactivate_on_return, erased_alias = excluded.erased_alias,
            deleted_account_alias = excluded.deleted_account_alias, update_time = excluded.update_time";
}

struct WriteWorkspaces;

impl Text for WriteWorkspaces {
    const SQL: &'static str = "
        INSERT INTO workspaces (organization_id, workspace_id, app, display_name, state, version, update_time)
        SELECT organization_id, workspace_id, app, display_name, state, version,
               now() - earlier * interval '1 microsecond'
        FROM unnest($1, $2, $3, $4, $5, $6, $7)
            AS t (organization_id, workspace_id, app, display_name, state, version, earlier)
        ON CONFLICT (organization_id, workspace_id) DO UPDATE
        SET display_name = excluded.display_name, state = excluded.state, version = excluded.version,
            update_time = excluded.update_time";
}

struct WriteMembers;

impl Text for WriteMembers {
    const SQL: &'static str = "
        INSERT INTO members (organization_id, member_id, account_id, role, state, revoked_by, apps, version, leaving,
                             return_time, tombstone_id, erased_by, vouched, update_time)
        SELECT organization_id, member_id, account_id, role, state, revoked_by, string_to_array(apps, ','), version,
               leaving, return_time, tombstone_id, erased_by, vouched, now() - earlier * interval '1 microsecond'
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
            AS t (organization_id, member_id, account_id, role, state, revoked_by, apps, version, leaving, return_time,
                  tombstone_id, erased_by, vouched, earlier)
        ON CONFLICT (organization_id, member_id) DO UPDATE
        SET account_id = excluded.account_id, role = excluded.role, state = excluded.state,
            revoked_by = excluded.revoked_by, apps = excluded.apps, version = excluded.version,
            leaving = excluded.leaving, tombstone_id = excluded.tombstone_id, erased_by = excluded.erased_by,
            vouched = excluded.vouched,
            active_time = CASE WHEN excluded.state = 'ACTIVE' AND members.state <> 'ACTIVE' THEN now()
                               ELSE members.active_time END,
            return_remind_time = CASE WHEN excluded.return_time IS NOT DISTINCT FROM members.return_time
                                      THEN members.return_remind_time END,
            return_time = excluded.return_time, update_time = excluded.update_time";
}

struct WriteProfile;

impl Text for WriteProfile {
    const SQL: &'static str = "
        INSERT INTO profiles (organization_id, member_id, display_name) VALUES ($1, $2, $3)
        ON CONFLICT (organization_id, member_id) DO UPDATE SET display_name = excluded.display_name";
}

struct WriteMemberships;

impl Text for WriteMemberships {
    const SQL: &'static str = "
        INSERT INTO workspace_members (organization_id, workspace_id, member_id, role, state, revoked_by, version,
                                       update_time)
        SELECT organization_id, workspace_id, member_id, role, state, revoked_by, version,
               now() - earlier * interval '1 microsecond'
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)
            AS t (organization_id, workspace_id, member_id, role, state, revoked_by, version, earlier)
        ON CONFLICT (organization_id, workspace_id, member_id) DO UPDATE
        SET role = excluded.role, state = excluded.state, revoked_by = excluded.revoked_by,
            version = excluded.version, update_time = excluded.update_time";
}

struct Append;

impl Text for Append {
    const SQL: &'static str = "
        INSERT INTO pending_changes (command_id, caller, acting_member_id, change_id, organization_id, apps, subject,
                                     workspace_id, member_id, state, role, version, reason, leaving, tombstone_id,
                                     handover_to_member_id, assignments, record_time, traceparent)
        SELECT command_id, $1, acting_member_id, change_id, organization_id, string_to_array(apps, ','), subject,
               workspace_id, member_id, state, role, version, reason, leaving, tombstone_id, handover_to_member_id,
               assignments, clock_timestamp() - earlier * interval '1 microsecond', $19
        FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) WITH ORDINALITY
            AS t (command_id, acting_member_id, change_id, organization_id, apps, subject, workspace_id, member_id,
                  state, role, version, reason, leaving, tombstone_id, handover_to_member_id, assignments, earlier, n)
        ORDER BY n";
}

type Uuids = sql_types::Array<sql_types::Uuid>;
type OptionalUuids = sql_types::Array<sql_types::Nullable<sql_types::Uuid>>;
type Texts = sql_types::Array<sql_types::Text>;
type OptionalTexts = sql_types::Array<sql_types::Nullable<sql_types::Text>>;
type Numbers = sql_types::Array<sql_types::BigInt>;
type OptionalNumbers = sql_types::Array<sql_types::Nullable<sql_types::BigInt>>;
type OptionalIntegers = sql_types::Array<sql_types::Nullable<sql_types::Integer>>;
type Truths = sql_types::Array<sql_types::Bool>;
type OptionalTruths = sql_types::Array<sql_types::Nullable<sql_types::Bool>>;
type OptionalTimes = sql_types::Array<sql_types::Nullable<sql_types::Timestamptz>>;

impl Transaction {
    /// Writes everything and commits, in one round trip. From the first statement on it is not cancelled any more: COMMIT
    /// follows at once. An error may mean that the commit happened: only a repetition with the same request id tells.
    pub async fn write_and_commit(self, writes: Writes<'_>) -> Result<(), StorageError> {
        let Writes { notices, account, erasures, changes, profile, invitation, completed, origin, audit } =
            writes;
        let subjects = Subjects::after(changes);
        let apart = Apart::of(changes, !erasures.is_empty());
        self.committing();
        // A thing stands before what refers to it: a member before its memberships. The changes come last: see `append`.
        let (
            queued,
            account,
            departures,
            erased,
            organizations,
            workspaces,
            members,
            profile,
            memberships,
            invitation,
            completed,
            audited,
            severed,
            appended,
            committed,
        ) = join!(
            OptionFuture::from((!notices.is_empty()).then(|| self.queue_mails(notices))),
            OptionFuture::from(account.map(|account| self.update_account(account))),
            OptionFuture::from(self.write_departures(changes, origin.as_ref(), &apart)),
            join_all(erasures.iter().map(|erasure| self.erase(erasure))),
            OptionFuture::from(
                some(&subjects.organizations).map(|rows| self.write_organizations(rows, &apart))
            ),
            OptionFuture::from(some(&subjects.workspaces).map(|rows| self.write_workspaces(rows, &apart))),
            OptionFuture::from(some(&subjects.members).map(|rows| self.write_members(rows, &apart))),
            OptionFuture::from(profile.map(|profile| self.write_profile(profile))),
            OptionFuture::from(some(&subjects.memberships).map(|rows| self.write_memberships(rows, &apart))),
            OptionFuture::from(invitation.map(|write| self.write_invitation(write))),
            OptionFuture::from(completed.map(|(claim, subject)| self.complete_request(claim, subject))),
            self.audit(&audit),
            // Behind the entry of the erasure itself, and late: what chains the audit waits from here on.
            join_all(erasures.iter().map(|erasure| self.sever_audit(&erasure.what))),
            OptionFuture::from(origin.as_ref().map(|origin| self.append(changes, origin, &apart))),
            self.send_commit(),
        );
        erased.into_iter().chain(severed).collect::<Result<(), _>>()?;
        for written in [
            queued,
            account,
            departures,
            organizations,
            workspaces,
            members,
            profile,
            memberships,
            invitation,
            completed,
            Some(audited),
            appended,
        ] {
            written.unwrap_or(Ok(()))?;
        }
        committed
    }

    async fn write_organizations(&self, rows: &[&Organization], apart: &Apart) -> Result<(), StorageError> {
        let query = prepared::<WriteOrganizations, _>(|sql| {
            sql.bind::<Uuids, _>(column(rows, |row| row.id.0))
                .bind::<Texts, _>(column(rows, |row| row.display_name.as_str()))
                .bind::<Texts, _>(column(rows, |row| app_list(&row.apps)))
                .bind::<Texts, _>(column(rows, |row| row.state.as_str()))
                .bind::<Numbers, _>(column(rows, |row| row.version))
                .bind::<OptionalUuids, _>(column(rows, |row| row.contract.map(|contract| contract.0)))
                .bind::<OptionalNumbers, _>(column(rows, |row| row.settings.seat_limit))
                .bind::<Truths, _>(column(rows, |row| row.settings.self_deactivation))
                .bind::<Truths, _>(column(rows, |row| row.settings.invitation_forwarding))
                .bind::<OptionalIntegers, _>(column(rows, |row| row.settings.guest_inactivity_days))
                .bind::<Truths, _>(column(rows, |row| row.settings.reactivate_on_return))
                .bind::<Texts, _>(column(rows, |row| row.settings.erased_alias.as_str()))
                .bind::<Texts, _>(column(rows, |row| row.settings.deleted_account_alias.as_str()))
                .bind::<Numbers, _>(column(rows, |row| apart.earlier(row.id.0)))
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }

    async fn write_workspaces(&self, rows: &[&Workspace], apart: &Apart) -> Result<(), StorageError> {
        let query = prepared::<WriteWorkspaces, _>(|sql| {
            sql.bind::<Uuids, _>(column(rows, |row| row.organization_id.0))
                .bind::<Uuids, _>(column(rows, |row| row.id.0))
                .bind::<Texts, _>(column(rows, |row| row.app.as_str()))
                .bind::<Texts, _>(column(rows, |row| row.display_name.as_str()))
                .bind::<Texts, _>(column(rows, |row| row.state.as_str()))
                .bind::<Numbers, _>(column(rows, |row| row.version))
                .bind::<Numbers, _>(column(rows, |row| apart.earlier(row.organization_id.0)))
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }

    async fn write_members(&self, rows: &[&Member], apart: &Apart) -> Result<(), StorageError> {
        let query = prepared::<WriteMembers, _>(|sql| {
            sql.bind::<Uuids, _>(column(rows, |row| row.organization_id.0))
                .bind::<Uuids, _>(column(rows, |row| row.id.0))
                .bind::<OptionalUuids, _>(column(rows, |row| row.account_id.map(|account| account.0)))
                .bind::<Texts, _>(column(rows, |row| row.role.as_str()))
                .bind::<Texts, _>(column(rows, |row| row.state.as_str()))
                .bind::<OptionalUuids, _>(column(rows, |row| row.revoked_by.map(|command| command.0)))
                .bind::<Texts, _>(column(rows, |row| app_list(&row.apps)))
                .bind::<Numbers, _>(column(rows, |row| row.version))
                .bind::<Truths, _>(column(rows, |row| row.leaving))
                .bind::<OptionalTimes, _>(column(rows, |row| row.return_time.and_then(time_of)))
                .bind::<OptionalUuids, _>(column(rows, |row| row.tombstone.map(|tombstone| tombstone.id)))
                .bind::<OptionalTexts, _>(column(rows, |row| {
                    row.tombstone.map(|tombstone| tombstone.erased_by.as_str())
                }))
                .bind::<Truths, _>(column(rows, |row| row.vouched))
                .bind::<Numbers, _>(column(rows, |row| apart.earlier(row.organization_id.0)))
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }

    async fn write_memberships(&self, rows: &[&WorkspaceMember], apart: &Apart) -> Result<(), StorageError> {
        let query = prepared::<WriteMemberships, _>(|sql| {
            sql.bind::<Uuids, _>(column(rows, |row| row.organization_id.0))
                .bind::<Uuids, _>(column(rows, |row| row.workspace_id.0))
                .bind::<Uuids, _>(column(rows, |row| row.member_id.0))
                .bind::<Texts, _>(column(rows, |row| row.role.as_str()))
                .bind::<Texts, _>(column(rows, |row| row.state.as_str()))
                .bind::<OptionalUuids, _>(column(rows, |row| row.revoked_by.map(|command| command.0)))
                .bind::<Numbers, _>(column(rows, |row| row.version))
                .bind::<Numbers, _>(column(rows, |row| apart.earlier(row.organization_id.0)))
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }

    /// Sets the shown name of a member.
    async fn write_profile(&self, profile: ProfileWrite<'_>) -> Result<(), StorageError> {
        let ProfileWrite { organization, member, display_name } = profile;
        let query = prepared::<WriteProfile, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0)
                .bind::<sql_types::Uuid, _>(member.0)
                .bind::<sql_types::Text, _>(display_name.map(DisplayName::as_str).unwrap_or_default())
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }

    /// Hands the changes of a command to sequencing. Must be the last statement before the commit: the ids that it draws
    /// must come after every lock of the command, or a command that saw it could be placed before it.
    async fn append(
        &self,
        changes: &[Change],
        origin: &ChangeOrigin,
        apart: &Apart,
    ) -> Result<(), StorageError> {
        let columns = Columns::of(changes, origin.acting, apart);
        // What is told of at different times is not to be found together by one trace (R46).
        let traceparent = origin.traceparent.as_deref().filter(|_| !apart.is_needed());
        let query = prepared::<Append, _>(|sql| {
            sql.bind::<sql_types::Text, _>(origin.caller.as_str())
                .bind::<Uuids, _>(columns.command_id)
                .bind::<OptionalUuids, _>(columns.acting_member_id)
                .bind::<Uuids, _>(columns.change_id)
                .bind::<Uuids, _>(columns.organization_id)
                .bind::<Texts, _>(columns.apps)
                .bind::<Texts, _>(columns.subject)
                .bind::<OptionalUuids, _>(columns.workspace_id)
                .bind::<OptionalUuids, _>(columns.member_id)
                .bind::<Texts, _>(columns.state)
                .bind::<OptionalTexts, _>(columns.role)
                .bind::<Numbers, _>(columns.version)
                .bind::<Texts, _>(columns.reason)
                .bind::<OptionalTruths, _>(columns.leaving)
                .bind::<OptionalUuids, _>(columns.tombstone_id)
                .bind::<OptionalUuids, _>(columns.handover_to_member_id)
                .bind::<OptionalTexts, _>(columns.assignments)
                .bind::<Numbers, _>(columns.earlier)
                .bind::<sql_types::Nullable<sql_types::Text>, _>(traceparent)
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }
}

/// The rows, unless there are none.
fn some<T>(rows: &[T]) -> Option<&[T]> {
    (!rows.is_empty()).then_some(rows)
}

/// None where a moment is out of what a calendar can say; nothing that is parsed is.
pub(super) fn time_of(moment: Moment) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(moment.0)
}

fn column<'a, T, C>(rows: &[&'a T], cell: impl Fn(&'a T) -> C) -> Vec<C> {
    rows.iter().map(|row| cell(row)).collect()
}

/// Apps as one text: arrays of arrays cannot be unnested by one level. App names have no comma: they are DNS labels.
fn app_list(apps: &BTreeSet<AppName>) -> String {
    app_words(apps).join(",")
}

/// The subjects of changes as they are after all of them, by kind.
#[derive(Default)]
struct Subjects<'a> {
    organizations: Vec<&'a Organization>,
    workspaces: Vec<&'a Workspace>,
    members: Vec<&'a Member>,
    memberships: Vec<&'a WorkspaceMember>,
}

impl<'a> Subjects<'a> {
    fn after(changes: &'a [Change]) -> Self {
        let mut subjects = Self::default();
        for subject in last_states(changes) {
            match subject {
                Subject::Organization(organization) => subjects.organizations.push(organization),
                Subject::Workspace(workspace) => subjects.workspaces.push(workspace),
                Subject::Member(member) => subjects.members.push(member),
                Subject::WorkspaceMember(membership) => subjects.memberships.push(membership),
            }
        }
        subjects
    }
}

/// Of each subject the state after its last change, the subjects in the order of those.
fn last_states(changes: &[Change]) -> Vec<&Subject> {
    let mut seen = HashSet::new();
    let mut last: Vec<&Subject> = changes
        .iter()
        .rev()
        .map(|change| &change.subject)
        .filter(|subject| {
            seen.insert(match subject {
                Subject::Organization(organization) => (organization.id.0, None),
                Subject::Workspace(workspace) => (workspace.id.0, None),
                Subject::Member(member) => (member.id.0, None),
                Subject::WorkspaceMember(membership) => {
                    (membership.workspace_id.0, Some(membership.member_id.0))
                }
            })
        })
        .collect();
    last.reverse();
    last
}

/// Changes, turned from rows to columns for `unnest`.
#[derive(Default)]
struct Columns {
    command_id: Vec<Uuid>,
    acting_member_id: Vec<Option<Uuid>>,
    change_id: Vec<Uuid>,
    organization_id: Vec<Uuid>,
    apps: Vec<String>,
    subject: Vec<&'static str>,
    workspace_id: Vec<Option<Uuid>>,
    member_id: Vec<Option<Uuid>>,
    state: Vec<&'static str>,
    role: Vec<Option<&'static str>>,
    version: Vec<i64>,
    reason: Vec<&'static str>,
    leaving: Vec<Option<bool>>,
    tombstone_id: Vec<Option<Uuid>>,
    handover_to_member_id: Vec<Option<Uuid>>,
    assignments: Vec<Option<&'static str>>,
    earlier: Vec<i64>,
}

impl Columns {
    fn of(changes: &[Change], acting: Acting, apart: &Apart) -> Self {
        let mut columns = Self::default();
        for change in changes {
            columns.push(change, acting);
            let organization = change.subject.organization_id().0;
            let earlier = apart.earlier(organization);
            // Ids that are made one after the other show it, as times do.
            columns.change_id.push(if earlier == 0 { Uuid::now_v7() } else { Uuid::new_v4() });
            columns.organization_id.push(organization);
            columns.earlier.push(earlier);
        }
        columns
    }

    fn push(&mut self, change: &Change, acting: Acting) {
        let (subject, workspace_id, member_id, state, role) = match &change.subject {
            Subject::Organization(organization) => {
                ("ORGANIZATION", None, None, organization.state.as_str(), None)
            }
            Subject::Workspace(workspace) => {
                ("WORKSPACE", Some(workspace.id.0), None, workspace.state.as_str(), None)
            }
            Subject::Member(member) => {
                ("MEMBER", None, Some(member.id.0), member.state.as_str(), Some(member.role.as_str()))
            }
            Subject::WorkspaceMember(membership) => (
                "WORKSPACE_MEMBER",
                Some(membership.workspace_id.0),
                Some(membership.member_id.0),
                membership.state.as_str(),
                Some(membership.role.as_str()),
            ),
        };
        self.acting_member_id.push(acting.within(&change.subject).map(|member| member.0));
        self.command_id.push(change.command.0);
        self.apps.push(app_list(&change.apps));
        self.subject.push(subject);
        self.workspace_id.push(workspace_id);
        self.member_id.push(member_id);
        self.state.push(state);
        self.role.push(role);
        self.version.push(change.subject.version());
        self.reason.push(change.reason.as_str());
        let member = match &change.subject {
            Subject::Member(member) => Some(member),
            _ => None,
        };
        self.leaving.push(member.map(|member| member.leaving));
        self.tombstone_id.push(member.and_then(|member| member.tombstone).map(|tombstone| tombstone.id));
        self.handover_to_member_id.push(change.handover_to.map(|member| member.0));
        self.assignments.push(change.assignments.map(Assignments::as_str));
    }
}
