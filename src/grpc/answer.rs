//! Tokens: what a write answers, to wait for or to read at.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;
use uuid::Uuid;

use super::{Services, status};
use crate::{
    engine::Done,
    feed::Point,
    rules::ids::{ChangeId, CommandId},
    seal::Purpose,
};

/// How long a write waits for its changes to have positions. Sequencing takes a commit; after this a token that names
/// the command, which will have them, is as good (design: success never waits for a slow log).
const RESOLVE: Duration = Duration::from_millis(250);

/// How long a write that changed nothing in the log waits for the head: as long as sequencing may wait for its lock.
const HEAD: Duration = Duration::from_secs(3);

/// Behind the point of a token: the write covers it, and did not write it.
pub(super) const COVERS: u8 = 1;
/// Behind the point of a token: all commands of the write follow, hidden: of one that reaches several organizations they
/// would tell whoever reads the token which tombstones were one person (R46).
pub(super) const NAMES: u8 = 2;

impl Services {
    /// The token of a write: the position of its last change with its commands, or, where nothing changed, of the head that
    /// covers what it saw.
    pub(super) async fn token(&self, done: &Done) -> Result<String, Status> {
        self.token_of(done.commands(), done.committed).await
    }

    /// The token of several commands, all of which are committed at a moment: at the one that is last in the log.
    pub(super) async fn token_of(
        &self,
        commands: &[CommandId],
        committed: Instant,
    ) -> Result<String, Status> {
        let since = self.marks.since(committed);
        // The youngest, by the time in its id.
        let Some(command) = commands.iter().copied().max() else {
            // Nothing but the head covers what such a write saw, so there is no token without it.
            let mark = tokio::time::timeout(HEAD, since).await.map_err(|_| status::unavailable())?;
            return Ok(self.seal_cover(mark.head));
        };
        let Ok(mark) = tokio::time::timeout(RESOLVE, since).await else {
            return Ok(self.seal_command(command, commands));
        };
        // The mark says that the tail has read it.
        let ends: Option<Vec<Point>> = commands.iter().map(|command| self.window.end_of(*command)).collect();
        if let Some(point) = ends.into_iter().flatten().max_by_key(|point| point.position) {
            return Ok(self.seal_point(point, commands));
        }
        let end = self.engine.database().end_of_commands(commands).await;
        match end {
            Ok(Some((position, change_id))) => {
                Ok(self.seal_point(Point { position, change_id: ChangeId(change_id) }, commands))
            }
            // The command of an old departure that was repeated, gone from the history by now: the head covers it.
            Ok(None) => Ok(self.seal_cover(mark.head)),
            // The write is done: whatever ails the read must not make it look as if it were not.
            Err(error) => {
                let _ = status::storage(error);
                Ok(self.seal_command(command, commands))
            }
        }
    }

    fn seal_point(&self, point: Point, commands: &[CommandId]) -> String {
        self.seal_token(point.position, point.change_id.0, NAMES, &self.hidden(commands))
    }

    /// A token of what changed nothing, and saw everything up to a head that somebody else wrote.
    fn seal_cover(&self, head: Point) -> String {
        self.seal_token(head.position, head.change_id.0, COVERS, &[])
    }

    /// A token whose position is not known yet: 0, with the youngest command in place of the change.
    fn seal_command(&self, command: CommandId, commands: &[CommandId]) -> String {
        self.seal_token(0, command.0, NAMES, &self.hidden(commands))
    }

    fn hidden(&self, commands: &[CommandId]) -> Vec<u8> {
        let ids: Vec<u8> = commands.iter().flat_map(|command| *command.0.as_bytes()).collect();
        self.seal.hide(&ids)
    }

    fn seal_token(&self, position: i64, id: Uuid, kind: u8, rest: &[u8]) -> String {
        let mut payload = position.to_be_bytes().to_vec();
        payload.extend(id.as_bytes());
        payload.push(kind);
        payload.extend(rest);
        self.seal.seal(Purpose::Token, &payload)
    }
}
