//! Backup and restore as `docs/backup.md` has it: its commands are taken from the page and run, on a Postgres that is set up
//! as one for real work is.

use std::{collections::BTreeMap, fs, path::Path, process::Stdio};

use rollcall::embedded::{Cluster, Durability, Options};
use rollcall_client::v1::MemberState;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    fixtures::World,
    process::binary::ended,
    processes::BOUND,
    support::{Database, SERVICE, Server, superuser},
};

/// The commands below a heading of the page.
fn commands(heading: &str) -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/backup.md"));
    let page = page.expect("the page");
    let (_, section) = page.split_once(&format!("## {heading}\n")).unwrap_or_else(|| panic!("{heading}"));
    let section = section.split("\n## ").next().expect("a section");
    let lines: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert!(!lines.is_empty(), "{heading} has no commands");
    lines.join("\n")
}

/// Somebody at a shell, in a directory of their own.
struct Operator {
    directory: TempDir,
    path: String,
    variables: BTreeMap<&'static str, String>,
}

impl Operator {
    fn new(postgres: &Cluster) -> Self {
        let server = fs::read_link(format!("/proc/{}/exe", postgres.pid())).expect("its program");
        let programs = [server.as_path(), Path::new(env!("CARGO_BIN_EXE_rollcall"))];
        let programs = programs.map(|program| program.parent().expect("a directory").display().to_string());
        let path = format!("{}:{}:/usr/bin:/bin", programs[0], programs[1]);
        Self { directory: TempDir::new().expect("a directory"), path, variables: BTreeMap::new() }
    }

    /// Types what stands below a heading; gives what is printed.
    async fn types(&self, heading: &str) -> String {
        let script = format!("set -eu\n{}\n", commands(heading));
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env_clear().env("PATH", &self.path).envs(&self.variables);
        command.current_dir(self.directory.path()).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(BOUND, command.output()).await.expect("in time").expect("sh runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{heading}: {script}\n{said}{errors}");
        said
    }
}

async fn postgres() -> (Cluster, TempDir) {
    let directory = TempDir::new().expect("a directory");
    let options = Options {
        data_dir: directory.path().join("data"),
        bin_dir: None,
        // `doctor` is to find nothing.
        durability: Durability::Durable,
        max_connections: 60,
    };
    let started = tokio::task::spawn_blocking(move || Cluster::start(&options)).await.expect("no panic");
    (started.expect("a Postgres"), directory)
}

/// A world on a database that is set up as `docs/operations.md` says, with an owner of the tables who does not serve.
async fn world(service_url: &str) -> World {
    let database = Database::at(service_url).await;
    let owner = "CREATE ROLE rollcall_owner LOGIN; ALTER DATABASE rollcall OWNER TO rollcall_owner";
    database.client.batch_execute(owner).await.expect("an owner");
    let owner_url = service_url.replacen(SERVICE, "rollcall_owner", 1);
    let (code, said) =
        ended(&["migrate", "--database-url", &owner_url, "--service-role", SERVICE], &[]).await;
    assert_eq!(code, Some(0), "{said}");
    World::on(Server::on(database).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_the_page_restores_a_backup_and_erases_again_who_was_erased_since() {
    let (postgres, _data) = postgres().await;
    let service_url = postgres.service_url("rollcall");
    let before = world(&service_url).await;
    let org = before.organization("ada").await;
    let bob = before.member_in(&org, "bob", &[&org.general]).await;
    let cy = before.member_in(&org, "cy", &[&org.general]).await;
    before.operator().deactivate(&org, &bob).await.expect("deactivated");
    let mut operator = Operator::new(&postgres);
    operator.variables.insert("ADMIN_URL", superuser(&service_url));
    operator.variables.insert("ROLLCALL_ENDPOINT", before.server().endpoint());
    operator.types("A backup").await;

    // Since the backup: one is erased, another leaves.
    before.operator().erase(&org, &bob).await.expect("erased");
    before.operator().deactivate(&org, &cy).await.expect("deactivated");
    operator.types("The ledger of erasures").await;
    before.stop().await;

    let restored = |url: &str| format!("{url}_restored");
    let (service, admin) = (restored(&service_url), restored(&superuser(&service_url)));
    let owner = service.replacen(SERVICE, "rollcall_owner", 1);
    operator.variables.insert("RESTORED", "rollcall_restored".to_owned());
    operator.variables.insert("RESTORED_SERVICE_URL", service.clone());
    operator.variables.insert("RESTORED_OWNER_URL", owner);
    operator.variables.insert("RESTORED_ADMIN_URL", admin);
    let said = operator.types("Restore").await;
    assert!(said.contains("nothing to migrate"), "{said}");

    let after = World::resumed(Server::on(Database::at(&service).await).await);
    operator.variables.insert("ROLLCALL_ENDPOINT", after.server().endpoint());
    // The backup knows nothing of what came after it.
    assert_eq!(after.state(&org, &bob).await, MemberState::Deactivated);
    assert_eq!(after.state(&org, &cy).await, MemberState::Active);
    operator.types("Before anybody reads").await;
    assert_eq!(after.state(&org, &bob).await, MemberState::Erased);
    // What only the systems that command know is for them to command again.
    assert_eq!(after.state(&org, &cy).await, MemberState::Active);
    after.operator().deactivate(&org, &cy).await.expect("deactivated again");
    after.stop().await;
    tokio::task::spawn_blocking(|| postgres.stop()).await.expect("no panic").expect("it stops");
}
