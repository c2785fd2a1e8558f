//! A service whose statements say something else: what stands between it and Postgres, and rewrites what is prepared or
//! asked as plain text. So a test breaks a service that it did not build.

use std::path::PathBuf;

use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};
use tokio_postgres::config::Host;

use super::SERVICE;

/// What becomes of a statement.
type Change = fn(&str) -> String;

/// Stands between a service and its database.
pub(crate) struct Statements {
    directory: TempDir,
    database: String,
    task: JoinHandle<()>,
}

impl Statements {
    /// Before the database at this URL, with each statement changed so.
    pub(crate) fn before(url: &str, change: Change) -> Self {
        let config: tokio_postgres::Config = url.parse().expect("a URL");
        let Some(Host::Unix(directory)) = config.get_hosts().first() else { panic!("a socket") };
        let server = directory.join(".s.PGSQL.5432");
        let database = config.get_dbname().expect("a database").to_owned();
        let directory = TempDir::new().expect("a directory");
        let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).expect("a socket");
        let task = tokio::spawn(async move {
            loop {
                let (from, _) = listener.accept().await.expect("a connection");
                tokio::spawn(serve(from, server.clone(), change));
            }
        });
        Self { directory, database, task }
    }

    /// Where the role of the service connects to.
    pub(crate) fn url(&self) -> String {
        let host = self.directory.path().to_str().expect("UTF-8").replace('/', "%2F");
        format!("postgresql://{SERVICE}@{host}/{}", self.database)
    }
}

impl Drop for Statements {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(from: UnixStream, server: PathBuf, change: Change) {
    let Ok(to) = UnixStream::connect(server).await else { return };
    let ((from_read, mut from_write), (mut to_read, to_write)) = (from.into_split(), to.into_split());
    // Whichever side ends, both connections do.
    tokio::select! {
        _ = rewrite(from_read, to_write, change) => {}
        _ = copy(&mut to_read, &mut from_write) => {}
    }
}

/// Passes on what a client sends: first a packet without a kind, then messages.
async fn rewrite(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    change: Change,
) -> std::io::Result<()> {
    let mut first = true;
    loop {
        let kind = if first { None } else { Some(from.read_u8().await?) };
        first = false;
        let length = usize::try_from(from.read_i32().await?).unwrap_or_default().saturating_sub(4);
        let mut body = vec![0; length];
        from.read_exact(&mut body).await?;
        if kind == Some(b'P') {
            let mut parts = body.splitn(3, |byte| *byte == 0);
            let (name, sql, types) = (parts.next(), parts.next(), parts.next());
            let sql = change(std::str::from_utf8(sql.unwrap_or_default()).expect("UTF-8"));
            body = [name.unwrap_or_default(), &[0], sql.as_bytes(), &[0], types.unwrap_or_default()].concat();
        }
        if kind == Some(b'Q') {
            let sql = std::str::from_utf8(body.split_last().map_or(&[][..], |(_, sql)| sql)).expect("UTF-8");
            body = [change(sql).as_bytes(), &[0]].concat();
        }
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend(i32::try_from(body.len() + 4).unwrap_or_default().to_be_bytes());
        message.extend(body);
        to.write_all(&message).await?;
    }
}
