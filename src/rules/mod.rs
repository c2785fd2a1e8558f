//! The rules of belonging: pure decisions, without I/O, clock, randomness or async.
//!
//! [`decide`] takes a slice of the store, who acts, and a command, and answers with the changes or the
//! [`Violation`] that refuses it. What the numbers mean:
//!
//! - R01 an organization keeps at least one workspace; deleting a member's only ACTIVE one cascades as R13.
//! - R02 an account lives on without any membership; a DEACTIVATED one counts as belonging (R31).
//! - R03 a change of role changes the role alone.
//! - R04 everyone may deactivate themselves, in a workspace and in the organization.
//! - R08, R09 only owners erase members; only the holder deletes an account: [`permit_account`].
//! - R06 an organization may forbid just that: [`state::Settings`].
//! - R05, R07, R61 who may do what to whom: [`tables::permitted`].
//! - R10, R53 who revokes an invitation, or one workspace of it; R54 what was accepted is not revoked. R52 until then it
//!   is no member: [`decide_invitation`].
//! - R12 to R14 a workspace deactivation closes that workspace, and the organization with the last ACTIVE one.
//! - R15 a command from an app is the same command. R16, R21 it takes effect with its commit.
//! - R17, R21, R24 who is told by mail: [`notices()`], one message for each person and command. R49 it goes to the
//!   address from before the command.
//! - R18 leaving is planned first: [`plan`] decides like [`decide`], and also says what stands in the way.
//! - R19, R20 an organization deactivation closes everything in it at once. R22 other organizations are untouched.
//! - R23 a change of the account is a change of each of its members: [`account_changed`].
//! - R24, R62 which state accepts which command: [`tables::accepts`]; a repetition changes nothing.
//! - R25 to R29 a REMOVED member is in no list and returns with the same id, into no workspace.
//! - R30, R33, R34 a reactivation restores what the same command closed; one workspace reopens the organization.
//! - R35, R48 an ACTIVE member holds a seat, free with the access: [`seats`].
//! - R37 who is deactivated by others keeps the account. R36, R38, R39 leaving the only organization ends the
//!   account, and only with an acknowledgement: else [`Blocker::OnlyOrganization`].
//! - R41 to R43 who is DEACTIVATED or REMOVED can be erased by an owner, and when the account goes too: [`ends_account`]. R44 to R46 content stays, under a random tombstone.
//! - R47 to R51: who is erased is in no list, is told at the address that is then gone, and comes back as somebody new.
//! - R55, R56, R59 what time does: inactive guests, planned returns, who is to leave.
//! - R57 a workspace keeps an ACTIVE admin: a successor, or an explicit decision otherwise. R58 who takes over is named in
//!   the change.
//! - R60 an organization keeps at least one ACTIVE owner; the only remaining member may end it by leaving.

pub mod change;
pub mod command;
mod decide;
pub mod departure;
mod draft;
mod erasure;
pub mod ids;
pub mod invitations;
mod members;
mod notices;
mod organizations;
pub mod roles;
pub mod seats;
mod shown;
pub mod state;
pub mod tables;
#[cfg(test)]
mod tests;
mod time;
pub mod violation;
mod workspace_members;

pub use change::{Change, Reason, Subject};
pub use command::{
    ActingMember, Actor, Command, CreateOrganization, EraseMember, ErasureCause, OrganizationUpdate, Restore,
    SettingsUpdate,
};
pub use decide::{MAX_CHANGES, Plan, account_changed, decide, permit_account, plan};
pub use departure::{Blocker, Departure};
pub use erasure::ends_account;
pub use invitations::{InvitationCommand, decide_invitation};
pub use notices::{MailKind, Notice, Recipient, notices};
pub use state::State;
pub use violation::Violation;
