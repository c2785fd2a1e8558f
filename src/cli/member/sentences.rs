//! What a departure would do, in sentences that one can read aloud to the person.

use std::collections::HashMap;

use rollcall_client::v1::{self, subject::Subject};

use super::plan::{Departure, NAMED};
use crate::cli::times;

/// What is shown for an id. An id without a name is shown itself.
pub(super) struct Names(pub(super) HashMap<String, String>);

impl Names {
    fn of<'a>(&'a self, id: &'a str) -> &'a str {
        self.0.get(id).map_or(id, String::as_str)
    }

    /// Several of them: `general, boards and 3 more`.
    fn list(&self, ids: &[&str]) -> String {
        let named: Vec<&str> = ids.iter().take(NAMED).map(|id| self.of(id)).collect();
        let more = ids.len() - named.len();
        if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) }
    }
}

/// The sentences about a departure: what stands in its way first, then what it does.
pub(super) fn sentences(departure: &Departure, names: &Names) -> Vec<String> {
    let plan = &departure.plan;
    let mut sentences = Vec::new();
    if !plan.blockers.is_empty() {
        sentences.push(blocked(departure, names));
        if plan.effects.is_empty() {
            return sentences;
        }
        sentences.push("Once that is decided:".to_owned());
    } else if plan.effects.is_empty() {
        return vec![format!("Nothing changes for {}: it is so already.", names.of(&departure.member))];
    }
    sentences.push(lost(departure, names));
    sentences.extend(successors(departure, names));
    if !departure.handover_to.is_empty() {
        sentences.push(format!("What is assigned to them goes to {}.", names.of(&departure.handover_to)));
    }
    if let Some(return_time) = departure.return_time.as_ref().and_then(times::rfc3339) {
        sentences.push(format!("Their return is planned for {return_time}."));
    }
    if departure.kind != v1::DepartureKind::Erase && departure.leaves_organization() {
        sentences.push(match plan.seats_freed {
            0 => "No seat becomes free.".to_owned(),
            1 => "One seat becomes free.".to_owned(),
            seats => format!("{seats} seats become free."),
        });
        sentences.push(match plan.other_organization_ids.len() {
            0 => "There is no other organization that they can use.".to_owned(),
            1 => "They can still use 1 other organization.".to_owned(),
            others => format!("They can still use {others} other organizations."),
        });
    }
    sentences.push(end(departure, names));
    sentences
}

/// What must be decided first, and how that is said.
fn blocked(departure: &Departure, names: &Names) -> String {
    let (who, organization) = (names.of(&departure.member), names.of(&departure.organization));
    let of = |reason: &str| -> Vec<&str> {
        let blockers = departure.plan.blockers.iter().filter(|blocker| blocker.reason == reason);
        blockers.map(|blocker| blocker.resource.as_str()).collect()
    };
    let mut texts = Vec::new();
    if !of("LAST_OWNER").is_empty() {
        texts.push(format!(
            "{who} is the last active owner of {organization}. Make somebody else an owner first, or name a \
             successor (--owner-successor)."
        ));
    }
    let workspaces = of("LAST_WORKSPACE_ADMIN");
    if !workspaces.is_empty() {
        let none = if workspaces.len() == 1 { "it has" } else { "they have" };
        texts.push(format!(
            "{who} is the last active admin of {}. Name a successor (--successor) or accept that {none} none \
             (--leave-without-admin).",
            names.list(&workspaces)
        ));
    }
    if !of("ONLY_ORGANIZATION").is_empty() {
        texts.push(format!(
            "{who} belongs to no other organization, and who leaves the only one loses the account. Accept that \
             (--acknowledge-account-deletion), or have an owner deactivate them, which keeps it."
        ));
    }
    if !of("ORGANIZATION_ENDS").is_empty() {
        texts.push(format!(
            "{who} is the only member of {organization}, which would be deleted. Accept that \
             (--acknowledge-organization-deletion)."
        ));
    }
    let known = ["LAST_OWNER", "LAST_WORKSPACE_ADMIN", "ONLY_ORGANIZATION", "ORGANIZATION_ENDS"];
    let others = departure.plan.blockers.iter().filter(|one| !known.contains(&one.reason.as_str()));
    texts.extend(others.map(|blocker| format!("{}.", blocker.description)));
    format!("This cannot be done yet: {}", texts.join(" "))
}

/// Which access ends.
fn lost(departure: &Departure, names: &Names) -> String {
    use v1::DepartureKind as Kind;
    let (who, organization) = (names.of(&departure.member), names.of(&departure.organization));
    let workspaces = departure.workspaces();
    let listed = names.list(&workspaces);
    let them = match workspaces.len() {
        0 => String::new(),
        1 => format!(" and to 1 workspace: {listed}"),
        count => format!(" and to {count} workspaces: {listed}"),
    };
    let workspace = departure.workspace.as_deref().map(|id| names.of(id)).unwrap_or_default();
    match departure.kind {
        Kind::Erase => format!(
            "What is known of {who} as a person in {organization} is erased for good. What they wrote stays, \
             under an alias."
        ),
        Kind::Remove => {
            let from = match workspaces.len() {
                0 => String::new(),
                1 => format!(" nor to 1 workspace of it: {listed}"),
                count => format!(" nor to {count} workspaces of it: {listed}"),
            };
            format!("{who} no longer belongs to {organization}{from}, and is in no list any more.")
        }
        Kind::RemoveFromWorkspace => {
            format!("{who} no longer belongs to {workspace}. In {organization} nothing changes for them.")
        }
        Kind::DeactivateInWorkspace if departure.leaves_organization() => {
            format!("{who} loses access to {workspace}, their last workspace, and with it to {organization}.")
        }
        Kind::DeactivateInWorkspace => {
            format!("{who} loses access to {workspace}. They keep {organization} and their other workspaces.")
        }
        Kind::Deactivate | Kind::Unspecified => format!("{who} loses access to {organization}{them}."),
    }
}

/// Who gets which role with it.
fn successors<'a>(departure: &'a Departure, names: &'a Names) -> impl Iterator<Item = String> + 'a {
    departure.plan.effects.iter().filter_map(|effect| match subject(effect)? {
        // An owner may also only come into the sight of an app.
        Subject::Member(member)
            if member.member_id != departure.member
                && effect.reason() == v1::ChangeReason::RoleChanged
                && member.role() == v1::OrganizationRole::Owner =>
        {
            let organization = names.of(&departure.organization);
            Some(format!("{} becomes owner of {organization}.", names.of(&member.member_id)))
        }
        Subject::WorkspaceMember(membership)
            if membership.member_id != departure.member
                && membership.role() == v1::WorkspaceRole::Admin
                && membership.state() == v1::WorkspaceMemberState::Active =>
        {
            let workspace = names.of(&membership.workspace_id);
            Some(format!("{} becomes admin of {workspace}.", names.of(&membership.member_id)))
        }
        _ => None,
    })
}

/// What is gone for good, and who can undo the rest.
fn end(departure: &Departure, names: &Names) -> String {
    use v1::DepartureKind as Kind;
    let organization = names.of(&departure.organization);
    let plan = &departure.plan;
    // What is not acknowledged yet is lost all the same once it is.
    let waits = |reason: &str| plan.blockers.iter().any(|blocker| blocker.reason == reason);
    let organization_ends = plan.organization_deleted || waits("ORGANIZATION_ENDS");
    let account_ends = plan.account_deleted || waits("ONLY_ORGANIZATION");
    match (organization_ends, account_ends, departure.kind) {
        (true, true, _) => {
            format!("{organization} and their account are deleted, for good: nobody can undo that.")
        }
        (true, false, _) => format!("{organization} is deleted, for good: nobody can undo that."),
        (false, true, _) => "Their account is deleted, for good: nobody can undo that.".to_owned(),
        (false, false, Kind::Erase) => {
            "Nobody can undo that. Whoever invites them again gets a new member, without a past.".to_owned()
        }
        (false, false, Kind::Remove) => {
            "The account stays. An owner or admin can add them again, and to each workspace anew.".to_owned()
        }
        (false, false, Kind::RemoveFromWorkspace) => {
            "The account stays. An owner or admin, also one of the workspace, can add them again.".to_owned()
        }
        (false, false, _) => "Nothing is deleted; an owner or admin can bring them back.".to_owned(),
    }
}

fn subject(effect: &v1::PlannedEffect) -> Option<&Subject> {
    effect.subject.as_ref()?.subject.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let pairs = [
            ("o", "Analytical Engines"),
            ("m", "Ada Lovelace"),
            ("s", "Bob"),
            ("w", "general"),
            ("v", "boards"),
        ];
        Names(pairs.iter().map(|(id, name)| ((*id).to_owned(), (*name).to_owned())).collect())
    }

    fn member(id: &str, state: v1::MemberState) -> v1::PlannedEffect {
        let member = v1::Member { member_id: id.to_owned(), state: state.into(), ..Default::default() };
        effect(Subject::Member(member))
    }

    fn membership(workspace: &str, id: &str, state: v1::WorkspaceMemberState) -> v1::PlannedEffect {
        effect(Subject::WorkspaceMember(v1::WorkspaceMember {
            workspace_id: workspace.to_owned(),
            member_id: id.to_owned(),
            role: v1::WorkspaceRole::Admin.into(),
            state: state.into(),
            ..Default::default()
        }))
    }

    fn effect(subject: Subject) -> v1::PlannedEffect {
        let subject = Some(v1::Subject { subject: Some(subject) });
        v1::PlannedEffect { reason: v1::ChangeReason::Deactivated.into(), subject }
    }

    fn departure(kind: v1::DepartureKind, plan: v1::DeparturePlan) -> Departure {
        Departure {
            organization: "o".to_owned(),
            member: "m".to_owned(),
            workspace: None,
            kind,
            handover_to: String::new(),
            return_time: None,
            plan,
        }
    }

    fn said(departure: &Departure) -> String {
        sentences(departure, &names()).join(" ")
    }

    #[test]
    fn a_deactivation_is_read_aloud() {
        use v1::{DepartureKind::Deactivate, MemberState, WorkspaceMemberState as State};
        let effects = vec![
            member("m", MemberState::Deactivated),
            membership("w", "m", State::Deactivated),
            membership("v", "m", State::Deactivated),
            membership("v", "s", State::Active),
        ];
        let plan = v1::DeparturePlan {
            effects,
            seats_freed: 1,
            other_organization_ids: vec!["other".to_owned()],
            ..Default::default()
        };
        assert_eq!(
            said(&departure(Deactivate, plan)),
            "Ada Lovelace loses access to Analytical Engines and to 2 workspaces: general, boards. Bob becomes \
             admin of boards. One seat becomes free. They can still use 1 other organization. Nothing is deleted; \
             an owner or admin can bring them back."
        );
    }

    #[test]
    fn what_blocks_is_said_first_with_what_lifts_it() {
        let blockers = vec![v1::PlannedBlocker {
            reason: "LAST_WORKSPACE_ADMIN".to_owned(),
            resource: "w".to_owned(),
            description: String::new(),
        }];
        let plan = v1::DeparturePlan { blockers, ..Default::default() };
        assert_eq!(
            said(&departure(v1::DepartureKind::Deactivate, plan)),
            "This cannot be done yet: Ada Lovelace is the last active admin of general. Name a successor \
             (--successor) or accept that it has none (--leave-without-admin)."
        );
    }

    #[test]
    fn nobody_is_promised_that_nothing_is_deleted_where_it_would_be() {
        for (reason, gone) in
            [("ONLY_ORGANIZATION", "Their account is"), ("ORGANIZATION_ENDS", "Analytical Engines is")]
        {
            let blockers = vec![v1::PlannedBlocker { reason: reason.to_owned(), ..Default::default() }];
            let effects = vec![member("m", v1::MemberState::Deactivated)];
            let plan = v1::DeparturePlan { effects, blockers, ..Default::default() };
            let said = said(&departure(v1::DepartureKind::Deactivate, plan));
            assert!(said.ends_with(&format!("{gone} deleted, for good: nobody can undo that.")), "{said}");
        }
    }

    #[test]
    fn what_is_gone_for_good_is_said() {
        let effects = vec![member("m", v1::MemberState::Erased)];
        let plan = v1::DeparturePlan { effects, account_deleted: true, ..Default::default() };
        assert_eq!(
            said(&departure(v1::DepartureKind::Erase, plan)),
            "What is known of Ada Lovelace as a person in Analytical Engines is erased for good. What they wrote \
             stays, under an alias. Their account is deleted, for good: nobody can undo that."
        );
        let nothing = departure(v1::DepartureKind::Remove, v1::DeparturePlan::default());
        assert_eq!(said(&nothing), "Nothing changes for Ada Lovelace: it is so already.");
    }
}
