//! A mail server that is away, refuses, or is to be trusted.

use super::{FROM, MailServer, delivery, mailing, sql, waiting};
use crate::{
    fixtures::World,
    processes::run,
    server::until,
    support::{Replica, Server},
};

#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_for_a_server_that_is_away() {
    let Some(server) = MailServer::start().await else { return };
    let world = mailing(&server).await;
    let port = server.port();
    server.stop().await;
    let org = world.organization("ada").await;
    let bob = world.member(&org, "bob").await;
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    let attempts = async || {
        let row =
            world.server().database().query_one("SELECT attempts, claim_id IS NULL FROM mails", &[]).await;
        let row = row.expect("the mail waits");
        (row.get::<_, i32>(0), row.get::<_, bool>(1))
    };
    until("a second attempt fails", async || attempts().await.0 >= 2 && attempts().await.1).await;
    let mut server = MailServer::on(port, 0.0).await.expect("there was a Python");
    assert_eq!(server.next().await.to(), "bob@example.com");
    until("nothing waits", async || waiting(&world).await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_for_good_is_dropped_and_the_log_does_not_say_to_whom_it_went() {
    let Some(mut server) = MailServer::start().await else { return };
    let world = World::start().await;
    let org = world.organization("ada").await;
    for name in ["reject-bob", "cleo"] {
        let person = world.member(&org, name).await;
        world.operator().deactivate(&org, &person).await.expect("deactivated");
    }
    let database = world.server().another_connection().await;
    let arguments = ["--smtp-url", &server.url(), "--smtp-from", FROM, "--log", "trace"];
    let replica = Replica::start(&database.url, &arguments).await;
    assert_eq!(server.next().await.to(), "cleo@example.com");
    until("nothing waits", async || waiting(&world).await.is_empty()).await;
    let log = replica.log();
    assert!(log.contains("refuses a mail") && log.contains("550"), "{log}");
    assert!(log.contains("a mail was sent"), "{log}");
    for personal in ["reject-bob", "cleo", "is not known here"] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(personal)).collect();
        assert!(lines.is_empty(), "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_a_day_is_not_sent() {
    let Some(mut server) = MailServer::start().await else { return };
    let world = World::start().await;
    let org = world.organization("ada").await;
    for name in ["bob", "cleo"] {
        let person = world.member(&org, name).await;
        world.operator().deactivate(&org, &person).await.expect("deactivated");
    }
    sql(&world, "UPDATE mails SET create_time = now() - interval '25 hours' WHERE recipient LIKE 'bob@%'")
        .await;
    let database = world.server().another_connection().await;
    let sending = Server::mailing(database, delivery(&server.url())).await;
    assert_eq!(server.next().await.to(), "cleo@example.com");
    until("nothing waits", async || waiting(&world).await.is_empty()).await;
    sending.stop().await;
}

/// A certificate for 127.0.0.1 of an authority that nobody knows. None: there is no openssl, and that was printed.
async fn certificate(directory: &std::path::Path) -> Option<()> {
    let script = "set -e
        openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca \
            -addext basicConstraints=critical,CA:TRUE
        openssl req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=mail
        printf 'subjectAltName=IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' > extensions
        openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions \
            -out certificate.pem";
    let made = tokio::process::Command::new("sh").arg("-c").arg(script).current_dir(directory).output().await;
    match made {
        Ok(output) if output.status.success() => Some(()),
        other => {
            println!("skipped: openssl makes no certificate: {other:?}");
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn password_and_mail_go_only_to_a_server_whose_certificate_is_trusted() {
    let directory = tempfile::tempdir().expect("a directory");
    if certificate(directory.path()).await.is_none() {
        return;
    }
    let path = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
    let Some(mut server) = MailServer::with(&["0", "0", &path("certificate.pem"), &path("key.pem")]).await
    else {
        return;
    };
    let url = format!("smtps://rollcall:p%40ss@127.0.0.1:{}", server.port());
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member(&org, "bob").await;
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    let database = world.server().another_connection().await;
    let arguments = ["--smtp-url", &url, "--smtp-from", FROM, "--log", "rollcall=debug"];
    let replica = Replica::start(&database.url, &arguments).await;
    until("it is not trusted", async || replica.log().contains("is not trusted")).await;
    assert!(
        !replica.log().contains("p%40ss") && !replica.log().contains("p@ss"),
        "the password is in the log"
    );
    drop(replica);
    sql(&world, "UPDATE mails SET next_attempt_time = now()").await;
    let trusting = [("SSL_CERT_FILE", path("ca.pem"))];
    let _replica = Replica::start_with(&database.url, &arguments, &trusting).await;
    assert_eq!(server.next().await.to(), "bob@example.com");
}

#[tokio::test]
async fn settings_of_mail_at_fault_are_named() {
    for (arguments, said) in [
        (&["--smtp-url", "smtp://relay"][..], "smtp_from"),
        (&["--smtp-url", "relay", "--smtp-from", FROM], "smtp_url"),
        (&["--smtp-url", "smtp://ada:pass-word@relay", "--smtp-from", FROM], "no TLS"),
        (&["--smtp-url", "smtp://relay", "--smtp-from", "nobody"], "smtp_from"),
        (&["--invitation-url", "join"], "invitation_url"),
    ] {
        let store = ["serve", "--database-url", "postgresql://localhost/none"];
        let output = run([&store, arguments].concat()).await;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(said) && !errors.contains("pass-word"), "{errors}");
    }
}
