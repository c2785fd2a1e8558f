//! When members were last active, and what time brings: the statements behind `ReportActivity` and the sweeper.
//!
//! Activity has a table of its own. It is reported often, so it holds up no command but erasing, and makes no change of the log.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use diesel::{QueryableByName, sql_types};
use diesel_async::RunQueryDsl as _;
use uuid::Uuid;

use super::{
    Database,
    error::StorageError,
    persist::time_of,
    prepared::{Text, prepared},
    tenant::Tenant,
    transaction::Transaction,
};
use crate::rules::{
    ids::{AccountId, CallerName, MemberId, OrganizationId},
    state::Moment,
};

/// A member was active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    /// The organization.
    pub organization: OrganizationId,
    /// The member.
    pub member: MemberId,
    /// When. None: now.
    pub time: Option<Moment>,
}

/// What moments of a member are compared with each other, by the clock of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberTimes {
    /// When the member was last active, or became ACTIVE, whichever is later.
    pub last_active: Moment,
    /// Now.
    pub now: Moment,
}

/// A guest who seems to be inactive for as long as the organization allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct InactiveGuest {
    /// The organization.
    #[diesel(sql_type = sql_types::Uuid)]
    pub organization_id: Uuid,
    /// The member.
    #[diesel(sql_type = sql_types::Uuid)]
    pub member_id: Uuid,
}

/// A member whose planned return has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct DueReturn {
    /// The organization.
    #[diesel(sql_type = sql_types::Uuid)]
    pub organization_id: Uuid,
    /// The member.
    #[diesel(sql_type = sql_types::Uuid)]
    pub member_id: Uuid,
    /// Whether the organization wants members to be reactivated then.
    #[diesel(sql_type = sql_types::Bool)]
    pub reactivate: bool,
}

#[derive(QueryableByName)]
struct TimesRow {
    #[diesel(sql_type = sql_types::Timestamptz)]
    last_active: DateTime<Utc>,
    #[diesel(sql_type = sql_types::Timestamptz)]
    now: DateTime<Utc>,
}

#[derive(QueryableByName)]
struct UnknownRow {
    #[diesel(sql_type = sql_types::Uuid)]
    member_id: Uuid,
}

/// Rows are written in the order of their keys, so that of two reports neither waits for the other in a circle. A clock
/// that is a little ahead does not lengthen anything. The lock is the one of a foreign key: erasing a member waits for it
/// and it for erasing, so that nothing is recorded of who has just been erased; no other command meets it.
struct Report;

impl Text for Report {
    const SQL: &'static str = "
        WITH reported AS (
            SELECT organization_id, member_id, max(LEAST(COALESCE(active_time, now()), now())) AS active_time
            FROM unnest($1, $2, $3) AS t (organization_id, member_id, active_time)
            GROUP BY organization_id, member_id
        ), known AS (
            SELECT r.organization_id, r.member_id, r.active_time
            FROM reported r JOIN members m USING (organization_id, member_id)
            WHERE m.state IN ('ACTIVE', 'DEACTIVATED')
              AND ($4 IS NULL OR $4 = ANY (m.apps) OR ($5 AND NOT EXISTS (SELECT FROM apps a WHERE a.app = $4)))
            ORDER BY m.organization_id, m.member_id
            FOR KEY SHARE OF m
        ), written AS (
            INSERT INTO member_activity (organization_id, member_id, active_time)
            SELECT organization_id, member_id, active_time FROM known ORDER BY organization_id, member_id
            ON CONFLICT (organization_id, member_id) DO UPDATE SET active_time = excluded.active_time
            WHERE member_activity.active_time < excluded.active_time
        )
        SELECT DISTINCT r.member_id FROM reported r
        WHERE NOT EXISTS (SELECT FROM known k
                          WHERE k.organization_id = r.organization_id AND k.member_id = r.member_id)
        ORDER BY r.member_id";
}

struct Times;

impl Text for Times {
    const SQL: &'static str = "
        SELECT GREATEST(m.active_time, a.active_time) AS last_active, clock_timestamp() AS now
        FROM members m LEFT JOIN member_activity a USING (organization_id, member_id)
        WHERE m.organization_id = $1 AND m.member_id = $2";
}

/// In hours: days of the calendar are longer and shorter than 24 of them where clocks are changed.
struct Inactive;

impl Text for Inactive {
    const SQL: &'static str = "
        SELECT m.organization_id, m.member_id
        FROM organizations o
        JOIN members m USING (organization_id)
        LEFT JOIN member_activity a USING (organization_id, member_id)
        WHERE o.guest_inactivity_days IS NOT NULL AND m.role = 'GUEST' AND m.state = 'ACTIVE'
          AND GREATEST(m.active_time, a.active_time) <= now() - make_interval(hours => 24 * o.guest_inactivity_days)
          AND (m.organization_id, m.member_id) > ($1, $2)
        ORDER BY m.organization_id, m.member_id
        LIMIT $3";
}

struct Due;

impl Text for Due {
    const SQL: &'static str = "
        SELECT m.organization_id, m.member_id, o.reactivate_on_return AS reactivate
        FROM members m JOIN organizations o USING (organization_id)
        WHERE m.return_time <= now() AND m.return_remind_time IS NULL AND m.state = 'DEACTIVATED'
          AND (m.organization_id, m.member_id) > ($1, $2)
        ORDER BY m.organization_id, m.member_id
        LIMIT $3";
}

/// Stands in a first pipeline, so like a claim it does nothing outside of a transaction.
struct MarkReminded;

impl Text for MarkReminded {
    const SQL: &'static str = "
        UPDATE members SET return_remind_time = now()
        WHERE organization_id = $1 AND member_id = $2 AND state = 'DEACTIVATED'
          AND return_time <= now() AND return_remind_time IS NULL
          AND current_setting('rollcall.begun', true) = 'yes'";
}

/// Holds the accounts of those who are ACTIVE owners and admins: a mail to them must not come after what erases them.
struct LockAdministrators;

impl Text for LockAdministrators {
    const SQL: &'static str = "
        SELECT a.account_id FROM accounts a
        WHERE a.account_id IN (SELECT m.account_id FROM members m WHERE m.organization_id = $1
                               AND m.role IN ('OWNER', 'ADMIN') AND m.state = 'ACTIVE')
        ORDER BY a.account_id FOR SHARE";
}

/// Those who are that now. Behind the lock it sees whom an erasure took away meanwhile.
struct Administrators;

impl Text for Administrators {
    const SQL: &'static str = "
        SELECT m.account_id FROM members m
        WHERE m.organization_id = $1 AND m.role IN ('OWNER', 'ADMIN') AND m.state = 'ACTIVE'";
}

#[derive(QueryableByName)]
struct AdministratorRow {
    #[diesel(sql_type = sql_types::Uuid)]
    account_id: Uuid,
}

impl Transaction {
    /// Locks the accounts of the ACTIVE owners and admins of an organization. Accounts come first in the order of the
    /// locks.
    pub async fn lock_administrators(
        &self,
        organization: OrganizationId,
    ) -> Result<BTreeSet<AccountId>, StorageError> {
        self.accounts_by::<LockAdministrators>(organization).await
    }

    /// The accounts of the ACTIVE owners and admins of an organization.
    pub async fn administrators(
        &self,
        organization: OrganizationId,
    ) -> Result<BTreeSet<AccountId>, StorageError> {
        self.accounts_by::<Administrators>(organization).await
    }

    async fn accounts_by<T: Text>(
        &self,
        organization: OrganizationId,
    ) -> Result<BTreeSet<AccountId>, StorageError> {
        let query = prepared::<T, _>(|sql| sql.bind::<sql_types::Uuid, _>(organization.0));
        let rows: Vec<AdministratorRow> = query.load(&mut self.connection()).await?;
        Ok(rows.into_iter().map(|row| AccountId(row.account_id)).collect())
    }

    /// The moments of a member, behind the member's lock.
    pub async fn member_times(
        &self,
        organization: OrganizationId,
        member: MemberId,
    ) -> Result<Option<MemberTimes>, StorageError> {
        let query = prepared::<Times, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0).bind::<sql_types::Uuid, _>(member.0)
        });
        let rows: Vec<TimesRow> = query.load(&mut self.connection()).await?;
        let moment = |time: DateTime<Utc>| Moment(time.timestamp_micros());
        let times =
            |row: TimesRow| MemberTimes { last_active: moment(row.last_active), now: moment(row.now) };
        Ok(rows.into_iter().next().map(times))
    }

    /// Marks that owners and admins are reminded of a planned return that has come. False: they were before, or it is not
    /// due any more.
    pub async fn mark_reminded(
        &self,
        organization: OrganizationId,
        member: MemberId,
    ) -> Result<bool, StorageError> {
        let query = prepared::<MarkReminded, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0).bind::<sql_types::Uuid, _>(member.0)
        });
        Ok(query.execute(&mut self.connection()).await? == 1)
    }
}

impl Database {
    /// Records activity, and answers with the members of whom it was not recorded: who do not belong, or not to the scope
    /// of the calling app. `if_named_so`: it is one only if there is an app of this name.
    pub async fn report_activity(
        &self,
        app: Option<&CallerName>,
        if_named_so: bool,
        activities: &[Activity],
    ) -> Result<Vec<Uuid>, StorageError> {
        let organizations: Vec<Uuid> = activities.iter().map(|activity| activity.organization.0).collect();
        let members: Vec<Uuid> = activities.iter().map(|activity| activity.member.0).collect();
        let times: Vec<Option<DateTime<Utc>>> =
            activities.iter().map(|activity| activity.time.and_then(time_of)).collect();
        let query = prepared::<Report, _>(|sql| {
            sql.bind::<sql_types::Array<sql_types::Uuid>, _>(organizations)
                .bind::<sql_types::Array<sql_types::Uuid>, _>(members)
                .bind::<sql_types::Array<sql_types::Nullable<sql_types::Timestamptz>>, _>(times)
                .bind::<sql_types::Nullable<sql_types::Text>, _>(app.map(CallerName::as_str))
                .bind::<sql_types::Bool, _>(if_named_so)
        });
        let rows: Vec<UnknownRow> = query
            .load(
                &mut self
                    .reading(Tenant::of(activities.iter().map(|activity| activity.organization)))
                    .await?,
            )
            .await?;
        Ok(rows.into_iter().map(|row| row.member_id).collect())
    }

    /// Guests who seem to be inactive, by id, from after one.
    pub async fn inactive_guests(
        &self,
        after: (Uuid, Uuid),
        limit: i64,
    ) -> Result<Vec<InactiveGuest>, StorageError> {
        let query = prepared::<Inactive, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(after.0)
                .bind::<sql_types::Uuid, _>(after.1)
                .bind::<sql_types::BigInt, _>(limit)
        });
        // Across: what time brings is looked for in the whole store.
        Ok(query.load(&mut self.read_across().await?).await?)
    }

    /// Members whose planned return has come, of whom nobody was reminded, by id, from after one.
    pub async fn due_returns(&self, after: (Uuid, Uuid), limit: i64) -> Result<Vec<DueReturn>, StorageError> {
        let query = prepared::<Due, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(after.0)
                .bind::<sql_types::Uuid, _>(after.1)
                .bind::<sql_types::BigInt, _>(limit)
        });
        // Across: the same.
        Ok(query.load(&mut self.read_across().await?).await?)
    }
}
