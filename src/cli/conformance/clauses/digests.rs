//! What an instance holds, compared with what it should hold (C16).

use std::time::Duration;

use rollcall_client::v1::{ChangeReason, MemberState, Subject, WorkspaceMemberState};

use crate::cli::conformance::{
    digest,
    instance::Said,
    report::Passed,
    stage::{SOON, Stage},
    world::change,
};

/// Long enough for a Watch that should not come.
const QUIET: Duration = Duration::from_millis(1200);

/// C16: digests that fit, one of another time, and one that does not fit.
pub(super) async fn compared(stage: &mut Stage) -> Passed {
    let line = stage.begin().await?;
    let world = stage.world.clone();
    let (ada, bob, carol) = (&world.ada, &world.bob, &world.carol);
    let with = |changed: Vec<Subject>| [world.place(), changed].concat();
    line.digest(digest::of(&world.everyone()), line.position());
    let enters = change(ChangeReason::ScopeEntered, world.member(carol, MemberState::Active, 300));
    let joins = change(ChangeReason::Created, world.membership(carol, WorkspaceMemberState::Active, 1));
    let gone = change(ChangeReason::Removed, world.membership(bob, WorkspaceMemberState::Removed, 2));
    line.batch(vec![world.out(ada, 2), enters, joins]);
    line.batch(vec![gone]);
    let now = with(vec![
        world.member(ada, MemberState::Active, 1),
        world.membership(ada, WorkspaceMemberState::Deactivated, 2),
        world.member(bob, MemberState::Active, 1),
        world.membership(bob, WorkspaceMemberState::Removed, 2),
        world.member(carol, MemberState::Active, 300),
        world.membership(carol, WorkspaceMemberState::Active, 1),
    ]);
    stage.applied(&line).await?;
    line.digest(digest::of(&now), line.position());
    let expected = "no Watch while the digests are those of what was sent";
    stage.unwatched(expected, QUIET).await?;
    // Of a position before the last changes: nothing to compare with.
    line.digest(digest::of(&world.everyone()), line.position() - 4);
    let expected = "no Watch because of a digest of a position before the last change";
    stage.unwatched(expected, QUIET).await?;
    // Something that this instance does not hold, or holds in another version: Bob's return, of which nobody told it.
    let returned = with(vec![
        world.member(ada, MemberState::Active, 1),
        world.membership(ada, WorkspaceMemberState::Deactivated, 2),
        world.member(bob, MemberState::Active, 1),
        world.membership(bob, WorkspaceMemberState::Active, 3),
        world.member(carol, MemberState::Active, 300),
        world.membership(carol, WorkspaceMemberState::Active, 1),
    ]);
    line.digest(digest::of(&returned), line.position());
    let call = stage.doubting(&line).await?;
    let line = stage.open(call);
    line.snapshot(returned);
    stage.becomes(bob, &Said::allowed(bob.role_word), SOON).await
}
