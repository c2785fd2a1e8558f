//! The store against plain tables: whatever is applied in whatever order, both answer alike.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    Tables,
    replica::{
        Person,
        store::{digest::Key, rows::Word},
    },
    v1::{
        DenialReason, ExternalId, Member, MemberState, Organization, OrganizationState, Subject, Workspace,
        WorkspaceMember, WorkspaceMemberState, WorkspaceState, subject,
    },
};

/// Few ids, so that things meet.
const IDS: u8 = 4;

fn id(kind: u8, number: u8) -> Uuid {
    Uuid::from_u128((u128::from(kind) << 64) | (u128::from(number) + 1))
}

fn text(kind: u8, number: u8) -> String {
    id(kind, number).to_string()
}

/// The organization of a workspace or member never changes.
fn organization(number: u8) -> u8 {
    number % 2
}

fn external(number: u8) -> ExternalId {
    ExternalId { issuer: "https://id.example".into(), subject: format!("subject {number}") }
}

fn subject(kind: u8, number: u8, other: u8, state: i32, version: i64) -> Subject {
    let organization_id = text(0, organization(number));
    let subject = match kind {
        0 => subject::Subject::Organization(Organization {
            organization_id: text(0, number % 2),
            state: if state == 2 {
                OrganizationState::Deleted.into()
            } else {
                OrganizationState::Active.into()
            },
            version,
            ..Organization::default()
        }),
        1 => subject::Subject::Workspace(Workspace {
            organization_id,
            workspace_id: text(1, number),
            state: if state == 2 { WorkspaceState::Deleted.into() } else { WorkspaceState::Active.into() },
            version,
            ..Workspace::default()
        }),
        2 => {
            let erased = state == MemberState::Erased as i32;
            subject::Subject::Member(Member {
                organization_id,
                member_id: text(2, number),
                // Members 0 and 1, 2 and 3 are the same person, each in two organizations.
                account_id: if erased { String::new() } else { text(3, number / 2) },
                state,
                version,
                role: 1 + i32::from(other),
                leaving: other == 1,
                external_ids: if erased { vec![] } else { vec![external(number / 2)] },
                ..Member::default()
            })
        }
        _ => subject::Subject::WorkspaceMember(WorkspaceMember {
            organization_id,
            workspace_id: text(1, number),
            // Of the same organization.
            member_id: text(2, organization(number) + 2 * (other % 2)),
            state: state.min(3),
            role: 1 + i32::from(other % 3),
            version,
            ..WorkspaceMember::default()
        }),
    };
    Subject { subject: Some(subject) }
}

fn thing(subject: &Subject) -> Thing {
    parse(subject).unwrap()
}

/// What plain tables answer.
fn plain(tables: &Tables, account: Uuid, workspace_id: Uuid) -> Result<Uuid, DenialReason> {
    let workspace = tables.workspace(&workspace_id.to_string()).ok_or(DenialReason::WorkspaceUnknown)?;
    let organization = tables.organization(&workspace.organization_id);
    if workspace.state == 2 || organization.is_some_and(|organization| organization.state == 2) {
        return Err(DenialReason::WorkspaceDeleted);
    }
    let member = tables
        .members()
        .find(|member| {
            member.organization_id == workspace.organization_id && member.account_id == account.to_string()
        })
        .ok_or(DenialReason::NotAMember)?;
    match member.state() {
        MemberState::Active => {}
        MemberState::Deactivated => return Err(DenialReason::MemberDeactivated),
        _ => return Err(DenialReason::NotAMember),
    }
    let held = tables.workspace_member(&workspace.workspace_id, &member.member_id);
    match held.map(WorkspaceMember::state) {
        Some(WorkspaceMemberState::Active) => Ok(member.member_id.parse().unwrap()),
        Some(WorkspaceMemberState::Deactivated) => Err(DenialReason::WorkspaceMemberDeactivated),
        _ => Err(DenialReason::NotInWorkspace),
    }
}

fn digest(tables: &Tables) -> u128 {
    let parse = |id: &str| Uuid::parse_str(id).unwrap();
    let word = |state, version| Word::new(state, 0, false, version);
    let organizations = tables
        .organizations()
        .map(|row| digest::of(Key::Organization(parse(&row.organization_id)), word(row.state, row.version)));
    let workspaces = tables
        .workspaces()
        .map(|row| digest::of(Key::Workspace(parse(&row.workspace_id)), word(row.state, row.version)));
    let members = tables
        .members()
        .map(|row| digest::of(Key::Member(parse(&row.member_id)), word(row.state, row.version)));
    let memberships = tables.workspace_members().map(|row| {
        let key = Key::Membership { workspace: parse(&row.workspace_id), member: parse(&row.member_id) };
        digest::of(key, word(row.state, row.version))
    });
    organizations.chain(workspaces).chain(members).chain(memberships).fold(0, u128::wrapping_add)
}

fn assert_alike(scope: &Scope, tables: &Tables) {
    for workspace in (0..IDS).map(|number| id(1, number)) {
        for number in 0..2 {
            let account = id(3, number);
            let answer = |person| scope.check(person, workspace).map(|(allowed, _)| allowed.member_id);
            let expected = plain(tables, account, workspace);
            assert_eq!(answer(account.into()), expected);
            let ExternalId { issuer, subject } = external(number);
            assert_eq!(answer(Person::External { issuer: &issuer, subject: &subject }), expected);
        }
    }
    assert_eq!(scope.digest, digest(tables));
}

proptest! {
    #[test]
    fn c5_the_store_answers_as_plain_tables_do(
        subjects in prop::collection::vec((0..4u8, 0..IDS, 0..4u8, 1..5i32, 1..12i64), 1..80),
        pause in 0..80usize,
    ) {
        let (mut store, mut tables) = (Store::default(), Tables::default());
        let mut earlier = (store.scope.clone(), tables.clone());
        for (index, (kind, number, other, state, version)) in subjects.into_iter().enumerate() {
            if index == pause {
                earlier = (store.scope.clone(), tables.clone());
            }
            // ERASED is final: what comes after it has no version above it.
            let version = if kind == 2 && state == MemberState::Erased as i32 { 100 } else { version };
            let subject = subject(kind, number, other, state, version);
            store.apply(&thing(&subject), Source::Change);
            tables.apply_subject(&subject);
        }
        assert_alike(&store.scope, &tables);
        // A moment that was published before stays as it was.
        assert_alike(&earlier.0, &earlier.1);
    }
}

/// A store with one person who may use one workspace.
fn small() -> Store {
    let mut store = Store::default();
    for kind in 0..4 {
        store.apply(&thing(&subject(kind, 0, 0, 1, 1)), Source::Change);
    }
    assert!(store.scope.check(id(3, 0).into(), id(1, 0)).is_ok());
    store
}

#[test]
fn a_session_from_before_a_revocation_is_over_also_when_access_returned() {
    let mut store = small();
    let (before, _) = store.scope.check(id(3, 0).into(), id(1, 0)).unwrap();
    let ends = |store: &Store, stamp: &crate::Stamp| {
        let (allowed, revoked) = store.scope.check(id(3, 0).into(), id(1, 0)).unwrap();
        revoked.ends(stamp, allowed.member_id)
    };
    // A change of the role ends nothing.
    store.apply(&thing(&subject(2, 0, 2, 1, 2)), Source::Change);
    assert!(!ends(&store, &before.stamp));
    for (kind, version) in [(2, 3), (3, 2)] {
        let (now, _) = store.scope.check(id(3, 0).into(), id(1, 0)).unwrap();
        store.apply(&thing(&subject(kind, 0, 0, 2, version)), Source::Change);
        assert!(store.scope.check(id(3, 0).into(), id(1, 0)).is_err());
        store.apply(&thing(&subject(kind, 0, 0, 1, version + 1)), Source::Change);
        assert!(ends(&store, &now.stamp) && ends(&store, &before.stamp));
        let (anew, _) = store.scope.check(id(3, 0).into(), id(1, 0)).unwrap();
        assert!(!ends(&store, &anew.stamp));
    }
    let of_another = crate::Stamp { member_id: id(2, 1), member_version: 9, membership_version: 9 };
    assert!(ends(&store, &of_another));
}

#[test]
fn a_snapshot_ends_only_sessions_of_what_changed_meanwhile() {
    let old = small();
    let (before, _) = old.scope.check(id(3, 0).into(), id(1, 0)).unwrap();
    for (version, ended) in [(1, false), (3, true)] {
        let mut new = Store::default();
        for kind in 0..4 {
            let version = if kind == 2 { version } else { 1 };
            new.apply(&thing(&subject(kind, 0, 0, 1, version)), Source::Snapshot);
        }
        new.remember(&old.scope);
        let (allowed, revoked) = new.scope.check(id(3, 0).into(), id(1, 0)).unwrap();
        assert_eq!(revoked.ends(&before.stamp, allowed.member_id), ended);
    }
}

#[test]
fn an_erasure_severs_the_account_and_tells_it_once_more() {
    let mut store = small();
    store.apply(&thing(&subject(2, 1, 0, 1, 1)), Source::Change);
    let erase = |store: &mut Store, number| {
        store.apply_and_tell(&thing(&subject(2, number, 0, MemberState::Erased.into(), 5)), Source::Change)
    };
    let applied = erase(&mut store, 0);
    assert_eq!((applied.account, applied.external_ids), (Some(id(3, 0)), vec![external(0)]));
    assert_eq!(store.scope.check(id(3, 0).into(), id(1, 0)).unwrap_err(), DenialReason::NotAMember);
    // The person is still a member elsewhere, and found there by the external id.
    assert_eq!(store.external_ids(id(3, 0)), [external(0)]);
    erase(&mut store, 1);
    assert!(store.external_ids(id(3, 0)).is_empty());
    assert_eq!(store.scope.externals.account("https://id.example", "subject 0"), None);
}

#[test]
fn many_rows_are_found_again() {
    let mut store = Store::default();
    let many = 20_000u128;
    let subject_of = |number: u128| {
        let member = Member {
            organization_id: text(0, 0),
            member_id: Uuid::from_u128(number << 20).to_string(),
            account_id: Uuid::from_u128(number).to_string(),
            state: 1,
            version: 1,
            ..Member::default()
        };
        Subject { subject: Some(subject::Subject::Member(member)) }
    };
    let mut shared = Vec::new();
    for number in 1..=many {
        if number % 5000 == 0 {
            shared.push((number - 1, store.scope.clone()));
        }
        store.apply(&thing(&subject_of(number)), Source::Change);
    }
    shared.push((many, store.scope));
    for (count, scope) in shared {
        let found = (1..=many).filter(|number| scope.members.place(Uuid::from_u128(number << 20)).is_some());
        assert_eq!(found.count() as u128, count);
        let organization = scope.organizations.place(id(0, 0)).unwrap();
        let found =
            (1..=many).filter(|number| scope.member_of(Uuid::from_u128(*number), organization).is_some());
        assert_eq!(found.count() as u128, count);
    }
}

#[test]
fn what_is_no_thing_is_left_out() {
    assert!(parse(&Subject { subject: None }).is_none());
    let broken = Member { organization_id: "no id".into(), ..Member::default() };
    assert!(parse(&Subject { subject: Some(subject::Subject::Member(broken)) }).is_none());
}
