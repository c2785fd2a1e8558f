//! The commands that make, change and end things, through one life: asked in, made an admin, sent away, brought back,
//! removed, erased.

use rollcall_client::{NothingToEnd, Replica, ReplicaOptions, connect, v1};
use serde_json::Value;

use super::written;
use crate::{
    fixtures::World,
    processes::{at_a_terminal, run, run_badly, run_well},
};

/// A service, and the commands about one organization of it.
struct Desk {
    world: World,
    organization: String,
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("{key} of {value}")).to_owned()
}

impl Desk {
    fn words(&self, words: &[&str]) -> Vec<String> {
        let endpoint = self.world.server().endpoint();
        words.iter().map(|word| (*word).to_owned()).chain(["--endpoint".to_owned(), endpoint]).collect()
    }

    /// Adds the organization to a command.
    fn here<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        [words, &["--organization", &self.organization]].concat()
    }

    /// What a command prints for people.
    async fn say(&self, words: &[&str]) -> String {
        run_well(self.words(words)).await
    }

    /// The lines that a command prints for programs.
    async fn list(&self, words: &[&str]) -> Vec<Value> {
        lines(&run_well(self.words(&[words, &["-o", "json"]].concat())).await)
    }

    async fn one(&self, words: &[&str]) -> Value {
        let mut lines = self.list(words).await;
        assert_eq!(lines.len(), 1, "{words:?}: {lines:?}");
        lines.remove(0)
    }

    /// What a refused command says. It names nobody.
    async fn refused(&self, words: &[&str]) -> String {
        let errors = run_badly(self.words(words)).await;
        assert!(errors.starts_with(&format!("rollcall {} {}: ", words[0], words[1])), "{errors}");
        for personal in ["Ada", "Bob", "example.com"] {
            assert!(!errors.contains(personal), "{errors}");
        }
        errors
    }
}

async fn account(desk: &Desk, email: &str) -> String {
    text(&desk.one(&["account", "create", email]).await, "account_id")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_is_led_by_the_command_line() {
    let mut desk = Desk { world: World::start().await, organization: String::new() };
    let ada = account(&desk, "ada@example.com").await;
    let bob = account(&desk, "bob@example.com").await;
    let found = desk.one(&["account", "lookup", "--email", "BOB@example.com"]).await;
    assert_eq!((text(&found, "account_id"), text(&found, "state")), (bob.clone(), "ACTIVE".to_owned()));
    let created =
        ["organization", "create", "Analytical Engines", "--owner", &ada, "--owner-name", "Ada Lovelace"];
    let created = desk.one(&[&created[..], &["--app", "chat", "--workspace", "general"]].concat()).await;
    desk.organization = text(&created, "organization_id");
    let owner = text(&created, "owner_member_id");
    let boards = desk.one(&desk.here(&["workspace", "create", "boards", "--app", "boards"])).await;
    let boards = text(&boards, "workspace_id");
    assert_eq!(desk.one(&desk.here(&["workspace", "list", "--without-admin"])).await["workspace_id"], boards);

    // Invited, asked again too soon, accepted.
    let sent = desk.here(&["invite", "create", "bob@example.com", "--workspace", &boards, "--acting", &ada]);
    let sent = desk.one(&sent).await;
    let invited = desk.list(&desk.here(&["member", "list", "--include-invited"])).await;
    assert!(invited.iter().any(|row| row["state"] == "INVITED" && row["email"] == "bob@example.com"));
    assert_eq!(desk.one(&desk.here(&["invite", "list"])).await["state"], "PENDING");
    let accepted = desk
        .one(&["invite", "accept", &text(&sent, "secret"), "--acting", &bob, "--name", "Bob Babbage"])
        .await;
    let member = text(&accepted, "member_id");
    assert_eq!(accepted["active_workspace_ids"][0], boards.as_str());
    let errors = desk.refused(&desk.here(&["invite", "revoke", &text(&sent, "invitation_id")])).await;
    assert!(
        errors.contains("INVITATION_ACCEPTED") && errors.contains("rollcall member deactivate"),
        "{errors}"
    );
    desk.one(&desk.here(&["member", "update", &member, "--workspace", &boards, "--role", "admin"])).await;

    // Sent away: not before a successor is named.
    let leaving = desk.here(&["member", "deactivate", &member, "--acting", &ada]);
    let output = run(desk.words(&[&leaving[..], &["--plan"]].concat())).await;
    assert_eq!(output.status.code(), Some(1));
    let plan = String::from_utf8(output.stdout).unwrap();
    assert!(
        plan.starts_with(
            "This cannot be done yet: Bob Babbage is the last active admin of boards. Name a successor \
             (--successor) or accept that it has none (--leave-without-admin)."
        ),
        "{plan}"
    );
    let errors = desk.refused(&leaving).await;
    assert!(errors.contains(&format!("LAST_WORKSPACE_ADMIN ({boards})")), "{errors}");
    assert!(errors.contains("--leave-without-admin"), "{errors}");
    let leaving = [&leaving[..], &["--successor", &owner]].concat();
    let sentence = "Bob Babbage loses access to Analytical Engines and to 1 workspace: boards. Ada Lovelace becomes \
                    admin of boards. One seat becomes free. There is no other organization that they can use. \
                    Nothing is deleted; an owner or admin can bring them back.\n";
    assert_eq!(desk.say(&[&leaving[..], &["--plan"]].concat()).await, sentence);
    let planned = desk.one(&[&leaving[..], &["--plan"]].concat()).await;
    assert_eq!((&planned["seats_freed"], planned["blockers"].as_array().unwrap().len()), (&1.into(), 0));
    assert_eq!(desk.one(&desk.here(&["member", "get", &member])).await["state"], "ACTIVE");
    // A planned return is said, and belongs to what is done.
    let day = (chrono::Utc::now() + chrono::TimeDelta::days(7)).format("%Y-%m-%d").to_string();
    let leaving = [&leaving[..], &["--return-time", &day]].concat();
    let said = desk.say(&[&leaving[..], &["--plan"]].concat()).await;
    assert!(said.contains(&format!("Their return is planned for {day}T00:00:00.000000Z.")), "{said}");
    let gone = desk.one(&leaving).await;
    let returns = text(&desk.one(&desk.here(&["member", "get", &member])).await, "return_time");
    assert!(returns.starts_with(&day), "{returns}");
    assert_eq!((&gone["state"], &gone["workspace_ids"][0]), (&"DEACTIVATED".into(), &boards.as_str().into()));

    // Brought back, removed.
    let back = desk.one(&desk.here(&["member", "reactivate", &member, "--acting", &ada])).await;
    assert_eq!(
        (&back["state"], &back["active_workspace_ids"][0]),
        (&"ACTIVE".into(), &boards.as_str().into())
    );
    let errors = desk.refused(&desk.here(&["member", "erase", &member, "--yes"])).await;
    assert!(errors.contains("MEMBER_ACTIVE") && errors.contains("Deactivate first"), "{errors}");
    let removed = desk.say(&desk.here(&["member", "remove", &member, "--yes"])).await;
    assert!(removed.starts_with("Bob Babbage no longer belongs to Analytical Engines"), "{removed}");
    let listed = desk.list(&desk.here(&["member", "list", "--filter", "state = ACTIVE"])).await;
    assert!(listed.len() == 1 && listed[0]["member_id"] == owner.as_str(), "{listed:?}");

    // Erased, for good: not without being asked.
    let erasing = desk.here(&["member", "erase", &member, "--acting", &ada]);
    assert!(desk.refused(&erasing).await.contains("--yes"));
    let erased = desk.one(&[&erasing[..], &["--yes"]].concat()).await;
    assert_eq!((&erased["state"], &erased["account_deleted"]), (&"ERASED".into(), &true.into()));
    let receipt = desk.one(&["erasure", "get", &text(&erased, "receipt")]).await;
    assert_eq!((&receipt["erased_by"], &receipt["profiles"]), (&"OWNER".into(), &1.into()));

    // What is left of it.
    let history = desk.list(&desk.here(&["history", "--reason", "erased"])).await;
    assert_eq!(history.len(), 1, "{history:?}");
    let departures = desk.list(&desk.here(&["departures"])).await;
    assert!(departures.iter().all(|row| row["member_id"] == member.as_str()), "{departures:?}");
    let ledger = run_well(desk.words(&["erasure", "list", "-o", "json"])).await;
    assert!(lines(&ledger).iter().any(|row| row["member_id"] == member.as_str()), "{ledger}");
    let directory = tempfile::tempdir().unwrap();
    let file = written(&directory, "ledger.jsonl", &ledger);
    let applied = desk.one(&["erasure", "apply", &file]).await;
    let entries = i64::try_from(ledger.lines().count()).unwrap();
    assert_eq!((&applied["entries"], &applied["applied"]), (&entries.into(), &0.into()), "{applied}");
    let broken = written(&directory, "broken.jsonl", format!("{ledger}{{}}\n"));
    let errors = desk.refused(&["erasure", "apply", &broken]).await;
    assert!(errors.contains("nothing was applied"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_members_are_deactivated_with_a_line_for_each() {
    let mut desk = Desk { world: World::start().await, organization: String::new() };
    let org = desk.world.organization("ada").await;
    let bob = desk.world.member_in(&org, "bob", &[&org.general]).await;
    let eve = desk.world.member(&org, "eve").await;
    desk.organization.clone_from(&org.id);
    let all = desk.here(&["member", "deactivate", &bob.member, &org.owner.member, &eve.member]);
    let output = run(desk.words(&[&all[..], &["--plan"]].concat())).await;
    let plan = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), plan.lines().count()), (Some(1), 3), "{plan}");
    assert!(plan.lines().nth(1).unwrap().starts_with("This cannot be done yet: "), "{plan}");
    let output = run(desk.words(&[&all[..], &["-o", "json"]].concat())).await;
    assert_eq!(output.status.code(), Some(1));
    let rows = lines(&String::from_utf8(output.stdout).unwrap());
    let outcomes: Vec<&Value> = rows.iter().map(|row| &row["outcome"]).collect();
    assert_eq!(outcomes, ["DEACTIVATED", "REFUSED", "DEACTIVATED"], "{rows:?}");
    assert_eq!(rows[1]["refusal"], "LAST_OWNER");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_departure_that_is_waited_for_says_whether_anybody_still_lets_them_in() {
    let mut desk = Desk { world: World::start().await, organization: String::new() };
    let org = desk.world.organization("ada").await;
    let [bob, cy, eve] = [
        desk.world.member_in(&org, "bob", &[&org.general]).await,
        desk.world.member_in(&org, "cy", &[&org.general]).await,
        desk.world.member_in(&org, "eve", &[&org.general]).await,
    ];
    desk.organization.clone_from(&org.id);
    let client = connect(&desk.world.server().endpoint()).unwrap();
    let chat = Replica::start(client, ReplicaOptions::new("chat", "chat-1"), NothingToEnd);
    chat.ready().await;
    let deactivate = desk.here(&["member", "deactivate", &bob.member, "--await", "20"]);
    let said = desk.say(&deactivate).await;
    let wanted = "ENFORCED: no app lets them in any more.\n  chat: ENFORCED, 1 of 1 instances deny";
    // Its receipt may be on its way.
    let rest = said.split_once(wanted).unwrap_or_else(|| panic!("{said}")).1;
    assert!(["\n", "; have not yet said what they ended: chat-1\n"].contains(&rest), "{said}");
    // One that follows and says nothing may still let them in: that is waited for, and said.
    let request =
        v1::WatchRequest { app: "chat".to_owned(), instance: "chat-2".to_owned(), ..Default::default() };
    let mut silent = desk.world.feed().watch(request).await.unwrap().into_inner();
    let (mut subscription_id, mut cursor) = (String::new(), String::new());
    while cursor.is_empty() {
        let message = silent.message().await.unwrap().unwrap();
        cursor = message.cursor;
        if let Some(v1::watch_response::Message::Opened(opened)) = message.message {
            subscription_id = opened.subscription_id;
        }
    }
    let deactivate = desk.here(&["member", "deactivate", &cy.member, "--await", "2"]);
    let (output, begun) = (run(desk.words(&deactivate)), std::time::Instant::now());
    let output = output.await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("PENDING: the time was up before every app had followed."), "{said}");
    assert!(said.contains("  chat: PENDING, 1 of 2 instances deny; may still let them in: chat-2"), "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(begun.elapsed() >= std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
    let close = v1::CloseSubscriptionRequest { subscription_id, cursor, ..Default::default() };
    desk.world.feed().close_subscription(close).await.unwrap();
    // Nobody follows any more: who is away cannot be said to have followed.
    chat.shutdown().await;
    let deactivate = desk.here(&["member", "deactivate", &eve.member, "--await", "20", "-o", "json"]);
    let output = run(desk.words(&deactivate)).await;
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("not known to be enforced"), "{errors}");
    let rows = lines(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(
        (&rows[0]["state"], &rows[0]["enforcement"]["state"]),
        (&"DEACTIVATED".into(), &"NO_INSTANCES".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_waited_for_says_who_may_still_let_them_in() {
    let mut desk = Desk { world: World::start().await, organization: String::new() };
    let org = desk.world.organization("ada").await;
    let bob = desk.world.member_in(&org, "bob", &[&org.general]).await;
    let spare = desk.world.workspace(&org, "chat", "spare").await;
    desk.organization.clone_from(&org.id);
    let request =
        v1::WatchRequest { app: "chat".to_owned(), instance: "chat-1".to_owned(), ..Default::default() };
    let mut cut_off = desk.world.feed().watch(request).await.unwrap().into_inner();
    while cut_off.message().await.unwrap().unwrap().cursor.is_empty() {}
    let deletions = [
        ("workspace delete", desk.here(&["workspace", "delete", &spare])),
        ("account delete", vec!["account", "delete", &bob.account, "--yes"]),
        ("organization delete", vec!["organization", "delete", &org.id, "--yes"]),
    ];
    for (name, deletion) in deletions {
        let output = run(desk.words(&[&deletion[..], &["--await", "1"]].concat())).await;
        let said = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}{errors}");
        assert!(
            said.contains("  chat: PENDING, 0 of 1 instances deny; may still let them in: chat-1"),
            "{said}"
        );
        let wanted =
            "it is done, and not known to be enforced; the same command again changes nothing and waits on";
        assert_eq!(errors, format!("rollcall {name}: {wanted}\n"));
        // Done before, and not waited for.
        let again = desk.one(&deletion).await;
        assert_eq!((&again["state"], &again["enforcement"]), (&"DELETED".into(), &Value::Null));
    }
}

/// At a terminal everything that ends somebody's access is shown first, and done only after a yes.
#[tokio::test(flavor = "multi_thread")]
async fn at_a_terminal_a_departure_is_done_only_after_a_yes() {
    let mut desk = Desk { world: World::start().await, organization: String::new() };
    let org = desk.world.organization("ada").await;
    let bob = desk.world.member_in(&org, "bob", &[&org.general]).await;
    desk.organization.clone_from(&org.id);
    let deactivate = desk.here(&["member", "deactivate", &bob.member]);
    let mark = desk.world.mark().await;
    // The last is the end of the input.
    for typed in ["\n", "n\n", "no\n", "yessir\n", "\u{4}"] {
        let session = at_a_terminal(desk.words(&deactivate), typed).await;
        assert_eq!((session.code, session.stdout.as_str()), (Some(1), ""), "{typed:?}: {}", session.screen);
        let (shown, after) = session.screen.split_once("Do it? [y/N] ").expect("a question");
        assert!(shown.contains("loses access to Engines and to 1 workspace: general."), "{shown}");
        assert!(after.contains("rollcall member deactivate: nothing was changed"), "{after}");
    }
    assert_eq!(desk.world.changes_since(mark).await, 0);
    let session = at_a_terminal(desk.words(&deactivate), " Y\n").await;
    assert_eq!(session.code, Some(0), "{}", session.screen);
    assert!(session.stdout.contains("loses access to Engines"), "{}", session.stdout);
    assert_eq!(desk.one(&desk.here(&["member", "get", &bob.member])).await["state"], "DEACTIVATED");

    // What cannot be undone is asked as well; with --yes nothing is.
    let erase = desk.here(&["member", "erase", &bob.member]);
    assert_eq!(at_a_terminal(desk.words(&erase), "\n").await.code, Some(1));
    let session = at_a_terminal(desk.words(&erase), "yes\n").await;
    assert_eq!(session.code, Some(0), "{}", session.screen);
    let delete = ["organization", "delete", &org.id];
    let session = at_a_terminal(desk.words(&delete), "n\n").await;
    assert_eq!(session.code, Some(1));
    assert!(
        session.screen.contains("is deleted, with its workspaces and members, for good."),
        "{}",
        session.screen
    );
    let session = at_a_terminal(desk.words(&[&delete[..], &["--yes"]].concat()), "").await;
    assert_eq!((session.code, session.screen.as_str()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_and_deleting_are_meant() {
    let mut desk = Desk { world: World::start().await, organization: String::new() };
    let org = desk.world.organization("ada").await;
    let bob = desk.world.member_in(&org, "bob", &[&org.general]).await;
    desk.organization.clone_from(&org.id);
    let leave = desk.here(&["member", "leave", "--acting", &bob.account]);
    let errors = desk.refused(&leave).await;
    assert!(
        errors.contains("ONLY_ORGANIZATION") && errors.contains("--acknowledge-account-deletion"),
        "{errors}"
    );
    let leave = [&leave[..], &["--acknowledge-account-deletion"]].concat();
    assert!(desk.refused(&leave).await.contains("--yes"));
    let gone = desk.one(&[&leave[..], &["--yes"]].concat()).await;
    assert_eq!((&gone["member_id"], &gone["account_deleted"]), (&bob.member.as_str().into(), &true.into()));

    let contract =
        text(&desk.one(&["contract", "create", "Group", "--seat-limit", "5"]).await, "contract_id");
    let shared = desk.one(&["organization", "update", &org.id, "--contract", &contract]).await;
    assert_eq!(shared["contract_id"], contract.as_str());
    let errors = desk.refused(&["contract", "delete", &contract]).await;
    assert!(errors.contains("CONTRACT_IN_USE"), "{errors}");
    for thing in [["organization", "delete", &org.id], ["account", "delete", &org.owner.account]] {
        assert!(desk.refused(&thing).await.contains("--yes"));
    }
    let deleted = desk.one(&["organization", "delete", &org.id, "--yes"]).await;
    assert_eq!(deleted["state"], "DELETED");
    let alone = account(&desk, "eve@example.com").await;
    let deleted = desk.one(&["account", "delete", &alone, "--yes"]).await;
    assert_eq!(deleted["state"], "DELETED");
    let output = run(["member", "add", "--organization", "x", "--role", "chief"]).await;
    assert_eq!(output.status.code(), Some(2));
}
