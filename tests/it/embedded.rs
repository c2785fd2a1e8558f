//! What `rollcall::embedded` promises, against the server binaries of this system. The numbers in the names
//! are those of the module's documentation.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Lines},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rollcall::embedded::{Cluster, Durability, EmbeddedError, Options};
use rustix::{io::Errno, process::Pid};
use tempfile::TempDir;
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// Tells a copy of this test binary which directory to serve from.
const CHILD_DIRECTORY: &str = "ROLLCALL_TEST_EMBEDDED_DIRECTORY";
const PATIENCE: Duration = Duration::from_secs(30);

fn options(data_dir: &Path) -> Options {
    Options {
        data_dir: data_dir.to_path_buf(),
        bin_dir: None,
        durability: Durability::Volatile,
        max_connections: 20,
    }
}

fn start(data_dir: &Path) -> Cluster {
    Cluster::start(&options(data_dir)).expect("the server starts")
}

/// The error of a start that must fail, within patience.
fn refused(options: &Options) -> EmbeddedError {
    Cluster::start(options).expect_err("the start is refused")
}

/// The first column of the first row, through the driver that the service uses.
fn query(url: &str, sql: &str) -> Result<Option<String>, tokio_postgres::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let driver = tokio::spawn(connection);
        let messages = client.simple_query(sql).await?;
        drop(client);
        driver.await.expect("the driver does not panic")?;
        Ok(messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    })
}

fn ask(cluster: &Cluster, sql: &str) -> String {
    let answer = query(&cluster.url("rollcall"), sql).expect("the query succeeds");
    answer.expect("the query returns a row")
}

/// Polls, because other processes' ends announce themselves to nobody here.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn process(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().expect("a process number")).expect("not zero")
}

/// Whether the process exists and is no zombie: in a container nobody may be there to bury an orphan.
fn alive(pid: u32) -> bool {
    let zombie = fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    !zombie && rustix::process::test_kill_process(process(pid)) != Err(Errno::SRCH)
}

/// Every file below `directory` with its content.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).expect("a readable file"));
        }
    }
    found
}

/// A service in a process of its own: a copy of this binary that runs only `be_a_service`.
struct Service {
    process: Child,
    /// Kept open, because the copy goes on writing what a test binary writes.
    _output: Lines<BufReader<ChildStdout>>,
    server: u32,
    url: String,
}

impl Service {
    fn start(program: &Path, data_dir: &Path, user: Option<u32>) -> Self {
        let test = format!("{}::be_a_service", module_path!().split_once("::").expect("within a crate").1);
        let mut command = Command::new(program);
        command.args(["--exact", &test, "--ignored", "--nocapture"]).env(CHILD_DIRECTORY, data_dir);
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let mut process = command.spawn().expect("the test binary runs again");
        let mut output = BufReader::new(process.stdout.take().expect("piped")).lines();
        let ready = output.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, facts) = line.split_once("READY ")?;
            let (server, url) = facts.split_once(' ')?;
            Some((server.parse().ok()?, url.to_owned()))
        });
        let (server, url) = ready.expect("the service says when it is ready");
        Self { process, _output: output, server, url }
    }

    /// Closing the input lets the service stop in order.
    fn finish(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().expect("the service ends").success());
    }

    fn kill(&mut self) {
        self.process.kill().expect("SIGKILL");
        self.process.wait().expect("the service is gone");
    }
}

#[test]
#[ignore = "the process that other tests start; it serves until its input ends"]
fn be_a_service() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else { return };
    // From a thread that ends at once: the server must depend on the process, not on who called.
    let starter = thread::spawn(move || start(Path::new(&directory)));
    let cluster = starter.join().expect("the start succeeds");
    println!("READY {} {}", cluster.pid(), cluster.url("rollcall"));
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("a readable input");
    cluster.stop().expect("the server stops");
}

#[test]
fn promise_1_the_database_is_there_and_survives_a_restart() {
    let directory = TempDir::new().expect("a directory");
    let data = directory.path();
    let first = start(data);
    ask(&first, "CREATE TABLE kept AS SELECT 'so'::text AS word; SELECT word FROM kept");
    assert_eq!(ask(&first, "SELECT current_user || ' ' || current_database()"), "rollcall rollcall");
    assert_eq!(ask(&first, "SHOW server_encoding"), "UTF8");
    assert_eq!(ask(&first, "SHOW lc_messages"), "C");
    assert_eq!(ask(&first, "SHOW max_connections"), "20");
    let server = first.pid();
    first.stop().expect("the server stops");
    assert!(!alive(server), "stop returns when the server has ended");

    let second = start(data);
    assert_eq!(ask(&second, "SELECT word FROM kept"), "so");
    query(&second.url("postgres"), "DROP DATABASE rollcall").expect("dropped");
    let server = second.pid();
    drop(second);
    assert!(!alive(server), "dropping waits as well");

    let third = start(data);
    assert_eq!(ask(&third, "SELECT count(*) FROM pg_tables WHERE tablename = 'kept'"), "0", "created again");
}

#[test]
fn promise_2_a_second_service_is_refused_and_told_who_serves() {
    let directory = TempDir::new().expect("a directory");
    let first = start(directory.path());
    let error = refused(&options(directory.path()));
    let EmbeddedError::InUse { data_dir, pid } = &error else { panic!("{error}") };
    assert_eq!(*data_dir, directory.path().canonicalize().expect("it exists"));
    assert_eq!(*pid, Some(std::process::id()));
    assert!(error.to_string().starts_with("another rollcall (process "), "{error}");
    assert_eq!(ask(&first, "SELECT 1"), "1", "the first one does not notice");
}

#[test]
fn promise_3_a_foreign_directory_is_refused_and_unchanged() {
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join("thesis.txt"), "years of work").expect("written");
    let mode = || fs::metadata(directory.path()).expect("it exists").permissions().mode();
    let before = (files(directory.path()), mode());
    let error = refused(&options(directory.path()));
    assert!(matches!(&error, EmbeddedError::Foreign { data_dir } if data_dir == directory.path()), "{error}");
    assert_eq!((files(directory.path()), mode()), before);
}

#[test]
fn promise_4_the_server_depends_on_neither_thread_nor_terminal_of_the_start() {
    let directory = TempDir::new().expect("a directory");
    let data = directory.path().to_path_buf();
    let cluster = thread::spawn(move || start(&data)).join().expect("the start succeeds");
    // A fast shutdown, had the kernel asked for one, would end this session in the middle.
    assert_eq!(ask(&cluster, "SELECT 'still here' FROM pg_sleep(0.3)"), "still here");
    let server = process(cluster.pid());
    assert_eq!(rustix::process::getpgid(Some(server)), Ok(server), "Ctrl-C goes to the group of the service");
}

#[test]
#[cfg(target_os = "linux")]
fn promise_4_killing_the_service_ends_the_server_and_the_next_start_waits_for_it() {
    let directory = TempDir::new().expect("a directory");
    let program = std::env::current_exe().expect("this binary");
    let mut service = Service::start(&program, directory.path(), None);
    query(&service.url, "CREATE TABLE kept AS SELECT 7 AS number").expect("created");
    assert!(alive(service.server));
    service.kill();

    // At once, while the old server may still be writing its last checkpoint.
    let next = start(directory.path());
    assert!(!alive(service.server));
    assert_eq!(ask(&next, "SELECT number FROM kept"), "7");
}

#[test]
#[cfg(target_os = "linux")]
fn promise_4_killing_the_service_ends_the_server_without_a_next_start() {
    let directory = TempDir::new().expect("a directory");
    let program = std::env::current_exe().expect("this binary");
    let mut service = Service::start(&program, directory.path(), None);
    service.kill();
    eventually("the server has ended", || !alive(service.server));
    let log = fs::read_to_string(directory.path().join("postgres.log")).expect("a log");
    assert!(log.contains("received fast shutdown request"), "{log}");
    assert!(log.contains("database system is shut down"), "{log}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_stale_pid_file_that_names_a_living_stranger_does_not_hinder() {
    let directory = TempDir::new().expect("a directory");
    start(directory.path()).stop().expect("the server stops");
    // As after a power failure, when the number has gone to another process.
    let stale = format!("{}\n{}/pgdata\n", std::process::id(), directory.path().display());
    fs::write(directory.path().join("pgdata/postmaster.pid"), stale).expect("written");
    assert_eq!(ask(&start(directory.path()), "SELECT 1"), "1");
}

#[test]
fn promise_5_the_socket_is_private_and_there_is_no_other_way_in() {
    let directory = TempDir::new().expect("a directory");
    let cluster = start(directory.path());
    assert_eq!(ask(&cluster, "SHOW listen_addresses"), "");
    let mode = fs::metadata(cluster.socket_dir()).expect("it exists").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn promise_6_values_stay_out_of_the_log() {
    let directory = TempDir::new().expect("a directory");
    let cluster = start(directory.path());
    let url = cluster.url("rollcall");
    query(&url, "CREATE TABLE people (email text PRIMARY KEY)").expect("created");
    query(&url, "INSERT INTO people VALUES ('ada@example.org')").expect("inserted");
    query(&url, "INSERT INTO people VALUES ('ada@example.org')").expect_err("the key exists");
    cluster.stop().expect("the server stops");
    let log = fs::read_to_string(directory.path().join("postgres.log")).expect("a log");
    assert!(log.contains("duplicate key value"), "{log}");
    assert!(!log.contains("ada@"), "{log}");
}

#[test]
fn promise_7_only_what_is_thrown_away_runs_without_fsync() {
    let directory = TempDir::new().expect("a directory");
    for (durability, expected) in [(Durability::Durable, "on on on"), (Durability::Volatile, "off off on")] {
        let cluster =
            Cluster::start(&Options { durability, ..options(directory.path()) }).expect("it starts");
        let settings = "SELECT concat_ws(' ', current_setting('fsync'), current_setting('full_page_writes'), \
                        current_setting('synchronous_commit'))";
        assert_eq!(ask(&cluster, settings), expected);
    }
}

#[test]
fn a_directory_with_a_long_or_strange_name_is_served_like_any_other() {
    let directory = TempDir::new().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))
        .expect("open to the server's user");
    let long = directory.path().join("long-".repeat(30));
    let cluster = start(&long);
    let socket_dir = cluster.socket_dir().to_path_buf();
    assert!(!socket_dir.starts_with(&long));
    assert_eq!(fs::metadata(&socket_dir).expect("it exists").permissions().mode() & 0o777, 0o700);
    assert_eq!(ask(&cluster, "SELECT 1"), "1");
    cluster.stop().expect("the server stops");
    assert!(!socket_dir.exists(), "nothing remains outside of the data directory");

    let strange = directory.path().join("a, \"b\" ü%");
    fs::rename(&long, &strange).expect("moved");
    let cluster = start(&strange);
    assert!(cluster.socket_dir().starts_with(&strange));
    assert_eq!(ask(&cluster, "SELECT 1"), "1");
}

#[test]
fn missing_binaries_are_reported_with_the_way_to_get_them() {
    let directory = TempDir::new().expect("a directory");
    let empty = directory.path().join("bin");
    let data = directory.path().join("data");
    fs::create_dir(&empty).expect("created");
    let error = refused(&Options { bin_dir: Some(empty.clone()), ..options(&data) });
    let EmbeddedError::NoBinaries { given, install } = &error else { panic!("{error}") };
    assert_eq!(given.as_deref(), Some(&*empty));
    let message = error.to_string();
    assert!(message.contains(install) && message.contains("scripts/postgres.sh"), "{message}");
    if Path::new("/usr/bin/apt-get").exists() {
        assert!(install.ends_with("apt-get install --no-install-recommends postgresql"), "{install}");
    }
    assert!(!data.exists(), "nothing was created");
}

#[test]
fn data_of_another_major_version_is_refused_and_old_servers_too() {
    let directory = TempDir::new().expect("a directory");
    start(directory.path()).stop().expect("the server stops");
    let version = directory.path().join("pgdata/PG_VERSION");
    fs::write(&version, "14\n").expect("written");
    let error = refused(&options(directory.path()));
    assert!(matches!(error, EmbeddedError::VersionMismatch { data_major: 14, .. }), "{error}");
    fs::remove_file(&version).expect("removed");
    let error = refused(&options(directory.path()));
    assert!(matches!(error, EmbeddedError::NotADatabase { .. }), "{error}");

    let old = TempDir::new().expect("a directory");
    for program in ["postgres", "initdb"] {
        let path = old.path().join(program);
        fs::write(&path, "#!/bin/sh\necho 'postgres (PostgreSQL) 14.3'\n").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    }
    let bin_dir = Some(old.path().to_path_buf());
    let error = refused(&Options { bin_dir, ..options(&directory.path().join("data")) });
    assert!(matches!(error, EmbeddedError::TooOld { major: 14, .. }), "{error}");
}

#[test]
fn a_server_that_cannot_start_is_reported_with_the_end_of_its_log() {
    let directory = TempDir::new().expect("a directory");
    start(directory.path()).stop().expect("the server stops");
    fs::remove_file(directory.path().join("pgdata/global/pg_control")).expect("removed");
    let error = refused(&options(directory.path()));
    let EmbeddedError::EndedEarly { log_tail, .. } = &error else { panic!("{error}") };
    assert!(log_tail.contains("could not find the database system"), "{log_tail}");
}

#[test]
fn root_is_told_when_the_server_could_not_reach_the_directory() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // Closed to everybody but root, as /root is.
    let closed = TempDir::new().expect("a directory");
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).expect("closed");
    let data = closed.path().join("data");
    let error = refused(&options(&data));
    let EmbeddedError::Unreachable { data_dir, blocked_by, .. } = &error else { panic!("{error}") };
    assert_eq!((data_dir, &**blocked_by), (&data, closed.path()));
    assert!(!data.exists(), "nothing remains");
}

#[test]
fn an_ordinary_user_needs_nothing_from_root() {
    if !rustix::process::geteuid().is_root() {
        // Then every other test here is this one.
        return;
    }
    const NOBODY: u32 = 65534;
    let directory = TempDir::new().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("open to nobody");
    // A copy, because the build directory may be closed to others. By another process: what this one writes may be open in a
    // child that another test is just starting, and what is open for writing cannot be run.
    let program = directory.path().join("program");
    let copied = Command::new("cp").arg(std::env::current_exe().expect("this binary")).arg(&program).status();
    assert!(copied.expect("cp runs").success());
    let data = directory.path().join("data");
    fs::create_dir(&data).expect("created");
    std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY)).expect("given away");

    let service = Service::start(&program, &data, Some(NOBODY));
    query(&service.url, "CREATE TABLE kept AS SELECT 7 AS number").expect("created");
    service.finish();

    // Root finds the data of an ordinary user and serves it as that user.
    let cluster = start(&data);
    assert_eq!(ask(&cluster, "SELECT number FROM kept"), "7");
    let socket = fs::metadata(cluster.socket_dir().join(".s.PGSQL.5432")).expect("a socket");
    assert_eq!(socket.uid(), NOBODY);
}
