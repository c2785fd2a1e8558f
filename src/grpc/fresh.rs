//! Reads at a token (C13): a read that names one is answered from a moment at or after the write that answered with it.
//!
//! The token is looked up in the log before the read begins, and what the log does not have yet is waited for. Today every
//! read goes to the primary, where a write is seen as soon as it is committed; the look-up is what keeps the promise when
//! reads go elsewhere, and what finds that a write was lost.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::{Extensions, Status};

use super::{Services, answer::COVERS, layer::Deadline, status};
use crate::{
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
#[derive(Debug, Clone, Copy)]
pub(super) enum Token {
    /// Where the write's last change stands.
    At(Point),
    /// It changed nothing; this is the head that covers what it saw.
    Covers(Point),
    /// Which command it was; its position was not known yet.
    Of(CommandId),
}

impl Services {
    /// Waits until the log has got as far as a token, which may be empty. Returns the position that is known to be
    /// reached; without a token 0.
    pub(super) async fn fresh(&self, call: &Extensions, token: &str) -> Result<i64, Status> {
        if token.is_empty() {
            return Ok(0);
        }
        Ok(self.wait_for_token(call, "at_least_as_fresh", token).await?.1)
    }

    /// Waits until the log has got as far as the token of a field. Returns what it says, and the position.
    pub(super) async fn wait_for_token(
        &self,
        call: &Extensions,
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
            if let Some(position) = self.reached(token).await?.map_err(refused)? {
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
        Ok(match position {
            0 if !id.is_nil() => Token::Of(CommandId(id)),
            position => {
                let point = Point { position, change_id: ChangeId(id) };
                if fields.0 == [COVERS] { Token::Covers(point) } else { Token::At(point) }
            }
        })
    }

    /// Where the log has what the token names. None: nowhere yet.
    async fn reached(&self, token: Token) -> Result<Result<Option<i64>, TokenRefusal>, Status> {
        let database = self.engine.database();
        match token {
            // Before the first change.
            Token::At(Point::ZERO) | Token::Covers(Point::ZERO) => Ok(Ok(Some(0))),
            Token::At(Point { position, change_id }) | Token::Covers(Point { position, change_id }) => {
                let found = database.point_and_floor(position).await.map_err(status::storage)?;
                Ok(match found.change_id {
                    Some(id) if id == change_id.0 => Ok(Some(position)),
                    Some(_) => Err(TokenRefusal::Forked),
                    // Trimmed, and so long passed.
                    None if position < found.floor => Ok(Some(position)),
                    None => Ok(None),
                })
            }
            Token::Of(command) => {
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
