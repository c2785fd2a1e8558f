//! Accounts: external ids and language, and that looking one up tells strangers nothing.

use rollcall_client::v1::{lookup_account_request::Key, *};
use tonic::{
    Code::{AlreadyExists, NotFound, PermissionDenied},
    Request, Status,
};

use crate::fixtures::{World, by_email, invalid, invalid_within, made_up_id, mask, reason, refused};

const ISSUER: &str = "https://login.example.com";

fn id(subject: &str) -> ExternalId {
    ExternalId { issuer: ISSUER.to_owned(), subject: subject.to_owned() }
}

fn by_id(subject: &str) -> LookupAccountRequest {
    LookupAccountRequest { key: Some(Key::ExternalId(id(subject))), ..Default::default() }
}

async fn create(world: &World, email: &str, subjects: &[&str]) -> Result<Account, Status> {
    let request = CreateAccountRequest {
        email: email.to_owned(),
        external_ids: subjects.iter().map(|subject| id(subject)).collect(),
        ..Default::default()
    };
    Ok(world.accounts().create_account(request).await?.into_inner().account.expect("the account"))
}

/// Changes an account, as somebody.
async fn update(world: &World, acting: &str, account: Account, paths: &[&str]) -> Result<Account, Status> {
    let request = UpdateAccountRequest {
        account: Some(account),
        update_mask: mask(paths),
        acting_account_id: acting.to_owned(),
        ..Default::default()
    };
    Ok(world.accounts().update_account(request).await?.into_inner().account.expect("the account"))
}

async fn replace(world: &World, account: &str, subjects: &[&str]) -> Result<Account, Status> {
    let account = Account {
        account_id: account.to_owned(),
        external_ids: subjects.iter().map(|subject| id(subject)).collect(),
        ..Default::default()
    };
    update(world, "", account, &["external_ids"]).await
}

async fn found(world: &World, request: LookupAccountRequest) -> String {
    let answer = world.accounts().lookup_account(request).await.expect("found").into_inner();
    answer.account.expect("the account").account_id
}

fn subjects(account: &Account) -> Vec<&str> {
    account.external_ids.iter().map(|id| id.subject.as_str()).collect()
}

#[tokio::test]
async fn external_ids_are_given_replaced_and_taken_away() {
    let world = World::start().await;
    let ada = create(&world, "ada@example.com", &["b", "a"]).await.expect("an account");
    assert_eq!(subjects(&ada), ["a", "b"], "in an order of their own");
    assert_eq!((ada.version, ada.language.as_str()), (1, "en"));
    for subject in ["a", "b"] {
        assert_eq!(found(&world, by_id(subject)).await, ada.account_id);
    }
    refused(world.accounts().lookup_account(by_id("A")).await, NotFound, "ACCOUNT_NOT_FOUND");

    let mark = world.mark().await;
    let changed = replace(&world, &ada.account_id, &["b", "c"]).await.expect("replaced");
    assert_eq!((subjects(&changed), changed.version), (vec!["b", "c"], 2));
    assert_eq!(world.get_account(&ada.account_id).await, changed);
    let again = replace(&world, &ada.account_id, &["c", "b"]).await.expect("nothing to do");
    assert_eq!(again, changed, "the order does not count");
    refused(world.accounts().lookup_account(by_id("a")).await, NotFound, "ACCOUNT_NOT_FOUND");
    let none = replace(&world, &ada.account_id, &[]).await.expect("taken away");
    assert_eq!((subjects(&none), none.version), (vec![], 3));
    assert_eq!(world.changes_since(mark).await, 0, "the account has no members to tell of");
}

#[tokio::test]
async fn an_external_id_belongs_to_one_account() {
    let world = World::start().await;
    let ada = create(&world, "ada@example.com", &["a", "b"]).await.expect("an account");
    let bob = create(&world, "bob@example.com", &["x"]).await.expect("an account");
    let taken = [
        create(&world, "eve@example.com", &["y", "b"]).await,
        replace(&world, &bob.account_id, &["b"]).await,
        replace(&world, &bob.account_id, &["z", "a", "x"]).await,
    ];
    for answer in taken {
        let status = refused(answer, AlreadyExists, "EXTERNAL_ID_TAKEN");
        assert!(!format!("{status:?}").contains(ISSUER), "it is not repeated: {status:?}");
    }
    assert_eq!(world.get_account(&bob.account_id).await, bob, "nothing was changed");
    refused(
        world.accounts().lookup_account(by_email("eve@example.com")).await,
        NotFound,
        "ACCOUNT_NOT_FOUND",
    );
    for subject in ["y", "z"] {
        refused(world.accounts().lookup_account(by_id(subject)).await, NotFound, "ACCOUNT_NOT_FOUND");
    }
    // What was given back is free.
    replace(&world, &ada.account_id, &["b"]).await.expect("replaced");
    replace(&world, &bob.account_id, &["a", "x"]).await.expect("free");
    assert_eq!(found(&world, by_id("a")).await, bob.account_id);
}

/// Two who want the same ones at once, each beginning with another: one of them has them all.
#[tokio::test]
async fn of_two_who_want_the_same_external_ids_at_once_one_gets_them() {
    let world = World::start().await;
    for round in 0..20 {
        let ids: Vec<String> = (0..4).map(|n| format!("{round}-{n}")).collect();
        let forth: Vec<&str> = ids.iter().map(String::as_str).collect();
        let back: Vec<&str> = forth.iter().rev().copied().collect();
        let bob = create(&world, &format!("bob{round}@example.com"), &[]).await.expect("an account");
        let (ada, bob) = (format!("ada{round}@example.com"), bob.account_id);
        let (a, b) = tokio::join!(create(&world, &ada, &forth), replace(&world, &bob, &back));
        assert!(a.is_ok() ^ b.is_ok(), "{a:?} {b:?}");
        let (winner, loser) = if a.is_ok() { (a, b) } else { (b, a) };
        refused(loser, AlreadyExists, "EXTERNAL_ID_TAKEN");
        assert_eq!(subjects(&winner.expect("the winner")), forth);
    }
}

#[tokio::test]
async fn external_ids_and_languages_are_checked() {
    let world = World::start().await;
    let ada = world.account("ada").await;
    let many: Vec<String> = (0..11).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let long = "x".repeat(256);
    for bad in [&many[..], &[""], &[&long], &["a\0"], &["a\u{200b}"], &["a\u{202e}"], &[" a"], &["a", "a"]] {
        invalid_within(create(&world, "new@example.com", bad).await, "external_ids");
        let account = Account {
            account_id: ada.clone(),
            external_ids: bad.iter().map(|subject| id(subject)).collect(),
            ..Default::default()
        };
        invalid_within(update(&world, "", account, &["external_ids"]).await, "account");
    }
    for bad in ["", &long, "a\n"] {
        invalid_within(world.accounts().lookup_account(by_id(bad)).await, "external_id");
    }
    invalid(world.accounts().lookup_account(LookupAccountRequest::default()).await, "key");
    for bad in ["fr", "EN", "english"] {
        let request = CreateAccountRequest {
            email: "new@example.com".to_owned(),
            language: bad.to_owned(),
            ..Default::default()
        };
        invalid(world.accounts().create_account(request).await, "language");
    }
    for bad in ["", "fr"] {
        let account = Account { account_id: ada.clone(), language: bad.to_owned(), ..Default::default() };
        invalid(update(&world, "", account, &["language"]).await, "account.language");
    }
    assert_eq!(world.get_account(&ada).await.version, 1);
    create(&world, "ten@example.com", &many[..10]).await.expect("ten");
}

#[tokio::test]
async fn a_person_chooses_the_language_and_no_external_id() {
    let world = World::start().await;
    let ada = world.account("ada").await;
    let account = Account {
        account_id: ada.clone(),
        language: "de".to_owned(),
        external_ids: vec![id("a")],
        email: "ada.l@example.com".to_owned(),
        ..Default::default()
    };
    for paths in [&["external_ids"][..], &["language", "external_ids"]] {
        let answer = update(&world, &ada, account.clone(), paths).await;
        refused(answer, PermissionDenied, "ROLE_INSUFFICIENT");
    }
    let changed = update(&world, &ada, account.clone(), &["language"]).await.expect("their own");
    assert_eq!((changed.language.as_str(), changed.version), ("de", 2));
    assert_eq!((changed.email.as_str(), changed.external_ids.len()), ("ada@example.com", 0));
    let all = ["language", "external_ids", "email"];
    let changed = update(&world, "", account, &all).await.expect("a workload may");
    assert_eq!((changed.email.as_str(), changed.version), ("ada.l@example.com", 3));
    assert_eq!(subjects(&changed), ["a"]);
}

/// A look-up as it goes over the wire: the status with all its details.
async fn look_up(
    world: &World,
    caller: Option<&'static str>,
    request: LookupAccountRequest,
) -> Result<String, (tonic::Code, String, Vec<u8>)> {
    let mut request = Request::new(request);
    if let Some(caller) = caller {
        request.metadata_mut().insert("rollcall-caller", caller.parse().expect("ASCII"));
    }
    match world.accounts().lookup_account(request).await {
        Ok(answer) => Ok(answer.into_inner().account.expect("the account").account_id),
        Err(status) => {
            assert_eq!(reason(&status), "ACCOUNT_NOT_FOUND");
            Err((status.code(), status.message().to_owned(), status.details().to_vec()))
        }
    }
}

#[tokio::test]
async fn a_person_finds_themselves_and_whom_they_work_with() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member(&org, "bob").await;
    let out = world.member(&org, "out").await;
    world.operator().deactivate(&org, &out).await.expect("deactivated");
    let gone = world.member(&org, "gone").await;
    world.operator().remove(&org, &gone).await.expect("removed");
    let elsewhere = world.organization("eve").await;
    let lonely = world.account("lonely").await;
    for (n, account) in
        [&bob.account, &out.account, &gone.account, &elsewhere.owner.account, &lonely].iter().enumerate()
    {
        replace(&world, account, &[&format!("id-{n}")]).await.expect("an external id");
    }
    let names = ["bob", "out", "gone", "eve", "lonely"];
    let accounts = [&bob.account, &out.account, &gone.account, &elsewhere.owner.account, &lonely];
    // Who asks, and whom they find of these.
    let views = [
        (String::new(), vec!["bob", "out", "gone", "eve", "lonely"]),
        (org.owner.account.clone(), vec!["bob", "out"]),
        (bob.account.clone(), vec!["bob", "out"]),
        (out.account.clone(), vec!["out"]),
        (gone.account.clone(), vec!["gone"]),
        (elsewhere.owner.account.clone(), vec!["eve"]),
        (lonely.clone(), vec!["lonely"]),
        (made_up_id(), vec![]),
    ];
    for (acting, seen) in views {
        for (n, name) in names.iter().enumerate() {
            let keys = [
                (Key::Email(format!("{name}@example.com")), Key::Email("nobody@example.com".to_owned())),
                (Key::ExternalId(id(&format!("id-{n}"))), Key::ExternalId(id("id-of-nobody"))),
            ];
            for (key, nobody) in keys {
                let ask = |key| LookupAccountRequest {
                    key: Some(key),
                    acting_account_id: acting.clone(),
                    ..Default::default()
                };
                let answer = look_up(&world, None, ask(key)).await;
                let nothing = look_up(&world, None, ask(nobody)).await;
                if seen.contains(name) {
                    assert_eq!(answer.as_ref(), Ok(accounts[n]), "{name}");
                    assert!(nothing.is_err());
                } else {
                    assert!(answer.is_err(), "{name}");
                    assert_eq!(answer, nothing, "byte for byte as if there were none");
                }
            }
        }
    }
}

#[tokio::test]
async fn an_app_finds_those_in_its_scope() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "plans").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let eve = world.member_in(&org, "eve", &[&boards]).await;
    world.operator().remove_from(&org, &boards, &eve).await.expect("removed");
    let lonely = world.account("lonely").await;
    let emails = ["ada", "bob", "eve", "lonely"];
    let accounts = [&org.owner.account, &bob.account, &eve.account, &lonely];
    for (caller, seen) in [
        (None, vec!["ada", "bob", "eve", "lonely"]),
        (Some("console"), vec!["ada", "bob", "eve", "lonely"]),
        (Some("chat"), vec!["ada", "bob"]),
        // The scope does not shrink: the app still shows what she wrote.
        (Some("boards"), vec!["eve"]),
        (Some("track"), vec![]),
    ] {
        let nothing = look_up(&world, caller, by_email("nobody@example.com")).await;
        for (email, account) in emails.iter().zip(accounts) {
            let answer = look_up(&world, caller, by_email(&format!("{email}@example.com"))).await;
            if seen.contains(email) {
                assert_eq!(answer.as_ref(), Ok(account), "{caller:?} {email}");
            } else {
                assert_eq!(answer, nothing, "{caller:?} {email}: byte for byte as if there were none");
            }
        }
    }
    // An app that acts for a person is bound by both.
    let acting = |email: &str| LookupAccountRequest {
        acting_account_id: bob.account.clone(),
        ..by_email(&format!("{email}@example.com"))
    };
    assert!(look_up(&world, Some("chat"), acting("ada")).await.is_ok());
    assert!(look_up(&world, Some("chat"), acting("eve")).await.is_err());
    assert!(look_up(&world, Some("boards"), acting("bob")).await.is_err());
    assert!(look_up(&world, Some("boards"), acting("eve")).await.is_ok());
}
