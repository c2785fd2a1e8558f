//! C15: a write that is answered is committed, and its answer says whether on this database server alone.

use std::{path::Path, time::Duration};

use rollcall::embedded::{Cluster, Durability, Options};
use rollcall_client::v1::{account_service_client::AccountServiceClient, *};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tonic::{Code, Request, Response, metadata::MetadataMap};

use crate::{
    fixtures::{World, made_up_id, refused},
    server::{soon, until},
    support::{Channel, Database, Server},
};

/// What an answer says.
fn said(metadata: &MetadataMap) -> Option<&str> {
    metadata.get("rollcall-durability").map(|value| value.to_str().expect("a word"))
}

fn account() -> CreateAccountRequest {
    let email = format!("{}@example.com", uuid::Uuid::new_v4());
    CreateAccountRequest { email, request_id: made_up_id(), ..Default::default() }
}

/// Writes, and gives what the answer says.
async fn written(channel: Channel) -> String {
    let request = account();
    let answer: Response<_> =
        AccountServiceClient::new(channel).create_account(request).await.expect("written");
    said(answer.metadata()).expect("every write says it").to_owned()
}

#[tokio::test]
async fn c15_without_a_standby_every_write_says_that_it_is_local() {
    let world = World::start().await;
    assert_eq!(written(world.server().channel()).await, "local");
    let org = world.organization("ada").await;
    let request = UpdateAppRequest {
        app: Some(App { name: "chat".to_owned(), min_instances: 2, ..Default::default() }),
        validate_only: true,
        ..Default::default()
    };
    let answer = world.apps().update_app(request).await.expect("checked");
    assert_eq!(said(answer.metadata()), Some("local"), "of whatever method");
    let request = GetOrganizationRequest { organization_id: org.id.clone(), ..Default::default() };
    let answer = world.organizations().get_organization(request).await.expect("read");
    assert_eq!(said(answer.metadata()), None, "a read says nothing");
}

/// A Postgres of its own: its standbys are nobody else's.
async fn start(directory: &Path) -> Cluster {
    let options = Options {
        data_dir: directory.to_owned(),
        bin_dir: None,
        durability: Durability::Volatile,
        max_connections: 50,
    };
    let started = tokio::task::spawn_blocking(move || Cluster::start(&options)).await;
    started.expect("no panic").expect("a Postgres")
}

/// What stores the log of a server as it is written, and says when it is on disk: all that a synchronous standby is here.
fn standby(cluster: &Cluster, directory: &Path) -> Child {
    let server =
        std::fs::read_link(format!("/proc/{}/exe", cluster.pid())).expect("the program of the server");
    let mut command = Command::new(server.with_file_name("pg_receivewal"));
    command.arg("-D").arg(directory).args([
        "--synchronous",
        "--no-password",
        "-U",
        "rollcall",
        "-p",
        "5432",
        "-h",
    ]);
    command.arg(cluster.socket_dir()).kill_on_drop(true).spawn().expect("pg_receivewal runs")
}

fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    kill_process(pid.expect("it runs"), signal).expect("a signal");
}

async fn set(database: &Database, statement: &str) {
    database.client.batch_execute(statement).await.expect("set");
    database.client.batch_execute("SELECT pg_reload_conf()").await.expect("reloaded");
}

#[tokio::test]
async fn c15_with_a_synchronous_standby_writes_say_that_they_are_replicated() {
    let (directory, log) = (TempDir::new().expect("a directory"), TempDir::new().expect("a directory"));
    let cluster = start(directory.path()).await;
    let database = Database::at(&cluster.url("rollcall")).await;
    let server = Server::on(database.another().await).await;
    let is = async |word: &str| {
        until(word, async || written(server.channel()).await == word).await;
    };
    is("local").await;
    let standby = standby(&cluster, log.path());
    until("the standby", async || {
        let query = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        database.client.query_one(query, &[]).await.expect("counted").get::<_, i64>(0) == 1
    })
    .await;
    is("local").await;
    set(&database, "ALTER SYSTEM SET synchronous_standby_names = 'pg_receivewal'").await;
    is("replicated").await;

    // It falls silent: what it has not got is not answered, and is there once when it comes back.
    signal(&standby, Signal::STOP);
    let mut accounts = AccountServiceClient::new(server.channel());
    let wanted = account();
    let mut hasty = Request::new(wanted.clone());
    hasty.set_timeout(Duration::from_secs(1));
    refused(accounts.create_account(hasty).await, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    signal(&standby, Signal::CONT);
    let answer = soon("the answer", accounts.create_account(wanted)).await.expect("written");
    assert_eq!(said(answer.metadata()), Some("replicated"));
    set(&database, "ALTER SYSTEM RESET synchronous_standby_names").await;
    is("local").await;
    server.stop().await;
    drop(standby);
    tokio::task::spawn_blocking(|| cluster.stop()).await.expect("no panic").expect("it stops");
}
