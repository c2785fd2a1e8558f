//! A chat over WebSockets that people are out of when they are out.
//!
//! Each socket holds a `SessionGuard`. It is closed with 4403 and the reason when its person loses access, and with
//! 1013 ("try again later") when the replica does not know any more: then the client connects again, and nobody is
//! signed out. What was closed is counted into the receipt of the departure.
//!
//!     cargo run -p rollcall-client --example chat -- --service http://127.0.0.1:7400 --app chat
//!     curl -i 'http://127.0.0.1:8080/check?account_id=...&workspace_id=...'
//!     websocat 'ws://127.0.0.1:8080/ws?account_id=...&workspace_id=...'

use std::{error::Error, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{
        FromRef, Query, State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    response::Response,
    routing::get,
};
use clap::Parser;
use rollcall_client::{Ended, Outcome, Revocation};
use tokio::{net::TcpListener, sync::broadcast, time::timeout};
use uuid::Uuid;

mod common;
use common::{Flags, Gate, Refused, Who, sessions::Sessions};

/// Of the range that applications define (4000 to 4999): this person may not, so there is no use in coming again.
const CLOSE_REVOKED: u16 = 4403;
/// "Try again later", as registered.
const CLOSE_STALE: u16 = 1013;
/// How long a peer may take to read what it is sent.
const SEND: Duration = Duration::from_secs(1);

/// A chat server.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    flags: Flags,
    /// Experiment: never finish to handle a departure. Sockets close all the same; only the receipt is missing
    #[arg(long)]
    stuck_handler: bool,
}

#[derive(Clone)]
struct Chat {
    gate: Gate,
    sessions: Arc<Sessions>,
    /// What is said, with the workspace where.
    room: broadcast::Sender<(Uuid, String)>,
}

impl FromRef<Chat> for Gate {
    fn from_ref(chat: &Chat) -> Self {
        chat.gate.clone()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let listener = args.flags.listen().await?;
    run(args, listener).await
}

pub(crate) async fn run(args: Args, listener: TcpListener) -> Result<(), Box<dyn Error>> {
    let sessions = Arc::new(Sessions::default());
    let of_handler = Arc::clone(&sessions);
    let handler = move |revocation: Revocation| {
        let sessions = Arc::clone(&of_handler);
        async move {
            if args.stuck_handler {
                std::future::pending::<()>().await;
            }
            Outcome::Ended { sessions: sessions.ended(&revocation).await, handed_over: 0 }
        }
    };
    let gate = Gate::start(&args.flags, handler)?;
    let chat = Chat { gate: gate.clone(), sessions, room: broadcast::Sender::new(256) };
    let app = Router::new().route("/check", get(common::check)).route("/ws", get(open)).with_state(chat);
    common::serve(listener, app, gate).await
}

async fn open(
    State(chat): State<Chat>,
    Query(who): Query<Who>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refused> {
    let allowed = chat.gate.check(who)?;
    Ok(upgrade.on_upgrade(move |socket| chat.talk(socket, who, allowed.member_id)))
}

impl Chat {
    async fn talk(self, mut socket: WebSocket, who: Who, member_id: Uuid) {
        // Before there is a guard: the handler waits for the sessions that it finds.
        let mut session = self.sessions.open(member_id, who.workspace_id);
        let Some(refused) = self.until_over(&mut socket, who).await else { return };
        let (code, reason) = match refused {
            Refused::Denied(reason) => (CLOSE_REVOKED, reason.as_str_name()),
            Refused::Stale => (CLOSE_STALE, "ACCESS_STALE"),
        };
        let close = CloseFrame { code, reason: reason.into() };
        let _ = timeout(SEND, socket.send(Message::Close(Some(close)))).await;
        session.revoked = code == CLOSE_REVOKED;
        drop(session);
        // What still comes is read and thrown away: a connection that is closed over unread data is reset, and the peer
        // might never read why.
        let _ = timeout(SEND, async { while let Some(Ok(_)) = socket.recv().await {} }).await;
    }

    /// Why the socket has to be closed. `None`: its peer went away.
    async fn until_over(&self, socket: &mut WebSocket, who: Who) -> Option<Refused> {
        let mut guard = self.gate.replica.guard(who.account_id, who.workspace_id);
        let mut guarded = true;
        let mut room = self.room.subscribe();
        loop {
            tokio::select! {
                biased;
                ended = guard.ended(), if guarded => match ended {
                    Ended::Revoked(reason) => return Some(Refused::Denied(reason)),
                    Ended::Stale if self.gate.lease_off => guarded = false,
                    Ended::Stale => return Some(Refused::Stale),
                },
                message = socket.recv() => match message? {
                    Ok(Message::Text(text)) => {
                        // A guard is told; what is written is asked for, as any request.
                        if let Err(refused) = self.gate.check(who) {
                            return Some(refused);
                        }
                        // Nobody in the room is no trouble.
                        let _ = self.room.send((who.workspace_id, text.to_string()));
                    }
                    Ok(Message::Close(_)) | Err(_) => return None,
                    Ok(_) => {}
                },
                said = room.recv() => {
                    // Who is too slow misses what was said.
                    let Ok((workspace_id, text)) = said else { continue };
                    if workspace_id != who.workspace_id {
                        continue;
                    }
                    if let Err(refused) = self.gate.check(who) {
                        return Some(refused);
                    }
                    timeout(SEND, socket.send(Message::Text(text.into()))).await.ok()?.ok()?;
                }
            }
        }
    }
}
