//! A pooler in transaction mode between the service and its database.

use std::{net::SocketAddr, path::PathBuf};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream, UnixStream},
};
use tokio_postgres::config::Host;

use super::binary::{Service, ended};
use crate::{
    small::Small,
    support::{Database, create_database},
};

/// What of such a pooler matters here: a session that is told of a notification is nobody's at that moment.
pub(super) async fn pooler(database: &Database) -> String {
    let config: tokio_postgres::Config = database.url.parse().expect("a URL");
    let Some(Host::Unix(directory)) = config.get_hosts().first() else { panic!("a socket") };
    let socket = directory.join(".s.PGSQL.5432");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address: SocketAddr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(between(client, socket.clone()));
        }
    });
    let user = config.get_user().expect("a user");
    let name = config.get_dbname().expect("a name");
    format!("postgresql://{user}@{address}/{name}?sslmode=disable")
}

async fn between(client: TcpStream, socket: PathBuf) -> std::io::Result<()> {
    let server = UnixStream::connect(socket).await?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    tokio::spawn(async move {
        let _ = copy(&mut from_client, &mut to_server).await;
        to_server.shutdown().await
    });
    loop {
        let kind = from_server.read_u8().await?;
        let length = from_server.read_u32().await?;
        let mut body = vec![0; usize::try_from(length).expect("a length") - 4];
        from_server.read_exact(&mut body).await?;
        if kind == b'A' {
            continue;
        }
        to_client.write_u8(kind).await?;
        to_client.write_u32(length).await?;
        to_client.write_all(&body).await?;
    }
}

#[tokio::test]
async fn a_pooler_needs_a_way_around_it() {
    let database = create_database().await;
    let pooled = pooler(&database).await;
    let (code, said) = ended(&["serve", "--listen", "127.0.0.1:0", "--database-url", &pooled], &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--direct-database-url"), "{said}");

    // What holds on the way around it need not hold through it.
    let lossy = format!("{pooled}&options=-c%20synchronous_commit%3Doff");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--database-url", &lossy];
    let arguments = [&arguments[..], &["--direct-database-url", &database.url]].concat();
    let (code, said) = ended(&arguments, &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("synchronous_commit is off"), "{said}");

    let arguments = ["--database-url", &pooled, "--direct-database-url", &database.url];
    let service = Service::start(&arguments.map(std::ffi::OsStr::new)).await;
    let small = Small::make(service.channel(), "ada@example.com").await;
    small.rename("Engines Ltd").await.expect("renamed");
    assert_eq!(small.get().await.expect("read").display_name, "Engines Ltd");
    service.terminate().await;
}
