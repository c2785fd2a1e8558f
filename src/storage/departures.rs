//! Departures: who left an organization. Written with the changes of a command, by whatever command it is; read for the
//! report.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use diesel::{QueryableByName, sql_query, sql_types};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    Database,
    apart::Apart,
    error::StorageError,
    log::ChangeOrigin,
    prepared::{Text, prepared},
    transaction::Transaction,
};
use crate::rules::{
    Change, Subject,
    ids::{AppName, CallerName, MemberId, OrganizationId, RequestId},
    roles::MembershipState,
};

/// The changes that may be departures: those that leave a member without access, the first of each member.
fn candidates(changes: &[Change]) -> Vec<&Change> {
    let mut seen = HashSet::new();
    let cut = changes.iter().filter(|change| match &change.subject {
        Subject::Member(member) => member.state != MembershipState::Active && seen.insert(member.id),
        _ => false,
    });
    cut.collect()
}

/// $1 caller, then a row for each candidate. Runs before the members are written: a departure is of who has
/// access until now. A seat shared by organizations of a contract becomes free with the last of those in which the
/// person is ACTIVE; where one command ends several, with the last one of them.
struct WriteDepartures;

impl Text for WriteDepartures {
    const SQL: &'static str = "
        WITH leaving AS (
            SELECT m.organization_id, m.member_id, m.account_id, o.contract_id, t.command_id, t.reason,
                   t.acting_member_id, t.handover_to_member_id, t.earlier
            FROM unnest($2, $3, $4, $5, $6, $7, $8)
                AS t (organization_id, member_id, command_id, reason, acting_member_id, handover_to_member_id, earlier)
            JOIN members m ON m.organization_id = t.organization_id AND m.member_id = t.member_id AND m.state = 'ACTIVE'
            JOIN organizations o ON o.organization_id = t.organization_id
        )
        INSERT INTO departures (organization_id, command_id, member_id, reason, caller, acting_member_id,
                                handover_to_member_id, depart_time, seats_freed)
        SELECT l.organization_id, l.command_id, l.member_id, l.reason, $1, l.acting_member_id,
               l.handover_to_member_id, now() - l.earlier * interval '1 microsecond',
               CASE WHEN EXISTS (
                   SELECT FROM members other JOIN organizations o ON o.organization_id = other.organization_id
                   WHERE other.account_id = l.account_id AND other.state = 'ACTIVE' AND o.contract_id = l.contract_id
                     AND other.organization_id <> l.organization_id
                     AND (other.organization_id > l.organization_id
                          OR NOT EXISTS (SELECT FROM leaving too WHERE too.organization_id = other.organization_id
                                                                   AND too.member_id = other.member_id))
               ) THEN 0 ELSE 1 END
        FROM leaving l";
}

type Uuids = sql_types::Array<sql_types::Uuid>;
type OptionalUuids = sql_types::Array<sql_types::Nullable<sql_types::Uuid>>;

impl Transaction {
    /// Records who leaves by these changes. To be sent before the members are written. None: nobody can.
    pub(super) fn write_departures<'a>(
        &'a self,
        changes: &[Change],
        origin: Option<&'a ChangeOrigin>,
        apart: &Apart,
    ) -> Option<impl Future<Output = Result<(), StorageError>> + use<'a>> {
        let (changes, origin) = (candidates(changes), origin?);
        let (mut organizations, mut members, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
        let (mut commands, mut acting, mut handovers) = (Vec::new(), Vec::new(), Vec::new());
        let mut earlier = Vec::new();
        for change in &changes {
            let Subject::Member(member) = &change.subject else { continue };
            organizations.push(member.organization_id.0);
            members.push(member.id.0);
            commands.push(change.command.0);
            reasons.push(change.reason.as_str());
            acting.push(origin.acting.within(&change.subject).map(|member| member.0));
            handovers.push(change.handover_to.map(|member| member.0));
            earlier.push(apart.earlier(member.organization_id.0));
        }
        if members.is_empty() {
            return None;
        }
        let query = prepared::<WriteDepartures, _>(|sql| {
            sql.bind::<sql_types::Text, _>(origin.caller.as_str())
                .bind::<Uuids, _>(organizations)
                .bind::<Uuids, _>(members)
                .bind::<Uuids, _>(commands)
                .bind::<sql_types::Array<sql_types::Text>, _>(reasons)
                .bind::<OptionalUuids, _>(acting)
                .bind::<OptionalUuids, _>(handovers)
                .bind::<sql_types::Array<sql_types::BigInt>, _>(earlier)
        });
        // Whether a seat becomes free depends on the other organizations of the contract (R48).
        Some(self.beyond(async move {
            query.execute(&mut self.connection()).await?;
            Ok(())
        }))
    }
}

/// The members whom the writes under some request ids put out. Recorded in the same transaction, so at the same time: a
/// write that found the member out already shows an older command.
struct DepartedBy;

impl Text for DepartedBy {
    const SQL: &'static str = "
        SELECT d.member_id, d.seats_freed FROM requests r
        JOIN departures d ON d.organization_id = r.organization_id AND d.command_id = r.command_id
                         AND d.member_id = r.member_id AND d.depart_time = r.create_time
        WHERE r.caller = $1 AND r.request_id = ANY ($2)";
}

#[derive(QueryableByName)]
struct DepartedRow {
    #[diesel(sql_type = sql_types::Uuid)]
    member_id: Uuid,
    #[diesel(sql_type = sql_types::Integer)]
    seats_freed: i32,
}

/// Where a list of departures goes on: after this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepartureKey {
    /// When.
    pub depart_time: DateTime<Utc>,
    /// By which command.
    pub command_id: Uuid,
    /// Who.
    pub member_id: Uuid,
}

/// A departure, with how far the apps that know the member have followed it.
#[derive(Debug, Clone, QueryableByName)]
#[allow(missing_docs)]
pub struct DepartureRow {
    #[diesel(sql_type = sql_types::Uuid)]
    pub organization_id: Uuid,
    #[diesel(sql_type = sql_types::Uuid)]
    pub command_id: Uuid,
    #[diesel(sql_type = sql_types::Uuid)]
    pub member_id: Uuid,
    #[diesel(sql_type = sql_types::Text)]
    pub reason: String,
    #[diesel(sql_type = sql_types::Text)]
    pub caller: String,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    pub acting_member_id: Option<Uuid>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    pub handover_to_member_id: Option<Uuid>,
    #[diesel(sql_type = sql_types::Integer)]
    pub seats_freed: i32,
    #[diesel(sql_type = sql_types::Timestamptz)]
    pub depart_time: DateTime<Utc>,
    /// The apps, by name.
    #[diesel(sql_type = sql_types::Array<sql_types::Text>)]
    pub apps: Vec<String>,
    /// Of each app: how many instances follow the organization.
    #[diesel(sql_type = sql_types::Array<sql_types::Integer>)]
    pub instances: Vec<i32>,
    /// Of each app: how many of them have applied the departure.
    #[diesel(sql_type = sql_types::Array<sql_types::Integer>)]
    pub applied: Vec<i32>,
    /// Of each app: how many were waited out besides, and have not come back.
    #[diesel(sql_type = sql_types::Array<sql_types::Integer>)]
    pub lapsed: Vec<i32>,
}

/// $1 organization, $2 and $3 the time range or nulls, $4 to $6 where the page begins or nulls, $7 how many, $8 the app in
/// whose scope who left must be or null: then of that app alone. Planned anew
/// each time, with its parameters: what is null is then no condition. Where the last change of the command stands is
/// looked up by command: in the log, else in the history; one that is still to be sequenced nobody has applied, and one
/// that was dropped stood at or before the floor of the history. Who was waited out is recorded with the verdict, by name: one of
/// that name that follows again is counted as what it is now.
const DEPARTURES: &str = "
    SELECT d.organization_id, d.command_id, d.member_id, d.reason, d.caller, d.acting_member_id,
           d.handover_to_member_id, d.seats_freed, d.depart_time, x.apps, x.instances, x.applied, x.lapsed
    FROM (SELECT * FROM departures
          WHERE organization_id = $1 AND ($2 IS NULL OR depart_time >= $2) AND ($3 IS NULL OR depart_time < $3)
            AND ($4 IS NULL OR (depart_time, command_id, member_id) < ($4, $5, $6))
            AND ($8 IS NULL OR EXISTS (SELECT FROM members k
                 WHERE k.organization_id = $1 AND k.member_id = departures.member_id AND k.apps @> ARRAY[$8]))
          ORDER BY depart_time DESC, command_id DESC, member_id DESC LIMIT $7) d
    JOIN members m ON m.organization_id = d.organization_id AND m.member_id = d.member_id
    CROSS JOIN history_floor f
    CROSS JOIN LATERAL (SELECT coalesce(
        (SELECT c.position FROM changes c WHERE c.command_id = d.command_id AND c.position = c.command_end),
        (SELECT max(h.position) FROM history h WHERE h.command_id = d.command_id),
        (SELECT max(9223372036854775807) FROM pending_changes p WHERE p.command_id = d.command_id),
        f.position) AS position) command_end
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(a.app ORDER BY a.app), '{}') AS apps,
               coalesce(array_agg(a.instances ORDER BY a.app), '{}') AS instances,
               coalesce(array_agg(a.applied ORDER BY a.app), '{}') AS applied,
               coalesce(array_agg(a.lapsed ORDER BY a.app), '{}') AS lapsed
        FROM (SELECT known.app, count(s.subscription_id)::integer AS instances,
                     (count(*) FILTER (WHERE s.applied_position >= command_end.position))::integer AS applied,
                     (SELECT count(*)::integer FROM enforcements e CROSS JOIN unnest(e.lapsed_instances) AS gone (instance)
                      WHERE e.organization_id = d.organization_id AND e.command_id = d.command_id AND e.app = known.app
                        AND NOT EXISTS (SELECT FROM subscriptions back WHERE back.app = known.app
                                        AND back.instance = gone.instance AND back.state = 'LIVE')) AS lapsed
              FROM unnest(m.apps) AS known (app)
              LEFT JOIN subscriptions s ON s.app = known.app AND s.state = 'LIVE'
                   AND (cardinality(s.organization_ids) = 0 OR d.organization_id = ANY (s.organization_ids))
              WHERE $8 IS NULL OR known.app = $8
              GROUP BY known.app) a) x
    ORDER BY d.depart_time DESC, d.command_id DESC, d.member_id DESC";

impl Database {
    /// The members who left an organization by a caller's writes under these request ids, with the seats that became free
    /// with them.
    pub async fn departed_by(
        &self,
        organization: OrganizationId,
        caller: &CallerName,
        requests: &[RequestId],
    ) -> Result<HashMap<MemberId, i32>, StorageError> {
        let requests: Vec<Uuid> = requests.iter().map(|request| request.0).collect();
        let query = prepared::<DepartedBy, _>(|sql| {
            sql.bind::<sql_types::Text, _>(caller.as_str())
                .bind::<sql_types::Array<sql_types::Uuid>, _>(requests)
        });
        let rows: Vec<DepartedRow> = query.load(&mut self.read_in(organization).await?).await?;
        Ok(rows.into_iter().map(|row| (MemberId(row.member_id), row.seats_freed)).collect())
    }

    /// Lists the departures of an organization in a time range, newest first, from after one; where an app is given, of those
    /// in its scope, and how far that one has followed.
    pub async fn departures(
        &self,
        organization: OrganizationId,
        app: Option<&AppName>,
        (start, end): (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
        after: Option<DepartureKey>,
        limit: i64,
    ) -> Result<Vec<DepartureRow>, StorageError> {
        type Time = sql_types::Nullable<sql_types::Timestamptz>;
        type Id = sql_types::Nullable<sql_types::Uuid>;
        let query = sql_query(DEPARTURES)
            .bind::<sql_types::Uuid, _>(organization.0)
            .bind::<Time, _>(start)
            .bind::<Time, _>(end)
            .bind::<Time, _>(after.map(|key| key.depart_time))
            .bind::<Id, _>(after.map(|key| key.command_id))
            .bind::<Id, _>(after.map(|key| key.member_id))
            .bind::<sql_types::BigInt, _>(limit)
            .bind::<sql_types::Nullable<sql_types::Text>, _>(app.map(AppName::as_str));
        Ok(query.load(&mut self.read_in(organization).await?).await?)
    }
}
