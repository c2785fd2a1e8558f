//! `rollcall check`.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use serde_json::Value;

use super::{scene, token};
use crate::{
    fixtures::{World, made_up_id},
    processes::{run, run_well},
};

#[tokio::test(flavor = "multi_thread")]
async fn check_prints_the_answer_and_its_exit_code_says_it() {
    let world = World::checking().await;
    let (org, bob) = scene(&world).await;
    let (endpoint, at) = (world.server().endpoint(), token(&world, &org).await);
    let words = |workspace: &str| {
        let words = ["check", &bob.account, workspace, "--at-least-as-fresh", &at, "--endpoint", &endpoint];
        words.map(str::to_owned).to_vec()
    };
    let table = run_well(words(&org.general)).await;
    let header: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header[..3], ["ALLOWED", "DENIAL_REASON", "MEMBER_ID"]);
    assert!(table.contains(&bob.member) && table.contains("MEMBER"), "{table}");

    let json = ["-o".to_owned(), "json".to_owned()];
    let output = run(words(&made_up_id()).into_iter().chain(json)).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.is_empty(), "a denial is an answer: {output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["allowed"], false);
    assert_eq!((&answer["denial_reason"], &answer["member_id"]), (&"WORKSPACE_UNKNOWN".into(), &"".into()));

    let output = run(["check", "issuer=subject", &org.general, "--endpoint", &endpoint]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("NOT_A_MEMBER"));
    let output = run(["check", "nonsense", &org.general, "--endpoint", &endpoint]).await;
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.starts_with("rollcall check: ") && errors.contains("INVALID_FIELD"), "{errors}");
    let output = run(["check", "a", "b", "--max-staleness", "3601"]).await;
    assert_eq!(output.status.code(), Some(2), "more than the service takes");
}
