//! What is queued, where no mail server is set: it can be seen in the table.

use rollcall::storage::{Connections, Database};
use rollcall_client::v1::{
    DeleteAccountRequest, DeleteOrganizationRequest, EraseMemberRequest, OrganizationRole,
};

use super::{sql, waiting};
use crate::{fixtures::World, server::until};

#[tokio::test]
async fn r24_nothing_is_queued_where_nothing_changed() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member_in(&org, "bob", &[&org.general, &boards]).await;
    assert_eq!(waiting(&world).await, Vec::<String>::new(), "additions are no news");
    for _ in 0..2 {
        world.operator().deactivate_in(&org, &boards, &bob).await.expect("deactivated");
    }
    assert_eq!(waiting(&world).await, ["DEACTIVATED_IN_WORKSPACE"]);
    for _ in 0..2 {
        world.operator().deactivate(&org, &bob).await.expect("deactivated");
    }
    for _ in 0..2 {
        world.operator().remove(&org, &bob).await.expect("removed");
    }
    let all = ["DEACTIVATED_IN_WORKSPACE", "DEACTIVATED_IN_ORGANIZATION", "REMOVED"];
    assert_eq!(waiting(&world).await, all);
}

#[tokio::test]
async fn what_is_refused_queues_nothing() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    world.operator().deactivate(&org, &org.owner).await.expect_err("the last owner stays");
    assert_eq!(waiting(&world).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_deleted_workspace_is_one_mail_for_each_person() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    world.member_in(&org, "bob", &[&boards]).await;
    world.member_in(&org, "cleo", &[&boards, &org.general]).await;
    world.operator().delete_workspace(&org, &boards).await.expect("deleted");
    let rows = world.server().database();
    let rows = rows.query("SELECT recipient, kind FROM mails ORDER BY recipient", &[]).await.expect("rows");
    let told: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected =
        [("bob@example.com", "DEACTIVATED_IN_WORKSPACE_AND_ORGANIZATION"), ("cleo@example.com", "REMOVED")];
    assert_eq!(told, expected.map(|(who, what)| (who.to_owned(), what.to_owned())));
}

#[tokio::test]
async fn without_a_mail_server_mail_waits_for_a_day_and_is_dropped() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let [bob, cleo] = [world.member(&org, "bob").await, world.member(&org, "cleo").await];
    for person in [&bob, &cleo] {
        world.operator().deactivate(&org, person).await.expect("deactivated");
    }
    assert_eq!(waiting(&world).await.len(), 2);
    // Stands for a day that passes.
    sql(&world, "UPDATE mails SET create_time = now() - interval '25 hours' WHERE recipient LIKE 'bob@%'")
        .await;
    until("one mail is dropped", async || waiting(&world).await.len() == 1).await;
    let left = world.server().database().query_one("SELECT recipient FROM mails", &[]).await.expect("a row");
    assert_eq!(left.get::<_, String>(0), "cleo@example.com");
}

#[tokio::test]
async fn r49_the_queue_has_addresses_and_no_names() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_as(&org, "bob", OrganizationRole::Admin).await;
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    // What comes after the command does not change where its mail goes.
    world.operator().change_email(&bob.account, "robert@example.com").await.expect("changed");
    let row = world.server().database().query_one("SELECT to_jsonb(mails) - 'mail_id' FROM mails", &[]).await;
    let row: serde_json::Value = row.expect("a row").get(0);
    assert_eq!(row["recipient"], "bob@example.com");
    assert_eq!(row["account_id"], bob.account.as_str());
    assert!(!row.to_string().contains("Engines"), "{row}");
}

/// Who is told what, and whether the row leads to an account or a member.
async fn told(world: &World) -> Vec<(String, String, bool)> {
    let query = "SELECT recipient, kind, account_id IS NOT NULL OR member_id IS NOT NULL FROM mails
                 ORDER BY recipient, kind";
    let rows = world.server().database().query(query, &[]).await.expect("rows");
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

#[tokio::test]
async fn r49_r43_a_confirmation_goes_to_the_address_that_is_erased_with_the_same_command() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let [bob, cleo] = [world.member(&org, "bob").await, world.member(&org, "cleo").await];
    let elsewhere = world.organization("dora").await;
    world.add_account(&elsewhere, &cleo.account, OrganizationRole::Member).await;
    for person in [&bob, &cleo] {
        world.operator().deactivate(&org, person).await.expect("deactivated");
        let request = EraseMemberRequest {
            organization_id: org.id.clone(),
            member_id: person.member.clone(),
            confirm: true,
            ..Default::default()
        };
        world.members().erase_member(request).await.expect("erased");
    }
    // One mail each; what waited for the erased ones is gone.
    let row = |who: &str, kind: &str| (format!("{who}@example.com"), kind.to_owned(), false);
    assert_eq!(told(&world).await, [row("bob", "ACCOUNT_DELETED"), row("cleo", "ERASED")]);
    let request = DeleteAccountRequest {
        account_id: cleo.account.clone(),
        acting_account_id: cleo.account.clone(),
        confirm: true,
        ..Default::default()
    };
    world.accounts().delete_account(request).await.expect("deleted");
    let all = [row("bob", "ACCOUNT_DELETED"), row("cleo", "ACCOUNT_DELETED"), row("cleo", "ERASED")];
    assert_eq!(told(&world).await, all);
}

#[tokio::test]
async fn everybody_who_belongs_is_told_that_the_organization_is_gone() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let [bob, cleo] = [world.member(&org, "bob").await, world.member(&org, "cleo").await];
    world.operator().remove(&org, &bob).await.expect("removed");
    world.operator().deactivate(&org, &cleo).await.expect("deactivated");
    sql(&world, "DELETE FROM mails").await;
    let request =
        DeleteOrganizationRequest { organization_id: org.id.clone(), confirm: true, ..Default::default() };
    world.organizations().delete_organization(request).await.expect("deleted");
    let row = |who: &str| (format!("{who}@example.com"), "ORGANIZATION_DELETED".to_owned(), true);
    assert_eq!(told(&world).await, [row("ada"), row("cleo")]);
}

#[tokio::test]
async fn whatever_ends_an_invitation_drops_the_mail_that_would_bring_it() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let dan = world.account("dan").await;
    let names = ["accepted", "declined", "revoked", "late", "again", "closed"];
    let accepting = world.account("accepted").await;
    let mut invited = Vec::new();
    for name in names {
        let workspaces: &[&String] = if name == "closed" { &[&boards] } else { &[] };
        invited.push(world.invite(&org, name, workspaces).await);
    }
    let stays = world.invite(&org, "pending", &[&boards, &org.general]).await;
    assert_eq!(addresses(&world).await.len(), names.len() + 1);

    world.join(&accepting, &invited[0].secret).await;
    world.operator().acting(&dan).decline(&invited[1].secret).await.expect_err("of another");
    world.operator().decline(&invited[1].secret).await.expect("declined");
    world.operator().revoke(&org, &invited[2].id).await.expect("revoked");
    for late in &invited[3..5] {
        let passed = format!(
            "UPDATE invitations SET expire_time = now() - interval '1 hour', send_time = send_time - interval '8 days' \
             WHERE invitation_id = '{}'",
            late.id
        );
        sql(&world, &passed).await;
    }
    world.invite(&org, "again", &[]).await;
    world.operator().delete_workspace(&org, &boards).await.expect("deleted");
    let connections = Connections {
        url: world.server().another_connection().await.url,
        direct_url: None,
        migration_url: None,
        pool_size: 2,
    };
    let database = Database::open(&connections).await.expect("the database");
    assert_eq!(database.expire_invitations(100).await.expect("swept"), 1);
    let left = ["again@example.com", "pending@example.com"];
    assert_eq!(addresses(&world).await, left, "{}", stays.id);
}

/// To whom invitations wait to be sent.
async fn addresses(world: &World) -> Vec<String> {
    let query = "SELECT recipient FROM mails WHERE invitation_id IS NOT NULL ORDER BY recipient";
    let rows = world.server().database().query(query, &[]).await.expect("the queue");
    rows.iter().map(|row| row.get(0)).collect()
}
