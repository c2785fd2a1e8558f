//! How many members left lately by whose command: what the safety limit counts.

use diesel::{ExpressionMethods as _, QueryDsl as _, QueryableByName, sql_types};
use diesel_async::RunQueryDsl as _;

use super::{
    error::StorageError,
    prepared::{Text, prepared},
    schema::members,
    transaction::Transaction,
};
use crate::rules::{
    ids::{MemberId, OrganizationId},
    roles::MembershipState,
};

/// The lock of a person's departures in an organization, until the end of the transaction.
struct LockDepartures;

impl Text for LockDepartures {
    const SQL: &'static str = "SELECT pg_advisory_xact_lock(hashtextextended($1::text || $2::text, 2))";
}

struct RecentDepartures;

impl Text for RecentDepartures {
    const SQL: &'static str = "
        SELECT count(*) AS count FROM departures
        WHERE organization_id = $1 AND acting_member_id = $2 AND member_id <> $2
          AND depart_time > now() - interval '1 hour'";
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = sql_types::BigInt)]
    count: i64,
}

impl Transaction {
    /// Lets the departures by one person's command come one after the other. After the row locks.
    pub async fn lock_departures(
        &self,
        organization: OrganizationId,
        acting: MemberId,
    ) -> Result<(), StorageError> {
        let query = prepared::<LockDepartures, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0).bind::<sql_types::Uuid, _>(acting.0)
        });
        query.execute(&mut self.connection()).await?;
        Ok(())
    }

    /// How many others left within the last hour by this person's command.
    pub async fn recent_departures(
        &self,
        organization: OrganizationId,
        acting: MemberId,
    ) -> Result<i64, StorageError> {
        let query = prepared::<RecentDepartures, _>(|sql| {
            sql.bind::<sql_types::Uuid, _>(organization.0).bind::<sql_types::Uuid, _>(acting.0)
        });
        let row: Count = query.get_result(&mut self.connection()).await?;
        Ok(row.count)
    }

    /// How many of these members are ACTIVE, one left out.
    pub async fn active_among(
        &self,
        organization: OrganizationId,
        among: &[MemberId],
        but: MemberId,
    ) -> Result<i64, StorageError> {
        let among: Vec<uuid::Uuid> = among.iter().filter(|member| **member != but).map(|id| id.0).collect();
        Ok(members::table
            .filter(members::organization_id.eq(organization.0))
            .filter(members::member_id.eq_any(among))
            .filter(members::state.eq(MembershipState::Active.as_str()))
            .count()
            .get_result(&mut self.connection())
            .await?)
    }

    /// How many members are ACTIVE.
    pub async fn active_members(&self, organization: OrganizationId) -> Result<i64, StorageError> {
        Ok(members::table
            .filter(members::organization_id.eq(organization.0))
            .filter(members::state.eq(MembershipState::Active.as_str()))
            .count()
            .get_result(&mut self.connection())
            .await?)
    }
}
