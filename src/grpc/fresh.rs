//! Reads at a token (C13): a read that names one is answered from a moment at or after the write that answered with it.
//!
//! The token is looked up in the log before the read begins, and what the log does not have yet is waited for. Today every
//! read goes to the primary, where a write is seen as soon as it is committed; the look-up is what keeps the promise when
//! reads go elsewhere, and what finds that a write was lost.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::{Extensions, Status};

use super::{
    Services,
    answer::{COVERS, NAMES},
    layer::Deadline,
    limits, status,
};
use crate::{
    enforcement::Line,
    feed::Point,
    rules::ids::{ChangeId, CommandId},
    seal::{Fields, Purpose, SealError},
};

/// How long a read waits for the log: a sequencing call that waits for its lock takes 2 s at most.
const WAIT: Duration = Duration::from_secs(3);
/// How much before the deadline of the call it gives up, so that its answer arrives and says why.
const MARGIN: Duration = Duration::from_millis(100);

/// Why a token cannot be read at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRefusal {
    /// Damaged or made up.
    Invalid,
    /// Of another store.
    WrongStore,
    /// The change at its position is another one.
    Forked,
    /// The log has not got so far in time.
    NotReached,
}

/// What a token says.
#[derive(Debug)]
pub(super) struct Token {
    /// What the log has to have for it to be reached.
    place: Place,
    /// The commands of the write. Empty: it changed nothing, or the token is of a release that named none.
    pub(super) commands: Vec<CommandId>,
}

/// Where a write stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// At its last change or, where it changed nothing, at the head that covers what it saw.
    At(Point),
    /// Where this command does; its position was not known yet.
    Of(CommandId),
}

impl Services {
    /// Waits until the log has got as far as a token, which may be empty. Returns the position that is known to be
    /// reached; without a token 0.
    pub(super) async fn fresh(&self, call: &Extensions, token: &str) -> Result<i64, Status> {
        if token.is_empty() {
            return Ok(0);
        }
        Ok(self.wait_for_token(call, None, "at_least_as_fresh", token).await?.1)
    }

    /// The same for the token of somebody who waits to hear that a write is enforced: in line with the others who do. Returns
    /// what the token says, and the position.
    pub(super) async fn wait_in_line(
        &self,
        call: &Extensions,
        line: &Line,
        field: &str,
        token: &str,
    ) -> Result<(Token, i64), Status> {
        self.wait_for_token(call, Some(line), field, token).await
    }

    /// Waits until the log has got as far as the token of a field. Returns what it says, and the position.
    async fn wait_for_token(
        &self,
        call: &Extensions,
        line: Option<&Line>,
        field: &str,
        token: &str,
    ) -> Result<(Token, i64), Status> {
        let refused = |refusal| status::token_refused(field, refusal);
        let token = self.open_token(token).map_err(refused)?;
        let until = patience(call.get());
        let mut marks = self.marks.clone();
        loop {
            // Before the look: what is sequenced meanwhile shows as a newer mark.
            let seen = marks.newest().map(|mark| mark.head);
            let turn = match line {
                Some(line) => (Some(self.enforcement.turn(line).await.map_err(status::storage)?), None),
                None => (None, limits::turn(call).await?),
            };
            let place = self.place_of(token.place).await?.map_err(refused)?;
            drop(turn);
            if let Some(position) = place {
                return Ok((token, position));
            }
            let grown = async {
                loop {
                    marks.changed().await;
                    let head = marks.newest().map(|mark| mark.head);
                    if head.is_some() && head != seen {
                        return;
                    }
                }
            };
            if timeout_at(until, grown).await.is_err() {
                return Err(refused(TokenRefusal::NotReached));
            }
        }
    }

    fn open_token(&self, text: &str) -> Result<Token, TokenRefusal> {
        let payload = self.seal.open(Purpose::Token, text).map_err(|error| match error {
            SealError::Invalid => TokenRefusal::Invalid,
            SealError::WrongStore => TokenRefusal::WrongStore,
        })?;
        let mut fields = Fields(&payload);
        let (Some(position), Some(id)) = (fields.i64(), fields.uuid()) else {
            return Err(TokenRefusal::Invalid);
        };
        let place = match position {
            0 if !id.is_nil() => Place::Of(CommandId(id)),
            position => Place::At(Point { position, change_id: ChangeId(id) }),
        };
        let commands = match fields.0 {
            // Of an earlier release, which said no more of a write.
            [] | [COVERS] => Vec::new(),
            [NAMES, hidden @ ..] => self.named(hidden).ok_or(TokenRefusal::Invalid)?,
            _ => return Err(TokenRefusal::Invalid),
        };
        Ok(Token { place, commands })
    }

    /// The commands that a token names.
    fn named(&self, hidden: &[u8]) -> Option<Vec<CommandId>> {
        let ids = self.seal.reveal(hidden)?;
        let mut fields = Fields(&ids);
        let commands = std::iter::from_fn(|| fields.uuid()).map(CommandId).collect();
        fields.0.is_empty().then_some(commands)
    }

    /// Where the log has what the token names. None: nowhere yet.
    async fn place_of(&self, place: Place) -> Result<Result<Option<i64>, TokenRefusal>, Status> {
        let database = self.engine.database();
        match place {
            // Before the first change.
            Place::At(Point::ZERO) => Ok(Ok(Some(0))),
            Place::At(Point { position, change_id }) => {
                let found = database.point_and_floor(position).await.map_err(status::storage)?;
                Ok(match found.change_id {
                    Some(id) if id == change_id.0 => Ok(Some(position)),
                    Some(_) => Err(TokenRefusal::Forked),
                    // Trimmed, and so long passed.
                    None if position < found.floor => Ok(Some(position)),
                    None => Ok(None),
                })
            }
            Place::Of(command) => {
                let end = database.end_of_commands(&[command]).await.map_err(status::storage)?;
                Ok(Ok(end.map(|(position, _)| position)))
            }
        }
    }
}

/// Until when a call waits.
pub(super) fn patience(deadline: Option<&Deadline>) -> Instant {
    let longest = Instant::now() + WAIT;
    match deadline {
        Some(Deadline(deadline)) => longest.min(deadline.checked_sub(MARGIN).unwrap_or(*deadline)),
        None => longest,
    }
}
