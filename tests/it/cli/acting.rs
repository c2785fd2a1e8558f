//! `--acting` of what only reads: it shows what that person may see.

use crate::{
    fixtures::World,
    processes::{run_badly, run_well},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_for_a_person_is_what_that_person_may_see() {
    let world = World::start().await;
    let (org, other) = (world.organization("ada").await, world.organization("eve").await);
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    let invited = world.invite(&org, "zoe", &[&org.general]).await;
    let deactivated = world.member(&org, "cleo").await;
    let token = world.operator().deactivate(&org, &deactivated).await.unwrap().token;
    let position = crate::history::newest(&world, &org, &token).await.to_string();
    let here = ["--organization", &org.id];
    let reads: Vec<Vec<&str>> = vec![
        vec!["organization", "get", &org.id],
        [&["workspace", "list"], &here[..]].concat(),
        [&["member", "get", &bob.member], &here[..]].concat(),
        [&["member", "get", &bob.member, "--workspace", &org.general], &here[..]].concat(),
        [&["member", "list"], &here[..]].concat(),
        [&["member", "list", "--workspace", &org.general], &here[..]].concat(),
        [&["invite", "get", &invited.id], &here[..]].concat(),
        [&["invite", "list"], &here[..]].concat(),
        [&["history"], &here[..]].concat(),
        [&["history", "at", "--member", &bob.member, "--position", &position], &here[..]].concat(),
        [&["departures"], &here[..]].concat(),
        vec!["account", "get", &bob.account],
    ];
    let endpoint = world.server().endpoint();
    let acting = |read: &[&str], account: &str| -> Vec<String> {
        let more = ["--endpoint", &endpoint, "--acting", account];
        read.iter().chain(&more).map(|word| (*word).to_owned()).collect()
    };
    for read in &reads {
        let shown = run_well(acting(read, &org.owner.account)).await;
        assert!(shown.lines().count() > 1, "{read:?}: {shown}");
        let errors = run_badly(acting(read, &other.owner.account)).await;
        assert!(errors.contains("NOT_FOUND"), "{read:?}: {errors}");
    }
}
