//! `rollcall agent` as a process: settings, signals, exit codes.

use std::process::Stdio;

use rustix::process::{Pid, kill_process};

use super::*;
use crate::processes::{rollcall, run};

#[tokio::test]
async fn settings_that_cannot_be_meant_are_refused_with_a_sentence() {
    for (arguments, sentence) in [
        (
            &["--app", "chat", "--listen", "0.0.0.0:0"][..],
            "0.0.0.0:0 can be reached from elsewhere, and nobody is asked",
        ),
        (&["--app", "chat", "--listen", "[::]:0"][..], "--listen-anywhere if that is meant"),
        (&["--app", "chat", "--endpoint", "ftp://x"][..], "must begin with http:// or https://"),
        (&["--app", "Chat"][..], "must be a lower-case letter followed by"),
        (&["--app", "chat", "--instance", "a b"][..], "must be printable ASCII without spaces"),
        (&["--app", "chat", "--organization", "x"][..], "'--organization <ID>'"),
        (&["--app", "chat", "--receipt-seconds", "0"][..], "a number from 1 to 3600"),
        (&["--app", "chat", "--log", "=="][..], "the log filter cannot be parsed"),
        (&[][..], "--app <NAME>"),
    ] {
        let output = run([&["agent"], arguments].concat()).await;
        let errors = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(sentence), "{arguments:?}: {errors}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = run(["agent", "--app", "chat", "--listen", &address]).await;
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(&format!("rollcall agent: cannot listen on {address}: ")), "{errors}");
}

#[tokio::test]
async fn sigterm_ends_it_with_0_and_its_name_is_that_of_the_machine() {
    let world = World::start().await;
    let (org, bob) = scene(&world).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("agent.state");
    let endpoint = world.server().endpoint();
    let arguments =
        ["agent", "--app", "chat", "--listen", "127.0.0.1:0", "--endpoint", &endpoint, "--state-file"];
    for _ in 0..2 {
        let mut command = rollcall(arguments.map(std::ffi::OsStr::new).into_iter().chain([file.as_os_str()]));
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line =
            timeout(BOUND, lines.next_line()).await.expect("in time").expect("a line").expect("a line");
        let address = line.strip_prefix("listening on ").expect("where").parse().expect("an address");
        // Only its address is of interest here.
        let agent = Beside { address, stop: CancellationToken::new(), task: tokio::spawn(async { Ok(()) }) };
        let mut events = agent.events("").await;
        events.until("live").await;
        assert_eq!(agent.check(&bob.account, &org.general).await.body["allowed"], true);
        let list = ListSubscriptionsRequest { app: "chat".to_owned(), ..Default::default() };
        let subscriptions =
            world.feed().list_subscriptions(list).await.expect("a list").into_inner().subscriptions;
        let live = subscriptions.iter().find(|one| one.state() == SubscriptionState::Live).expect("its own");
        assert_eq!(live.instance, rustix::system::uname().nodename().to_str().expect("text"));
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
        let status = timeout(BOUND, child.wait()).await.expect("in time").expect("its end");
        assert_eq!(status.code(), Some(0));
        assert!(file.exists(), "the state is kept");
    }
}
