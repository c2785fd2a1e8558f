//! AccessService: answered from the service's own replica of the log, which is an instance like any other.

mod answers;
mod command;
mod digests;
mod instance;
mod stale;

use rollcall_client::v1::*;
use tonic::Status;

use crate::fixtures::{Org, Person, World};

/// Asks about a person by account.
fn asking(account: &str, workspace: &str) -> CheckAccessRequest {
    CheckAccessRequest { check: Some(check_of(account, workspace)), ..Default::default() }
}

fn check_of(account: &str, workspace: &str) -> AccessCheck {
    let person = Some(access_check::Person::AccountId(account.to_owned()));
    AccessCheck { person, workspace_id: workspace.to_owned(), ..Default::default() }
}

async fn ask(world: &World, request: CheckAccessRequest) -> Result<CheckAccessResponse, Status> {
    world.access().check_access(request).await.map(tonic::Response::into_inner)
}

/// The answer at a token.
async fn check_at(world: &World, token: &str, person: &Person, workspace: &str) -> Access {
    let request =
        CheckAccessRequest { at_least_as_fresh: token.to_owned(), ..asking(&person.account, workspace) };
    ask(world, request).await.expect("an answer").access.expect("the answer")
}

/// Why not, at a token.
async fn denied_at(world: &World, token: &str, person: &Person, workspace: &str) -> DenialReason {
    let access = check_at(world, token, person, workspace).await;
    assert!(!access.allowed && access.member_id.is_empty() && access.workspace_role == 0, "{access:?}");
    access.denial_reason()
}

/// An organization with somebody in its workspace of `chat`.
async fn scene(world: &World) -> (Org, Person) {
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    (org, bob)
}

/// Something of everything that was written so far.
async fn token(world: &World, org: &Org) -> String {
    world.operator().rename_organization(&org.id, "Engines").await.expect("a name").token
}
