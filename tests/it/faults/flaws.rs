//! Services that cannot tell one history of the log from another (C7): what T5 and T7 find out is shown on them.

use std::time::Duration;

use rollcall_client::v1::{WatchResponse, watch_response::Message};
use tokio::time::timeout;
use tonic::{Code, Streaming};

use super::scene::BOUND;
use crate::{
    fixtures::refused,
    support::{Database, Statements},
};

/// Who is not told by then, never is: a sound service tells within a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a service lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Nothing.
    None,
    /// No read of the log looks whether what was read before is still there.
    NobodyCompares,
    /// The id of a change says no more than its position: a cursor is a bare number.
    BareNumbers,
}

/// A service before this database, and what stands between the two.
pub(super) struct Flawed {
    statements: Option<Statements>,
    url: String,
}

impl Flaw {
    /// What a service connects to that has it.
    pub(super) fn before(self, url: &str) -> Flawed {
        let statements = (self == Self::NobodyCompares).then(|| Statements::before(url, without_comparing));
        Flawed { statements, url: url.to_owned() }
    }

    /// Puts it into a store, before anything is written that counts.
    pub(super) async fn put_into(self, database: &Database) {
        if self == Self::BareNumbers {
            database.client.batch_execute(BARE_NUMBERS).await.expect("the flaw");
        }
    }

    fn patience(self) -> Duration {
        if self == Self::NobodyCompares { PATIENCE } else { BOUND }
    }

    /// Whether this stream is told that its history is over, before it is told anything of another one.
    pub(super) async fn is_told(self, stream: &mut Streaming<WatchResponse>) -> bool {
        let told = async {
            loop {
                match stream.message().await {
                    Ok(Some(message)) if !matches!(message.message, Some(Message::Batch(_))) => {}
                    Ok(_) => return false,
                    Err(end) => {
                        refused::<()>(Err(end), Code::FailedPrecondition, "CURSOR_FORKED");
                        return true;
                    }
                }
            }
        };
        let told = timeout(self.patience(), told).await;
        assert!(told.is_ok() || self == Self::NobodyCompares, "waited in vain for the end of a stream");
        told.unwrap_or(false)
    }
}

impl Flawed {
    pub(super) fn url(&self) -> String {
        self.statements.as_ref().map_or_else(|| self.url.clone(), Statements::url)
    }
}

/// A statement that finds every history to be the one that it knows.
fn without_comparing(sql: &str) -> String {
    sql.replace("AS same_history", "OR true AS same_history")
}

const BARE_NUMBERS: &str = "
    CREATE FUNCTION bare_number() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.change_id := lpad(to_hex(NEW.position), 32, '0')::uuid; RETURN NEW; END $$;
    CREATE TRIGGER bare_number BEFORE INSERT ON changes FOR EACH ROW EXECUTE FUNCTION bare_number();";
