//! Whether a write is enforced: every state, what was ended, who is late, and all of it long after.

use rollcall_client::v1::*;
use tonic::Code;

use super::{
    Instance, await_all, await_end, awaiting, close, enforcement, late, of, out, receipt, revokes, scene, set,
};
use crate::fixtures::{World, refused};

#[tokio::test]
async fn a_departure_is_enforced_when_everyone_has_applied_it() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let (mut one, mut two) =
        (Instance::open(&world, "chat", "chat-1").await, Instance::open(&world, "chat", "chat-2").await);
    one.applied(&world).await;
    let token = out(&world, &org, &bob).await;
    let report = enforcement(&world, &token).await;
    assert_eq!(report.state(), EnforcementState::Pending);
    assert_eq!(report.organization_id, org.id);
    assert!(!report.command_id.is_empty());
    let chat = of(&report, "chat");
    assert_eq!((chat.state(), chat.instances, chat.applied_instances), (EnforcementState::Pending, 2, 0));
    let bound = chat.bound.expect("a bound");
    assert_eq!((bound.seconds, bound.nanos), (30, 300_000_000));
    assert_eq!(
        late(&report, "chat"),
        [("chat-1".to_owned(), InstanceState::Pending), ("chat-2".to_owned(), InstanceState::Pending)]
    );

    one.reach(report.position).await;
    one.applied(&world).await;
    let report = enforcement(&world, &token).await;
    assert_eq!((report.state(), of(&report, "chat").applied_instances), (EnforcementState::Pending, 1));

    two.reach(report.position).await;
    let (_, end) = tokio::join!(two.applied(&world), await_end(&world, awaiting(&token)));
    assert!(!end.timed_out);
    let report = end.enforcement.expect("a report");
    assert_eq!(report.state(), EnforcementState::Enforced);
    let chat = of(&report, "chat");
    assert_eq!((chat.instances, chat.applied_instances, chat.lapsed_instances), (2, 2, 0));
    // Nobody has said what was ended.
    assert_eq!(
        late(&report, "chat"),
        [("chat-1".to_owned(), InstanceState::Applied), ("chat-2".to_owned(), InstanceState::Applied)]
    );
}

#[tokio::test]
async fn what_was_ended_is_counted_and_who_failed_is_named() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let (mut one, mut two) =
        (Instance::open(&world, "chat", "chat-1").await, Instance::open(&world, "chat", "chat-2").await);
    let token = out(&world, &org, &bob).await;
    let position = enforcement(&world, &token).await.position;
    one.reach(position).await;
    two.reach(position).await;
    // One change of the member, one of the membership.
    let revoked: Vec<Change> = one.changes.iter().filter(|change| revokes(change)).cloned().collect();
    assert_eq!(revoked.len(), 2);

    let wait = AwaitEnforcementRequest { until: EnforcementGoal::Ended.into(), ..awaiting(&token) };
    let waiting = tokio::spawn({
        let mut feed = world.feed();
        async move {
            let mut stream = feed.await_enforcement(wait).await.expect("a wait").into_inner();
            let mut last = None;
            while let Some(message) = stream.message().await.expect("open") {
                last = Some(message);
            }
            last.expect("a message")
        }
    });
    // Half of it is not all of it.
    let half = AcknowledgeRequest {
        receipts: vec![receipt(&revoked[0], ReceiptOutcome::Ended, 2)],
        ..one.acknowledgement()
    };
    super::acknowledge(&world, half).await.expect("acknowledged");
    two.applied(&world).await;
    let report = enforcement(&world, &token).await;
    assert_eq!(report.state(), EnforcementState::Enforced, "for that nobody has to end anything");
    assert_eq!(of(&report, "chat").ended_instances, 0);
    assert_eq!(late(&report, "chat")[0], ("chat-1".to_owned(), InstanceState::Applied));
    assert!(!waiting.is_finished());

    one.ended(&world, 3).await;
    let mut failed = receipt(&revoked[0], ReceiptOutcome::Failed, 1);
    failed.detail = "socket_stuck".to_owned();
    let failing = AcknowledgeRequest { receipts: vec![failed], ..two.acknowledgement() };
    super::acknowledge(&world, failing.clone()).await.expect("acknowledged");
    let end = waiting.await.expect("no panic");
    assert!(end.done && !end.timed_out, "a failure is said, not waited out");
    let report = end.enforcement.expect("a report");
    let chat = of(&report, "chat");
    assert_eq!((chat.ended_instances, chat.ended_sessions), (1, 2 + 3 + 1), "what is stored stays");
    assert_eq!(late(&report, "chat"), [("chat-2".to_owned(), InstanceState::Failed)]);
    assert_eq!(chat.late[0].detail, "socket_stuck");
    assert_eq!(chat.late[0].subscription_id, two.id);

    // What comes after a failure takes its place; what is said twice counts once.
    for _ in 0..2 {
        two.ended(&world, 4).await;
        super::acknowledge(&world, failing.clone()).await.expect("a late failure changes nothing");
        let report = enforcement(&world, &token).await;
        let chat = of(&report, "chat");
        assert_eq!((chat.ended_instances, chat.ended_sessions), (2, 2 + 3 + 4 + 4));
        assert!(chat.late.is_empty(), "{:?}", chat.late);
    }
}

#[tokio::test]
async fn an_app_without_enough_instances_is_said_to_have_none() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let boards = world.workspace(&org, "boards", "boards").await;
    world.put_in(&org, &boards, &bob, WorkspaceRole::Member).await;
    let mut chat = Instance::open(&world, "chat", "chat-1").await;
    let token = out(&world, &org, &bob).await;
    let report = enforcement(&world, &token).await;
    assert_eq!(of(&report, "boards").state(), EnforcementState::NoInstances);
    assert!(report.apps.iter().all(|app| app.app != "track"), "it has never had to do with it: {report:?}");
    chat.reach(report.position).await;
    chat.applied(&world).await;
    let end = await_end(&world, awaiting(&token)).await.enforcement.expect("a report");
    assert_eq!(end.state(), EnforcementState::NoInstances);
    assert_eq!(of(&end, "chat").state(), EnforcementState::Enforced);
    // One where there should be two.
    set(&world, "chat", "min_instances", "2").await;
    let eve = world.member_in(&org, "eve", &[&org.general]).await;
    let token = out(&world, &org, &eve).await;
    let pending = enforcement(&world, &token).await;
    assert_eq!(of(&pending, "chat").state(), EnforcementState::Pending, "who is there is waited for");
    chat.reach(pending.position).await;
    chat.applied(&world).await;
    let end = await_end(&world, awaiting(&token)).await.enforcement.expect("a report");
    assert_eq!(of(&end, "chat").state(), EnforcementState::NoInstances);
    // An app that was asked for is told of, whatever its scope.
    let asked = AwaitEnforcementRequest { apps: vec!["track".to_owned()], ..awaiting(&token) };
    let end = await_end(&world, asked).await.enforcement.expect("a report");
    assert_eq!(end.apps.len(), 1);
    assert_eq!(of(&end, "track").state(), EnforcementState::NoInstances);
}

#[tokio::test]
async fn an_app_that_serves_stale_answers_cannot_be_waited_for() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    set(&world, "chat", "serve_stale", "true").await;
    let mut chat = Instance::open(&world, "chat", "chat-1").await;
    assert!(chat.opened.serve_stale);
    let token = out(&world, &org, &bob).await;
    let end = await_end(&world, awaiting(&token)).await.enforcement.expect("a report");
    assert_eq!(end.state(), EnforcementState::Unbounded);
    assert_eq!(of(&end, "chat").bound, None);
    assert_eq!(late(&end, "chat"), [("chat-1".to_owned(), InstanceState::Pending)]);
    chat.reach(end.position).await;
    chat.applied(&world).await;
    let report = enforcement(&world, &token).await;
    assert_eq!((report.state(), of(&report, "chat").applied_instances), (EnforcementState::Unbounded, 1));
}

#[tokio::test]
async fn a_wait_says_who_is_late_when_its_time_is_up() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let chat = Instance::open(&world, "chat", "chat-1").await;
    let token = out(&world, &org, &bob).await;
    for milliseconds in [0, 200] {
        let timeout = Some(prost_types::Duration { seconds: 0, nanos: milliseconds * 1_000_000 });
        let end = await_end(&world, AwaitEnforcementRequest { timeout, ..awaiting(&token) }).await;
        assert!(end.timed_out);
        let report = end.enforcement.expect("a report");
        assert_eq!(report.state(), EnforcementState::Pending);
        assert_eq!(late(&report, "chat"), [("chat-1".to_owned(), InstanceState::Pending)]);
    }
    // The call's own deadline ends it as well, with its last word.
    let mut request = tonic::Request::new(awaiting(&token));
    request.set_timeout(std::time::Duration::from_millis(700));
    let mut stream = world.feed().await_enforcement(request).await.expect("a wait").into_inner();
    let mut last = None;
    while let Some(message) = stream.message().await.expect("no error") {
        last = Some(message);
    }
    assert!(last.expect("a last message").timed_out);
    drop(chat);
}

/// The next message that tells of so many instances of `chat` that have applied it, or of the end.
async fn told(
    stream: &mut tonic::Streaming<AwaitEnforcementResponse>,
    applied: i32,
) -> AwaitEnforcementResponse {
    loop {
        let message = stream.message().await.expect("open").expect("a message");
        let report = message.enforcement.as_ref().expect("a report");
        if message.done || of(report, "chat").applied_instances >= applied {
            return message;
        }
    }
}

#[tokio::test]
async fn a_wait_in_which_nothing_changes_says_so_again_and_again() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let chat = Instance::open(&world, "chat", "chat-1").await;
    let token = out(&world, &org, &bob).await;
    let mut stream = world.feed().await_enforcement(awaiting(&token)).await.expect("a wait").into_inner();
    let mut told = Vec::new();
    for _ in 0..2 {
        let message = stream.message().await.expect("open").expect("a message");
        assert!(!message.done && !message.timed_out);
        told.push(of(&message.enforcement.expect("a report"), "chat").applied_instances);
    }
    assert_eq!(told, [0, 0]);
    drop(chat);
}

#[tokio::test]
async fn progress_comes_when_something_changed() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let (mut one, mut two) =
        (Instance::open(&world, "chat", "chat-1").await, Instance::open(&world, "chat", "chat-2").await);
    let token = out(&world, &org, &bob).await;
    let position = enforcement(&world, &token).await.position;
    let mut stream = world.feed().await_enforcement(awaiting(&token)).await.expect("a wait").into_inner();
    let mut applied = Vec::new();
    for (number, instance) in [&mut one, &mut two].into_iter().enumerate() {
        let message = told(&mut stream, i32::try_from(number).expect("a number")).await;
        assert!(!message.done);
        applied.push(of(&message.enforcement.expect("a report"), "chat").applied_instances);
        instance.reach(position).await;
        instance.applied(&world).await;
    }
    let last = told(&mut stream, 2).await;
    applied.push(of(&last.enforcement.expect("a report"), "chat").applied_instances);
    assert_eq!((applied, last.done), (vec![0, 1, 2], true));
    assert!(stream.message().await.expect("an end").is_none());
    // One that is over at once says so at once.
    assert_eq!(await_all(&world, awaiting(&token)).await.len(), 1);
}

#[tokio::test]
async fn what_changed_nothing_is_enforced_when_what_it_saw_is() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let mut chat = Instance::open(&world, "chat", "chat-1").await;
    let mut track = Instance::open(&world, "track", "track-1").await;
    out(&world, &org, &bob).await;
    // Repeated, it is the token of the change that revoked.
    let again = out(&world, &org, &bob).await;
    let report = enforcement(&world, &again).await;
    assert!(!report.command_id.is_empty());
    assert_eq!(report.apps.len(), 1, "{report:?}");
    // A name that stays what it is: it saw the departure, and more.
    let renamed = world.operator().rename_organization(&org.id, "ada's").await.expect("renamed");
    let token = world.operator().rename_organization(&org.id, "ada's").await.expect("the same").token;
    assert_ne!(token, renamed.token);
    let report = enforcement(&world, &token).await;
    assert!(report.command_id.is_empty() && report.organization_id.is_empty(), "{report:?}");
    assert_eq!(of(&report, "track").state(), EnforcementState::Pending, "every app, whatever its scope");
    for instance in [&mut chat, &mut track] {
        instance.reach(report.position).await;
        instance.applied(&world).await;
    }
    let boards = of(&enforcement(&world, &token).await, "boards").state();
    assert_eq!(boards, EnforcementState::NoInstances);
    let asked =
        AwaitEnforcementRequest { apps: vec!["chat".to_owned(), "track".to_owned()], ..awaiting(&token) };
    let end = await_end(&world, asked).await.enforcement.expect("a report");
    assert_eq!(end.state(), EnforcementState::Enforced);
}

#[tokio::test]
async fn it_is_told_long_after_by_token_command_and_position() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let mut chat = Instance::open(&world, "chat", "chat-1").await;
    let token = out(&world, &org, &bob).await;
    let report = enforcement(&world, &token).await;
    chat.reach(report.position).await;
    chat.ended(&world, 2).await;
    await_end(&world, awaiting(&token)).await;
    // Recorded a moment later, by a task that nobody waits for.
    let recorded = loop {
        let report = enforcement(&world, &token).await;
        if of(&report, "chat").enforce_time.is_some() {
            break report;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((of(&recorded, "chat").instances, of(&recorded, "chat").ended_sessions), (1, 4));
    // The instance is gone, the change has left the log.
    close(&world, &chat.id, &chat.cursor).await;
    crate::history::trim_log(world.server().database()).await;
    use get_enforcement_request::Write;
    let ways = [
        Write::Token(token),
        Write::CommandId(report.command_id.clone()),
        Write::Position(report.position - 1),
        Write::Position(report.position),
    ];
    for write in ways {
        let request = GetEnforcementRequest { write: Some(write.clone()), ..Default::default() };
        let answer = world.feed().get_enforcement(request).await.expect("a report").into_inner();
        let told = answer.enforcement.expect("the report");
        let chat = of(&told, "chat");
        assert_eq!(
            (told.state(), &told.command_id),
            (EnforcementState::Enforced, &report.command_id),
            "{write:?}"
        );
        assert_eq!((chat.instances, chat.applied_instances), (1, 1), "{write:?}");
        assert_eq!((chat.ended_instances, chat.ended_sessions), (1, 4), "{write:?}");
        assert_eq!(chat.enforce_time, of(&recorded, "chat").enforce_time, "{write:?}");
    }
    let unknown = GetEnforcementRequest { write: Some(Write::Position(1_000_000)), ..Default::default() };
    refused(world.feed().get_enforcement(unknown).await, Code::NotFound, "CHANGE_NOT_FOUND");
}

#[tokio::test]
async fn a_replica_that_starts_records_what_nobody_did() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let mut chat = Instance::open(&world, "chat", "chat-1").await;
    let token = out(&world, &org, &bob).await;
    let position = enforcement(&world, &token).await.position;
    chat.reach(position).await;
    let last = chat.acknowledgement();
    drop(chat);
    let database = world.stop().await;
    let world = World::resumed(crate::support::Server::on(database).await);
    super::acknowledge(&world, last).await.expect("acknowledged to another replica");
    loop {
        let report = enforcement(&world, &token).await;
        if of(&report, "chat").enforce_time.is_some() {
            assert_eq!(report.state(), EnforcementState::Enforced);
            return;
        }
        tokio::task::yield_now().await;
    }
}
