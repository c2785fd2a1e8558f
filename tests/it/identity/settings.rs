//! How callers are told apart has to be said where others reach the service.

use std::{ffi::OsStr, fs};

use tempfile::TempDir;

use crate::{
    process::binary::{Service, ended},
    server::until,
    support::{CALLERS, CallersFile, create_database},
};

#[tokio::test]
async fn what_is_not_said_or_said_twice_is_refused() {
    let file = CallersFile::new(CALLERS);
    let broken = CallersFile::new("[[caller]]\nname = \"chat\"\noprator = true\n");
    let (good, broken) = (file.path(), broken.path());
    let (good, broken) = (good.to_str().expect("UTF-8"), broken.to_str().expect("UTF-8"));
    let nowhere = "postgresql://localhost:1/none";
    for (arguments, said) in [
        (&["--listen", "0.0.0.0:0"][..], "0.0.0.0:0 is not loopback: say how callers are told apart"),
        (&["--listen", "[::]:0"], "is not loopback"),
        (&["--identity", "istio"], "callers is missing"),
        (&["--identity", "linkerd"], "callers is missing"),
        (&["--callers", good], "identity does not tell callers apart"),
        (&["--identity", "insecure", "--callers", good], "identity does not tell callers apart"),
        (&["--mesh-peer", "127.0.0.1"], "mesh_peer is given, but"),
        (&["--identity", "trust"], "possible values"),
        (&["--identity", "direct", "--callers", good], "it needs tls_certificate, tls_key and tls_client_ca"),
        (&["--tls-key", "own.key"], "are for identity direct alone"),
        (
            &["--identity", "istio", "--callers", good, "--tls-key", "own.key"],
            "are for identity direct alone",
        ),
        (
            &[
                "--identity",
                "direct",
                "--callers",
                good,
                "--tls-certificate",
                "/nowhere/own.pem",
                "--tls-key",
                good,
                "--tls-client-ca",
                good,
            ],
            "cannot read /nowhere/own.pem",
        ),
        (
            &[
                "--identity",
                "direct",
                "--callers",
                good,
                "--tls-certificate",
                good,
                "--tls-key",
                good,
                "--tls-client-ca",
                good,
            ],
            "it has no certificate",
        ),
        (&["--identity", "istio", "--callers", "/nowhere/callers.toml"], "cannot read /nowhere/callers.toml"),
        (&["--identity", "istio", "--callers", broken], "unknown field `oprator`"),
    ] {
        let (code, output) = ended(&[&["serve", "--database-url", nowhere], arguments].concat(), &[]).await;
        assert_eq!(code, Some(2), "{arguments:?}: {output}");
        assert!(output.contains(said), "{arguments:?}: {output} does not say {said}");
    }
}

#[tokio::test]
async fn who_tells_nobody_apart_is_warned() {
    let database = create_database().await;
    let url = ["--database-url", &database.url].map(OsStr::new);
    let warned = "whoever reaches this address may do anything";
    let quiet = Service::start(&url).await;
    until("the warning", async || quiet.run.stderr().contains(warned)).await;
    // Said, it may be any address. From the file of the settings, as from a flag.
    let directory = TempDir::new().expect("a directory");
    let settings = directory.path().join("rollcall.toml");
    fs::write(&settings, "identity = \"insecure\"\n").expect("written");
    let arguments = [OsStr::new("--config"), settings.as_os_str(), url[0], url[1]];
    let open = Service::start(&arguments).await;
    until("the warning", async || open.run.stderr().contains(warned)).await;
    let file = CallersFile::new(CALLERS);
    let path = file.path();
    let told = ["--identity", "istio", "--callers"].map(OsStr::new);
    let told = Service::start(&[&url[..], &told[..], &[path.as_os_str()]].concat()).await;
    assert!(!told.terminate().await.stderr().contains(warned));
}
