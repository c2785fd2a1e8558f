//! A person who is proven: what a workload sees and does that shows the token of one.

use std::fs;

use rollcall_client::v1::{
    access_service_client::AccessServiceClient, account_service_client::AccountServiceClient, *,
};
use serde_json::json;
use tempfile::TempDir;
use tonic::Code;

use super::impersonation::{list, rename};
use crate::{
    fixtures::{Caller, Org, World, refused},
    identity::acting::{ACTING, LOGIN},
    support::{CALLERS, Channel, Server, SigningKey, in_seconds, key_set, spiffe_id},
};

/// A service that believes an issuer of tokens of persons.
struct Proving {
    world: World,
    key: SigningKey,
    _directory: TempDir,
}

impl Proving {
    async fn start() -> Self {
        let (key, directory) = (SigningKey::new("login"), TempDir::new().expect("a directory"));
        let path = directory.path().join("keys.json");
        fs::write(&path, key_set(&[&key])).expect("written");
        let issuer = format!(
            "[[issuer]]\nissuer = \"{LOGIN}\"\naudience = \"rollcall\"\nfor = \"persons\"\njwks_file = {path:?}\n"
        );
        let server = Server::checking_and_telling_apart_by(&format!("{CALLERS}\n{issuer}")).await;
        Self { world: World::on(server).await, key, _directory: directory }
    }

    /// An organization of somebody who has a login of this name.
    async fn organization(&self, owner: &str) -> Org {
        let request = CreateAccountRequest {
            email: format!("{owner}@example.com"),
            external_ids: vec![ExternalId { issuer: LOGIN.to_owned(), subject: owner.to_owned() }],
            ..Default::default()
        };
        let made = AccountServiceClient::new(self.world.server().channel()).create_account(request).await;
        let account = made.expect("an account").into_inner().account.expect("the account");
        self.world.organization_of(&account.account_id).await
    }

    /// Calls as a workload that shows a token of this person.
    fn for_whom(&self, workload: &str, person: &str) -> Channel {
        let token = self.key.token(&json!({
            "iss": LOGIN,
            "sub": person,
            "aud": "rollcall",
            "exp": in_seconds(600),
            "act": {"sub": spiffe_id(workload)},
        }));
        let channel = self.world.server().channel().calling_as(workload);
        channel.with(ACTING, token.parse().expect("a header"))
    }
}

#[tokio::test]
async fn who_proves_for_whom_it_acts_sees_and_does_what_that_person_may() {
    let proving = Proving::start().await;
    let world = &proving.world;
    let (org, other) = (proving.organization("ada").await, proving.organization("eve").await);
    let board = world.workspace(&org, "boards", "board").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let cleo = world.member_in(&org, "cleo", &[&board]).await;
    // It may not say for whom it acts: it must show it.
    let for_ada = proving.for_whom("boards-worker", "ada");
    let (ada, eve) = (&org.owner.account, &other.owner.account);
    for said in ["", ada] {
        assert_eq!(list(for_ada.clone(), &org, said).await.expect("hers").members.len(), 3);
        rename(for_ada.clone(), &org, said).await.expect("an owner");
        refused(list(for_ada.clone(), &other, said).await, Code::NotFound, "ORGANIZATION_NOT_FOUND");
        refused(rename(for_ada.clone(), &other, said).await, Code::NotFound, "ORGANIZATION_NOT_FOUND");
    }
    // Nor may who may say it say another one.
    for workload in ["boards-worker", "gateway", "console"] {
        let channel = proving.for_whom(workload, "ada");
        for answer in
            [list(channel.clone(), &other, eve).await.map(drop), rename(channel, &other, eve).await.map(drop)]
        {
            refused(answer, Code::PermissionDenied, "IMPERSONATION_NOT_ALLOWED");
        }
    }
    // The person binds an operator too, and with an app both bind.
    let for_operator = proving.for_whom("console", "ada");
    refused(list(for_operator, &other, "").await, Code::NotFound, "ORGANIZATION_NOT_FOUND");
    let for_app = proving.for_whom("boards", "ada");
    let seen = list(for_app.clone(), &org, "").await.expect("of both").members;
    let seen: Vec<&str> = seen.iter().map(|member| member.member_id.as_str()).collect();
    assert_eq!(seen, [cleo.member.as_str()]);
    refused(Caller::new(for_app).deactivate(&org, &bob).await, Code::NotFound, "MEMBER_NOT_FOUND");

    // It asks about the access of that person alone.
    let token = world.operator().rename_organization(&org.id, "Engines").await.expect("renamed").token;
    let check = async |channel: Channel| {
        let check = AccessCheck {
            workspace_id: org.general.clone(),
            person: Some(access_check::Person::AccountId(bob.account.clone())),
            ..Default::default()
        };
        let at_least_as_fresh = token.clone();
        let request = CheckAccessRequest { check: Some(check), at_least_as_fresh, ..Default::default() };
        let answer = AccessServiceClient::new(channel).check_access(request).await.expect("an answer");
        answer.into_inner().access.expect("an answer")
    };
    let of_bob = check(for_ada).await;
    assert!(!of_bob.allowed, "{of_bob:?}");
    assert_eq!(of_bob.denial_reason(), DenialReason::WorkspaceUnknown);
    assert!(check(world.server().channel().calling_as("gateway")).await.allowed, "who may ask about anybody");
}
