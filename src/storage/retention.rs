//! Retention (C8): moving old changes from the log into the history, and looking at the log and its floor at one moment.
//!
//! Trimming is done by functions in the database, one statement for each batch, whose COMMIT is sent with it, so that a
//! replica which is paused or killed holds nothing (C18). A second one at the same time does nothing.

use std::time::Duration;

use diesel::{
    ExpressionMethods as _, JoinOnDsl as _, NullableExpressionMethods as _, OptionalExtension as _,
    QueryDsl as _, QueryableByName, sql_query, sql_types,
};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    Database,
    error::StorageError,
    schema::{changes, history, log_floor},
};
use crate::rules::ids::CommandId;

/// Rows of a batch at most: the size of the largest command, some tens of milliseconds of work.
const BATCH: i64 = 5_000;

/// How long what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Changes stay in the log at least so long.
    pub log: Duration,
    /// They stay no longer than this, also where a follower has not applied them.
    pub log_max: Duration,
    /// A subscription that was seen within this time holds back what it has not applied.
    pub subscriptions: Duration,
    /// History stays so long. None: for ever.
    pub history: Option<Duration>,
    /// The audit stays so long. None: for ever.
    pub audit: Option<Duration>,
}

/// What trimming a batch of the log did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct Trimmed {
    /// The floor: changes at or before this position are no longer in the log.
    #[diesel(sql_type = sql_types::BigInt, column_name = floor_position)]
    pub floor: i64,
    /// How many changes went into the history.
    #[diesel(sql_type = sql_types::BigInt)]
    pub moved: i64,
    /// Whether there is more to do.
    #[diesel(sql_type = sql_types::Bool)]
    pub more: bool,
}

/// What stands at a position, and where the log begins, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointAndFloor {
    /// The change at the position, which may be the floor. None: there is none, or it was trimmed.
    pub change_id: Option<Uuid>,
    /// The floor.
    pub floor: i64,
}

#[derive(QueryableByName)]
struct Removed {
    #[diesel(sql_type = sql_types::BigInt)]
    removed: i64,
    #[diesel(sql_type = sql_types::Bool)]
    more: bool,
}

impl Database {
    /// Moves a batch of what is due from the log into the history.
    pub async fn trim_log(&self, keep: &Retention) -> Result<Trimmed, StorageError> {
        let query = "SELECT * FROM trim_log(make_interval(secs => $1), make_interval(secs => $2), \
                     make_interval(secs => $3), $4)";
        let query = sql_query(query)
            .bind::<sql_types::Double, _>(keep.log.as_secs_f64())
            .bind::<sql_types::Double, _>(keep.log_max.as_secs_f64())
            .bind::<sql_types::Double, _>(keep.subscriptions.as_secs_f64())
            .bind::<sql_types::BigInt, _>(BATCH);
        // Across: what is old goes, whosever it is.
        Ok(query.get_result(&mut self.read_across().await?).await?)
    }

    /// Drops a batch of the history that is older than it is kept for. Returns how many changes, and whether there is
    /// more to do.
    pub async fn trim_history(&self, keep: Duration) -> Result<(i64, bool), StorageError> {
        let query = sql_query("SELECT * FROM trim_history(make_interval(secs => $1), $2)")
            .bind::<sql_types::Double, _>(keep.as_secs_f64())
            .bind::<sql_types::BigInt, _>(BATCH);
        // Across: the same.
        let Removed { removed, more } = query.get_result(&mut self.read_across().await?).await?;
        Ok((removed, more))
    }

    /// Has a batch of changes that are older than this forget the trace that they were a part of: by then everybody has
    /// applied them, and what was done in one trace is not to be found together later (R46). Returns how many forgot one,
    /// and whether there may be more. It goes on where it was, so the log is never read from end to end.
    pub async fn forget_traces(&self, age: Duration) -> Result<(i64, bool), StorageError> {
        // The second look at each trace is for who waited for another replica.
        let query = "WITH batch AS ( \
                         SELECT c.position, c.record_time < now() - make_interval(secs => $1) AS old FROM changes c \
                         WHERE c.position > (SELECT traces_forgotten FROM log_floor) ORDER BY c.position LIMIT $2 \
                     ), reach AS ( \
                         SELECT coalesce(min(position) FILTER (WHERE NOT old) - 1, max(position)) AS position FROM batch \
                     ), forgotten AS ( \
                         UPDATE changes SET traceparent = NULL WHERE traceparent IS NOT NULL AND position = ANY (ARRAY( \
                             SELECT b.position FROM batch b, reach r WHERE b.position <= r.position)) \
                         RETURNING 1 \
                     ), went_on AS ( \
                         UPDATE log_floor SET traces_forgotten = r.position FROM reach r \
                         WHERE r.position > traces_forgotten \
                     ) \
                     SELECT (SELECT count(*) FROM forgotten) AS removed, \
                            (SELECT count(*) = $2 AND bool_and(old) FROM batch) AS more";
        let query = sql_query(query)
            .bind::<sql_types::Double, _>(age.as_secs_f64())
            .bind::<sql_types::BigInt, _>(BATCH);
        // Across: the same.
        let Removed { removed, more } = query.get_result(&mut self.read_across().await?).await?;
        Ok((removed, more))
    }

    /// Looks at a position and at the floor in one statement: trimming moves both in one transaction. The row at the floor
    /// is gone, but not the id of its change.
    pub async fn point_and_floor(&self, position: i64) -> Result<PointAndFloor, StorageError> {
        let query = log_floor::table.left_join(changes::table.on(changes::position.eq(position))).select((
            log_floor::position,
            log_floor::change_id,
            changes::change_id.nullable(),
        ));
        let (floor, at_floor, found): (i64, Option<Uuid>, Option<Uuid>) =
            // Across: a position says nothing about whose change stands there.
            query.first(&mut self.read_across().await?).await?;
        Ok(PointAndFloor { change_id: found.or(at_floor.filter(|_| position == floor)), floor })
    }

    /// The position and id of the last change of some commands, which may have been trimmed into the history. None: they
    /// are not sequenced, changed nothing, or are older than the history. Needs the indexes by command.
    pub async fn end_of_commands(&self, commands: &[CommandId]) -> Result<Option<(i64, Uuid)>, StorageError> {
        let commands: Vec<Uuid> = commands.iter().map(|command| command.0).collect();
        // Across: nor does a command.
        let mut connection = self.read_across().await?;
        let query = changes::table
            .filter(changes::command_id.eq_any(&commands))
            // Not the last by position: on a log without statistics that is planned as a walk through all of it.
            .filter(changes::position.eq(changes::command_end))
            .select((changes::position, changes::change_id));
        let ends: Vec<(i64, Uuid)> = query.load(&mut connection).await?;
        if let Some(end) = ends.into_iter().max() {
            return Ok(Some(end));
        }
        // After the log: changes only ever move from there to here, the oldest first.
        let query = history::table
            .filter(history::command_id.eq_any(&commands))
            .order(history::position.desc())
            .select((history::position, history::change_id));
        Ok(query.first(&mut connection).await.optional()?)
    }
}
