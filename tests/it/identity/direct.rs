//! The service's own TLS: certificates with an identity of SPIFFE, and what is none.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use rollcall_client::{
    Client, ClientOptions, ClientTlsConfig, ConnectError, Credentials, TlsFiles, connect_with,
    v1::ListAppsRequest,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tonic::{Code, Status, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

use super::{
    call, is_nobody, mesh,
    tokens::{but, callers, claims},
};
use crate::{
    fixtures::refused,
    process::binary::Service,
    processes::{run_badly, run_well},
    server::{soon, until},
    support::{
        Authority, CallersFile, Channel, Signed, SigningKey, client_tls, create_database, key_set, spiffe_id,
        trusting,
    },
};

/// A service with certificates of its own.
struct Direct {
    service: Service,
    authority: Authority,
    directory: TempDir,
    key: SigningKey,
    _callers: CallersFile,
}

impl Direct {
    async fn start() -> Self {
        let directory = TempDir::new().expect("a directory");
        let (authority, key) = (Authority::new("workloads"), SigningKey::new("one"));
        let keys = directory.path().join("keys.json");
        fs::write(&keys, key_set(&[&key])).expect("written");
        let file = CallersFile::new(&callers(&format!("jwks_file = {keys:?}")));
        authority.workload(&[&spiffe_id("rollcall")]).write(directory.path(), "own");
        fs::write(directory.path().join("ca.pem"), authority.pem()).expect("written");
        let database = create_database().await;
        let of = |name: &str| directory.path().join(name);
        let (own, own_key, ca, listed) = (of("own.pem"), of("own.key"), of("ca.pem"), file.path());
        let arguments: [&OsStr; 12] = [
            "--database-url".as_ref(),
            database.url.as_ref(),
            "--identity".as_ref(),
            "direct".as_ref(),
            "--callers".as_ref(),
            listed.as_ref(),
            "--tls-certificate".as_ref(),
            own.as_ref(),
            "--tls-key".as_ref(),
            own_key.as_ref(),
            "--tls-client-ca".as_ref(),
            ca.as_ref(),
        ];
        let service = Service::start(&arguments).await;
        Self { service, authority, directory, key, _callers: file }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A new connection that trusts this authority and shows this certificate.
    fn connect(&self, trusted: &Authority, shown: Option<&Signed>) -> Channel {
        self.connect_with(client_tls(trusted, shown))
    }

    fn connect_with(&self, tls: ClientTlsConfig) -> Channel {
        let endpoint = format!("https://{}", self.service.address());
        let endpoint = Endpoint::from_shared(endpoint).expect("an endpoint");
        endpoint.tls_config(tls).expect("certificates").connect_lazy().into()
    }

    fn showing(&self, shown: &Signed) -> Channel {
        self.connect(&self.authority, Some(shown))
    }
}

/// Expects that no connection comes about.
async fn is_not_connected(channel: Channel) {
    let status: Status = call(channel).await.expect_err("no connection");
    // What the service says of a call has a reason.
    assert!(status.get_details_error_info().is_none(), "{status}");
}

#[tokio::test]
async fn the_certificate_says_who_calls() {
    let direct = Direct::start().await;
    let of = |workload: &str| direct.authority.workload(&[&spiffe_id(workload)]);
    call(direct.showing(&of("console"))).await.expect("the operator is let in");
    is_nobody(direct.showing(&of("stranger"))).await;
    // Who has a token needs no certificate; with both they are to be one.
    let token = direct.key.token(&claims());
    let bare = || direct.connect(&direct.authority, None);
    call(bare().bearing(&token)).await.expect("the operator is let in");
    call(direct.showing(&of("console")).bearing(&token)).await.expect("the operator is let in");
    is_nobody(direct.showing(&of("chat")).bearing(&token)).await;
    // What a mesh would say counts for nothing here.
    is_nobody(bare().calling_as("console")).await;
    is_nobody(bare()).await;
    // Probes have no identity.
    let health = HealthClient::new(bare()).check(HealthCheckRequest::default()).await;
    health.expect("health answers everybody");
    until("the lines of the log", async || {
        mesh::told(&direct.service, "no_identity") == 4 && mesh::told(&direct.service, "disagreement") == 2
    })
    .await;
}

#[tokio::test]
async fn certificates_that_are_not_good_are_nobody() {
    let direct = Direct::start().await;
    let console = spiffe_id("console");
    let authority = &direct.authority;
    for (cause, shown) in [
        ("uri_missing", authority.workload(&[])),
        ("uri_missing", authority.workload(&["https://example.org/ns/console/sa/console"])),
        ("uri_missing", authority.workload(&["spiffe://example.org"])),
        ("uri_doubled", authority.workload(&[&console, &spiffe_id("chat")])),
        ("uri_doubled", authority.workload(&[&console, "https://example.org/"])),
        ("trust_domain_foreign", authority.workload(&["spiffe://example.com/ns/console/sa/console"])),
        ("not_listed", authority.workload(&["spiffe://example.org/ns/console/sa/console/2"])),
    ] {
        let before = mesh::told(&direct.service, cause);
        is_nobody(direct.showing(&shown)).await;
        until(cause, async || mesh::told(&direct.service, cause) == before + 2).await;
    }
    // Those that no authority of the callers vouches for do not even get a connection.
    for (cause, shown) in [
        ("certificate_expired", authority.expired(&console)),
        ("certificate_untrusted", Authority::new("workloads").workload(&[&console])),
        ("certificate_untrusted", Authority::new("others").workload(&[&console])),
    ] {
        let before = mesh::told(&direct.service, cause);
        is_not_connected(direct.showing(&shown)).await;
        until(cause, async || mesh::told(&direct.service, cause) > before).await;
    }
    // Nor does who speaks no TLS.
    is_not_connected(direct.service.channel()).await;
    until("the line of the log", async || mesh::told(&direct.service, "handshake_failed") > 0).await;
    let said = direct.service.terminate().await.stderr();
    assert!(!said.contains("spiffe://"), "{said}");
}

/// As where an authority signs nothing itself but those who sign.
#[tokio::test]
async fn a_certificate_is_good_with_the_chain_that_leads_to_its_authority() {
    let direct = Direct::start().await;
    let root = &direct.authority;
    let between = Authority::beneath(root, "between");
    let leaf = between.workload(&[&spiffe_id("console")]);
    let shown = leaf.with_chain(&between);
    call(direct.showing(&shown)).await.expect("the operator is let in");
    // Without it, and with one of the same name that did not sign it.
    let elsewhere = Authority::beneath(&Authority::new("workloads"), "between");
    let of_elsewhere = elsewhere.workload(&[&spiffe_id("console")]);
    for bad in [
        leaf.clone(),
        leaf.with_chain(&Authority::beneath(root, "between")),
        of_elsewhere.with_chain(&elsewhere),
        of_elsewhere.with_chain(&between),
    ] {
        let before = mesh::told(&direct.service, "certificate_untrusted");
        is_not_connected(direct.showing(&bad)).await;
        until("it is not trusted", async || mesh::told(&direct.service, "certificate_untrusted") > before)
            .await;
    }
    // So is its own. Who trusts what is between alone sees that it is new.
    between.workload(&[&spiffe_id("rollcall")]).with_chain(&between).write(direct.path(), "own");
    until("the new one", async || call(direct.connect(&between, Some(&shown))).await.is_ok()).await;
    call(direct.showing(&shown)).await.expect("by the root alone");
}

#[tokio::test]
async fn a_certificate_that_expires_ends_its_calls_on_an_open_connection() {
    let direct = Direct::start().await;
    let until_then = SystemTime::now() + Duration::from_secs(3);
    let channel = direct.showing(&direct.authority.until(&spiffe_id("console"), until_then));
    call(channel.clone()).await.expect("it is valid");
    until("its end", async || call(channel.clone()).await.is_err()).await;
    assert!(SystemTime::now() + Duration::from_secs(1) >= until_then, "not before");
    is_nobody(channel).await;
    until("the line of the log", async || mesh::told(&direct.service, "certificate_expired") > 0).await;
}

#[tokio::test]
async fn new_connections_get_the_certificates_that_are_there_by_then() {
    let direct = Direct::start().await;
    let console = direct.authority.workload(&[&spiffe_id("console")]);
    let open = direct.showing(&console);
    call(open.clone()).await.expect("let in");
    let says = |text: &str| direct.service.run.stderr().contains(text);
    // A certificate whose key is not there yet: the old ones stay.
    let next = Authority::new("next");
    let own = next.workload(&[&spiffe_id("rollcall")]);
    fs::write(direct.path().join("own.pem"), &own.certificate).expect("written");
    until("it is called unfit", async || says("the certificates do not fit")).await;
    call(direct.showing(&console)).await.expect("let in");
    fs::write(direct.path().join("own.key"), &own.key).expect("written");
    // It is of the new authority now; callers are of the old one still.
    until("the new one is shown", async || call(direct.connect(&next, Some(&console))).await.is_ok()).await;
    is_not_connected(direct.showing(&console)).await;
    // And now callers are of the new one.
    fs::write(direct.path().join("ca.pem"), next.pem()).expect("written");
    let renewed = next.workload(&[&spiffe_id("console")]);
    until("the new one is taken", async || call(direct.connect(&next, Some(&renewed))).await.is_ok()).await;
    is_not_connected(direct.connect(&next, Some(&console))).await;
    // Who was connected stays so.
    call(open).await.expect("the open connection lives on");
}

/// Another authority takes over while callers come with new connections all the time: as the service's own, and then as that of
/// the callers. Nobody is refused, and in the end who is of the old one is.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_change_under_load_refuse_nobody() {
    const CALLERS: usize = 4;
    let direct = Arc::new(Direct::start().await);
    let (old, next) = (Arc::new(Authority::new("old")), Arc::new(Authority::new("next")));
    let both = format!("{}{}", old.pem(), next.pem());
    let pem = |text: &str| fs::write(direct.path().join("ca.pem"), text).expect("written");
    // Callers of both are let in, before anybody is of the new one.
    pem(&format!("{}{both}", direct.authority.pem()));
    let trusting = {
        let trusted = format!("{}{both}", direct.authority.pem());
        move |shown: &Signed| trusting(&trusted, Some(shown))
    };
    let of = |authority: &Authority| authority.workload(&[&spiffe_id("console")]);
    until("both are trusted", async || {
        let by_old = call(direct.connect_with(trusting(&of(&old)))).await;
        by_old.is_ok() && call(direct.connect_with(trusting(&of(&next)))).await.is_ok()
    })
    .await;
    let shown = Arc::new(Mutex::new(of(&old)));
    let (calls, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let load = (0..CALLERS).map(|_| {
        let (direct, shown, trusting) = (Arc::clone(&direct), Arc::clone(&shown), trusting.clone());
        let (calls, done) = (Arc::clone(&calls), Arc::clone(&done));
        tokio::spawn(async move {
            let open = direct.connect_with(trusting(&shown.lock().expect("no panic").clone()));
            while !done.load(Ordering::Relaxed) {
                let now = shown.lock().expect("no panic").clone();
                call(direct.connect_with(trusting(&now))).await.expect("nobody is refused");
                call(open.clone()).await.expect("who is connected stays so");
                calls.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let load: Vec<_> = load.collect();
    let some_calls = async || {
        let before = calls.load(Ordering::Relaxed);
        until("calls", async || calls.load(Ordering::Relaxed) >= before + 20).await;
    };
    let mut rotations = 0;
    // The service's own certificate, renewed by either.
    for authority in [&next, &old, &next] {
        some_calls().await;
        authority.workload(&[&spiffe_id("rollcall")]).write(direct.path(), "own");
        let only = client_tls(authority, Some(&of(&old)));
        until("it is shown", async || call(direct.connect_with(only.clone())).await.is_ok()).await;
        rotations += 1;
    }
    // Callers get new ones, of the new authority, before the old one goes.
    *shown.lock().expect("no panic") = of(&next);
    some_calls().await;
    pem(&next.pem());
    until("the old one is refused", async || call(direct.connect_with(trusting(&of(&old)))).await.is_err())
        .await;
    rotations += 1;
    some_calls().await;
    done.store(true, Ordering::Relaxed);
    for task in load {
        task.await.expect("nobody was refused");
    }
    println!("certificate_rotations = {rotations}");
    println!("connections_under_rotation = {}", calls.load(Ordering::Relaxed));
    println!("refused_under_rotation = 0");
}

/// Whoever connects and then says nothing, or not enough, keeps nobody else from shaking hands.
#[tokio::test]
async fn who_does_not_finish_shaking_hands_keeps_nobody_waiting() {
    const SILENT: usize = 600;
    let direct = Direct::start().await;
    let mut silent = Vec::new();
    for number in 0..SILENT {
        let mut connection = TcpStream::connect(direct.service.address()).await.expect("connected");
        // Half of them begin: the head of a hello of 512 bytes.
        if number % 2 == 0 {
            connection.write_all(&[22, 3, 1, 2, 0]).await.expect("written");
        }
        silent.push(connection);
    }
    let begun = Instant::now();
    let console = direct.showing(&direct.authority.workload(&[&spiffe_id("console")]));
    soon("a call beside them", call(console)).await.expect("let in");
    let took = begun.elapsed();
    println!("beside_silent_connections = {SILENT}");
    println!("first_call_ms = {:.0}", took.as_secs_f64() * 1_000.0);
    assert!(took < Duration::from_secs(4), "{took:?}");
    // And each of them is cut.
    for mut connection in silent {
        let mut rest = Vec::new();
        let cut = tokio::time::timeout(Duration::from_secs(30), connection.read_to_end(&mut rest));
        // An end or a reset.
        let _ = cut.await.expect("it is cut");
    }
}

/// Passes connections on to the service, until they are cut.
struct Between {
    port: u16,
    cut: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Between {
    async fn start(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (cut, to) = (watch::Sender::new(()), to.to_owned());
        let cuts = cut.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (mut is_cut, to) = (cuts.subscribe(), to.clone());
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(to).await.expect("the service");
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = is_cut.changed() => {}
                    }
                });
            }
        });
        Self { port, cut, task }
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_crate_reads_its_certificate_and_its_token_anew() {
    let direct = Direct::start().await;
    let between = Between::start(direct.service.address()).await;
    let endpoint = format!("https://127.0.0.1:{}", between.port);
    let signed = |workload: &str| direct.authority.workload(&[&spiffe_id(workload)]);
    let [certificate, key] = signed("stranger").write(direct.path(), "client");
    let tls_files = TlsFiles {
        ca: Some(direct.path().join("ca.pem")),
        certificate: Some((certificate, key)),
        server_name: Some("localhost".to_owned()),
    };
    let options = ClientOptions { tls_files: Some(tls_files.clone()), ..ClientOptions::default() };
    let client = connect_with(&[endpoint.as_str()], &options).expect("an endpoint");
    let list = async |client: &Client| client.apps().list_apps(ListAppsRequest::default()).await;
    refused(list(&client).await, Code::Unauthenticated, "CALLER_UNKNOWN");
    signed("console").write(direct.path(), "client");
    between.cut.send_replace(());
    until("the new certificate is shown", async || list(&client).await.is_ok()).await;
    // Without a certificate, with the token in a file.
    let token = direct.path().join("token");
    fs::write(&token, direct.key.token(&claims())).expect("written");
    let credentials = Credentials::default().bearer_file(&token);
    let tls_files = TlsFiles { certificate: None, ..tls_files };
    let options = ClientOptions { credentials, tls_files: Some(tls_files), ..ClientOptions::default() };
    let client = connect_with(&[endpoint.as_str()], &options).expect("an endpoint");
    list(&client).await.expect("let in");
    // Both at once would be none of the two.
    let twice = ClientOptions { tls: Some(ClientTlsConfig::new()), ..options };
    assert!(matches!(connect_with(&[endpoint.as_str()], &twice), Err(ConnectError::TlsTwice)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_show_a_certificate_or_a_token() {
    let direct = Direct::start().await;
    let text = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
    let endpoint =
        format!("https://localhost:{}", direct.service.address().rsplit_once(':').expect("a port").1);
    let ca = text(direct.path().join("ca.pem"));
    let [certificate, key] =
        direct.authority.workload(&[&spiffe_id("console")]).write(direct.path(), "client").map(text);
    let token = text(direct.path().join("token"));
    fs::write(&token, direct.key.token(&claims())).expect("written");
    let fixed = ["app", "list", "--endpoint", &endpoint, "--server-ca", &ca];
    run_well([&fixed[..], &["--client-certificate", &certificate, "--client-key", &key]].concat()).await;
    run_well([&fixed[..], &["--token-file", &token]].concat()).await;
    run_well(["health", "--endpoint", &endpoint, "--server-ca", &ca]).await;
    let said = run_badly(fixed).await;
    assert!(said.contains("CALLER_UNKNOWN") || said.contains("not known here"), "{said}");
    fs::write(&token, direct.key.token(&but("aud", "other".into()))).expect("written");
    let said = run_badly([&fixed[..], &["--token-file", &token]].concat()).await;
    assert!(!said.contains(&fs::read_to_string(&token).expect("the token")), "{said}");
}
