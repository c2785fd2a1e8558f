//! Apps: their settings, the service's own, and what unregistering one ends.

use rollcall_client::v1::{watch_response::Message, *};
use tonic::{
    Code::{self, Aborted, AlreadyExists, FailedPrecondition, NotFound},
    Status, Streaming,
};

use crate::{
    fixtures::{World, invalid, made_up_id, mask, refused, unknown},
    server::soon,
    support::Server,
};

fn ttl(milliseconds: i64) -> Option<prost_types::Duration> {
    let nanos = i32::try_from(milliseconds % 1_000).expect("small") * 1_000_000;
    Some(prost_types::Duration { seconds: milliseconds / 1_000, nanos })
}

async fn register(world: &World, request: RegisterAppRequest) -> Result<App, Status> {
    Ok(world.apps().register_app(request).await?.into_inner().app.expect("the app"))
}

async fn get(world: &World, app: &str) -> Result<App, Status> {
    let request = GetAppRequest { app: app.to_owned(), ..Default::default() };
    Ok(world.apps().get_app(request).await?.into_inner().app.expect("the app"))
}

async fn update(world: &World, app: App, paths: &[&str]) -> Result<App, Status> {
    let update_mask = Some(paths).filter(|paths| !paths.is_empty()).and_then(mask);
    let request = UpdateAppRequest { app: Some(app), update_mask, ..Default::default() };
    Ok(world.apps().update_app(request).await?.into_inner().app.expect("the app"))
}

async fn unregister(world: &World, app: &str) -> Result<(), Status> {
    let request = UnregisterAppRequest { app: app.to_owned(), ..Default::default() };
    world.apps().unregister_app(request).await.map(drop)
}

async fn names(world: &World) -> Vec<String> {
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListAppsRequest { page_size: 2, page_token, ..Default::default() };
        let page = world.apps().list_apps(request).await.expect("a page").into_inner();
        names.extend(page.apps.into_iter().map(|app| app.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return names;
        }
    }
}

fn named(name: &str) -> App {
    App { name: name.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn an_app_has_settings_that_can_be_changed() {
    let world = World::start().await;
    let chat = get(&world, "chat").await.expect("the app");
    assert_eq!((chat.lease_ttl, chat.serve_stale, chat.min_instances), (ttl(30_000), false, 1));
    let request = RegisterAppRequest {
        app: "mail".to_owned(),
        lease_ttl: ttl(2_500),
        serve_stale: true,
        min_instances: 3,
        ..Default::default()
    };
    let mail = register(&world, request.clone()).await.expect("registered");
    assert_eq!((mail.lease_ttl, mail.serve_stale, mail.min_instances), (ttl(2_500), true, 3));
    assert_ne!(mail.etag, chat.etag);
    refused(register(&world, request).await, AlreadyExists, "APP_EXISTS");

    // The mask says what; another version is refused; the same again changes nothing.
    let wanted = App { lease_ttl: ttl(10_000), min_instances: 5, etag: chat.etag.clone(), ..named("chat") };
    let changed = update(&world, wanted.clone(), &["lease_ttl"]).await.expect("changed");
    assert_eq!((changed.lease_ttl, changed.min_instances), (ttl(10_000), 1));
    refused(update(&world, wanted.clone(), &["min_instances"]).await, Aborted, "ETAG_MISMATCH");
    let again = App { etag: changed.etag.clone(), ..wanted };
    assert_eq!(update(&world, again, &["lease_ttl"]).await.expect("as it is"), changed);
    // Without a mask what is given.
    let given = App { min_instances: 7, serve_stale: true, ..named("chat") };
    let changed = update(&world, given, &[]).await.expect("changed");
    assert_eq!((changed.lease_ttl, changed.serve_stale, changed.min_instances), (ttl(10_000), true, 7));
    let changed = update(&world, named("chat"), &["serve_stale"]).await.expect("changed");
    assert_eq!((changed.serve_stale, changed.min_instances), (false, 7));
    assert_eq!(get(&world, "chat").await.expect("the app"), changed);

    // Only checked; repeated.
    let request = UpdateAppRequest {
        app: Some(App { min_instances: 9, ..named("chat") }),
        request_id: made_up_id(),
        validate_only: true,
        ..Default::default()
    };
    let checked = world.apps().update_app(request.clone()).await.expect("fine").into_inner();
    assert_eq!(checked, UpdateAppResponse::default());
    assert_eq!(get(&world, "chat").await.expect("the app"), changed);
    let request = UpdateAppRequest { request_id: made_up_id(), validate_only: false, ..request };
    for _ in 0..2 {
        let answer = world.apps().update_app(request.clone()).await.expect("changed").into_inner();
        assert_eq!(answer.app.expect("the app").min_instances, 9);
    }
    let other = UpdateAppRequest { app: Some(App { min_instances: 8, ..named("chat") }), ..request };
    refused(world.apps().update_app(other).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn settings_have_bounds() {
    let world = World::start().await;
    let odd = Some(prost_types::Duration { seconds: 2, nanos: 1 });
    for bad in [ttl(0), ttl(1_999), ttl(300_001), ttl(-5_000), odd] {
        let request = RegisterAppRequest { app: "mail".to_owned(), lease_ttl: bad, ..Default::default() };
        invalid(register(&world, request).await, "lease_ttl");
        invalid(update(&world, App { lease_ttl: bad, ..named("chat") }, &[]).await, "app.lease_ttl");
    }
    for bad in [-1, 10_001] {
        let request = RegisterAppRequest { app: "mail".to_owned(), min_instances: bad, ..Default::default() };
        invalid(register(&world, request).await, "min_instances");
        invalid(update(&world, App { min_instances: bad, ..named("chat") }, &[]).await, "app.min_instances");
    }
    invalid(update(&world, named("chat"), &["min_instances"]).await, "app.min_instances");
    invalid(update(&world, named("chat"), &["lease_ttl"]).await, "app.lease_ttl");
    invalid(update(&world, named("chat"), &["name"]).await, "update_mask");
    unknown(update(&world, App { min_instances: 2, ..named("mail") }, &[]).await, "APP_NOT_FOUND", "mail");
    unknown(unregister(&world, "mail").await, "APP_NOT_FOUND", "mail");
}

#[tokio::test]
async fn the_service_has_an_app_of_its_own() {
    let world = World::start().await;
    assert_eq!(names(&world).await, ["boards", "chat", "rollcall", "track"]);
    assert_eq!(get(&world, "rollcall").await.expect("the app").lease_ttl, ttl(10_000));
    let request = RegisterAppRequest { app: "rollcall".to_owned(), ..Default::default() };
    invalid(register(&world, request).await, "app");
    invalid(unregister(&world, "rollcall").await, "app");
    let stale = App { serve_stale: true, ..named("rollcall") };
    invalid(update(&world, stale, &["serve_stale"]).await, "app.serve_stale");
    let few = App { min_instances: 2, lease_ttl: ttl(5_000), ..named("rollcall") };
    assert_eq!(update(&world, few, &[]).await.expect("changed").min_instances, 2);
    let org = world.organization("ada").await;
    let made = world.operator().create_workspace(&org, "rollcall", "own").await;
    unknown(made, "APP_NOT_FOUND", "rollcall");
}

/// A stream of the app, as an instance or, without a name, as an observer, read up to its first bookmark.
async fn watch(world: &World, app: &str, instance: &str) -> Result<Streaming<WatchResponse>, Status> {
    let request = WatchRequest { app: app.to_owned(), instance: instance.to_owned(), ..Default::default() };
    let mut stream = world.feed().watch(request).await?.into_inner();
    loop {
        let message = soon("a message", stream.message()).await?.expect("no end of its own");
        if matches!(message.message, Some(Message::Bookmark(_))) {
            return Ok(stream);
        }
    }
}

async fn end(stream: &mut Streaming<WatchResponse>) -> Result<(), Status> {
    while soon("an end", stream.message()).await?.is_some() {}
    Ok(())
}

async fn states(world: &World, app: &str) -> Vec<(String, bool)> {
    let query = "SELECT state, counted FROM subscriptions WHERE app = $1 ORDER BY subscription_id";
    let rows = world.server().database().query(query, &[&app]).await.expect("the subscriptions");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn an_app_that_is_unregistered_ends_its_streams_and_can_come_back() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let request = RegisterAppRequest { app: "mail".to_owned(), min_instances: 3, ..Default::default() };
    let mail = register(&world, request).await.expect("registered");
    let inbox = world.workspace(&org, "mail", "inbox").await;
    let (mut instance, mut observer) = (
        watch(&world, "mail", "mail-1").await.expect("a stream"),
        watch(&world, "mail", "").await.expect("one"),
    );
    let elsewhere = World::resumed(Server::beside(world.server()).await);
    let mut far = watch(&elsewhere, "mail", "").await.expect("a stream");
    // It may hold a lease, the other one was never granted any.
    let granted = "UPDATE subscriptions SET grant_seq = 1 WHERE instance = 'mail-1'";
    world.server().database().execute(granted, &[]).await.expect("as if");
    let _silent = watch(&world, "mail", "mail-0").await.expect("a stream");
    let status = refused(unregister(&world, "mail").await, FailedPrecondition, "APP_IN_USE");
    assert!(status.message().contains(&inbox), "{status:?}");
    world.operator().delete_workspace(&org, &inbox).await.expect("deleted");

    let request = UnregisterAppRequest { app: "mail".to_owned(), etag: "x".to_owned(), ..Default::default() };
    refused(world.apps().unregister_app(request.clone()).await, Aborted, "ETAG_MISMATCH");
    let request = UnregisterAppRequest { etag: mail.etag.clone(), validate_only: true, ..request };
    world.apps().unregister_app(request.clone()).await.expect("fine");
    assert_eq!(get(&world, "mail").await.expect("still there"), mail);
    let request = UnregisterAppRequest { validate_only: false, ..request };
    world.apps().unregister_app(request).await.expect("unregistered");
    for stream in [&mut instance, &mut observer, &mut far] {
        refused(end(stream).await, Aborted, "SUBSCRIPTION_CLOSED");
    }
    let closed = [true, false].map(|counted| ("CLOSED".to_owned(), counted));
    assert_eq!(states(&world, "mail").await, closed, "who may hold a lease counts");
    unregister(&world, "mail").await.expect("again");

    // Nobody begins with it any more.
    refused(watch(&world, "mail", "mail-2").await, NotFound, "APP_NOT_FOUND");
    refused(watch(&world, "mail", "").await, NotFound, "APP_NOT_FOUND");
    unknown(world.operator().create_workspace(&org, "mail", "outbox").await, "APP_NOT_FOUND", "mail");
    unknown(world.operator().create_organization(&org.owner.account, "mail").await, "APP_NOT_FOUND", "mail");
    unknown(get(&world, "mail").await, "APP_NOT_FOUND", "mail");
    unknown(update(&world, App { min_instances: 2, ..named("mail") }, &[]).await, "APP_NOT_FOUND", "mail");
    assert_eq!(names(&world).await, ["boards", "chat", "rollcall", "track"]);

    // It comes back with what is said of it now.
    let request = RegisterAppRequest { app: "mail".to_owned(), ..Default::default() };
    let back = register(&world, request).await.expect("registered again");
    assert_eq!((back.create_time, back.min_instances), (mail.create_time, 1));
    assert_ne!(back.etag, mail.etag);
    watch(&world, "mail", "mail-1").await.expect("a stream");
    world.workspace(&org, "mail", "outbox").await;
}

/// Of unregistering an app and making the first workspace of it at once, exactly one is refused.
#[tokio::test]
async fn an_app_is_not_unregistered_under_a_workspace_that_is_being_made() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let operator = world.operator();
    for round in 0..20 {
        let app = format!("app-{round}");
        let request = RegisterAppRequest { app: app.clone(), ..Default::default() };
        register(&world, request).await.expect("registered");
        let (made, ended) =
            tokio::join!(operator.create_workspace(&org, &app, &app), unregister(&world, &app));
        match (made, ended) {
            (Ok(_), ended) => drop(refused(ended, FailedPrecondition, "APP_IN_USE")),
            (made, Ok(())) => unknown(made, "APP_NOT_FOUND", &app),
            both => panic!("{both:?}"),
        }
    }
}
