//! What FeedService answers about the past: changes, what a member was, and who left.

use chrono::{DateTime, Utc};
use tonic::{Request, Status};
use uuid::Uuid;

use super::{Services, authz, convert, page::Asked, parse, status};
use crate::{
    proto::{
        ChangeOrder, ErrorReason, GetMembershipAtRequest, GetMembershipAtResponse, ListChangesRequest,
        ListChangesResponse, ListDeparturesRequest, ListDeparturesResponse, get_membership_at_request::At,
    },
    rules::ids::{MemberId, OrganizationId},
    storage::{Between, DepartureKey, DepartureRow, HistoryFilter, HistoryPage, Past, Reach, When},
};

/// Reasons that a filter may name: more than there are.
const MAX_REASONS: usize = 100;

impl Services {
    pub(super) async fn changes_page(
        &self,
        request: Request<ListChangesRequest>,
    ) -> Result<ListChangesResponse, Status> {
        let message = request.get_ref();
        let reach = authz::reach(&request, &message.acting_account_id)?;
        let filter = history_filter(message, &reach)?;
        let newest_first = match ChangeOrder::try_from(message.order) {
            Ok(ChangeOrder::Unspecified | ChangeOrder::NewestFirst) => true,
            Ok(ChangeOrder::OldestFirst) => false,
            Err(_) => return Err(status::invalid_field("order", "must be an order")),
        };
        // The token says nothing of the filter, which it only fits: another one would answer with another list.
        let list = format!("{filter:?} {newest_first}");
        let page =
            self.page(&request, &reach, (message.page_size, &message.page_token), &["changes", &list])?;
        let between = page.after.as_deref().map(between_of).transpose()?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        self.reached(&reach, authz::organization(filter.organization)).await?;
        self.read_organization(filter.organization).await?;
        let database = self.engine.database();
        let between = match between {
            Some(between) => between,
            None if filter.start.is_none() && filter.end.is_none() => Between::ALL,
            // Looked up once for a list: what bounds it then is in its page tokens.
            None => {
                let found = database.history_bounds(filter.organization, filter.start, filter.end).await;
                found.map_err(status::storage)?.unwrap_or(Between { after: 0, before: 0 })
            }
        };
        let read = database.history(&filter, newest_first, between, page.limit()).await;
        let HistoryPage { mut rows, floor, looked_until } = read.map_err(status::storage)?;
        let key = |position: i64| match newest_first {
            true => format!("{}/{position}", between.after),
            false => format!("{position}/{}", between.before),
        };
        let mut next_page_token = self.next_page(&page, &mut rows, |row| key(row.position));
        if let (true, Some(position)) = (next_page_token.is_empty(), looked_until) {
            next_page_token = self.page_after(&page, &key(position));
        }
        let changes = rows.into_iter().map(convert::history_change).collect();
        Ok(ListChangesResponse { changes, next_page_token, trimmed_position: floor })
    }

    pub(super) async fn membership_at(
        &self,
        request: Request<GetMembershipAtRequest>,
    ) -> Result<GetMembershipAtResponse, Status> {
        let message = request.get_ref();
        let organization: OrganizationId = parse::required("organization_id", &message.organization_id)?;
        let member: MemberId = parse::required("member_id", &message.member_id)?;
        let (field, when) = match message.at {
            Some(At::Position(position)) if position < 1 => {
                return Err(status::invalid_field("position", "must be 1 or more"));
            }
            Some(At::Position(position)) => ("position", When::Position(position)),
            Some(At::Time(time)) => {
                ("time", When::Time(parse::present("time", parse::time("time", Some(time))?)?))
            }
            None => return Err(status::invalid_field("position", "must be given, or a time")),
        };
        let reach = authz::reach(&request, &message.acting_account_id)?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        self.reached(&reach, authz::organization(organization)).await?;
        let past = self.engine.database().member_at(organization, member, when, reach.app.as_ref()).await;
        let mut was = match past.map_err(status::storage)? {
            Past::Was(was) => was.into_iter(),
            Past::Ahead { head } => {
                return Err(status::invalid_field(
                    field,
                    format!("must not be ahead of the log, which ends at {head}"),
                ));
            }
            Past::Trimmed { floor } => return Err(status::history_trimmed(floor)),
        };
        // The member comes first. Without one there is nothing that a membership could be of.
        let Some(first) = was.next().filter(|row| row.workspace_id.is_none()) else {
            self.read_organization(organization).await?;
            return Err(status::not_found(ErrorReason::MemberNotFound, "member", member));
        };
        Ok(GetMembershipAtResponse {
            member: Some(convert::member_at(organization, member, first)),
            workspace_members: was
                .map(|row| convert::workspace_member_at(organization, member, row))
                .collect(),
        })
    }

    pub(super) async fn departures_page(
        &self,
        request: Request<ListDeparturesRequest>,
    ) -> Result<ListDeparturesResponse, Status> {
        let message = request.get_ref();
        let organization: OrganizationId = parse::required("organization_id", &message.organization_id)?;
        let range = parse::time_range(message.start_time, message.end_time)?;
        let list = format!("{organization} {range:?}");
        let reach = authz::reach(&request, &message.acting_account_id)?;
        let asked = (message.page_size, message.page_token.as_str());
        let page = self.page(&request, &reach, asked, &["departures", &list])?;
        let after = page.after.as_deref().map(departure_key).transpose()?;
        self.fresh(request.extensions(), &message.at_least_as_fresh).await?;
        self.reached(&reach, authz::organization(organization)).await?;
        self.read_organization(organization).await?;
        let app = reach.app.as_ref();
        let rows = self.engine.database().departures(organization, app, range, after, page.limit()).await;
        let mut rows = rows.map_err(status::storage)?;
        let next_page_token = self.next_page(&page, &mut rows, departure_text);
        let departures = rows.into_iter().map(convert::departure).collect();
        Ok(ListDeparturesResponse { departures, next_page_token })
    }
}

fn history_filter(message: &ListChangesRequest, reach: &Reach) -> Result<HistoryFilter, Status> {
    if message.reasons.len() > MAX_REASONS {
        return Err(status::invalid_field("reasons", format!("must be at most {MAX_REASONS}")));
    }
    let reasons = message.reasons.iter().map(|reason| parse::change_reason("reasons", *reason));
    let (start, end) = parse::time_range(message.start_time, message.end_time)?;
    Ok(HistoryFilter {
        organization: parse::required("organization_id", &message.organization_id)?,
        member: parse::optional("member_id", &message.member_id)?,
        acting_member: parse::optional("acting_member_id", &message.acting_member_id)?,
        workspace: parse::optional("workspace_id", &message.workspace_id)?,
        reasons: reasons.collect::<Result<_, _>>()?,
        start,
        end,
        app: reach.app.clone(),
    })
}

/// Where a page of changes begins, and where the list ends.
fn between_of(key: &str) -> Result<Between, Status> {
    let parsed = key.split_once('/').and_then(|(after, before)| {
        Some(Between { after: after.parse().ok()?, before: before.parse().ok()? })
    });
    parsed.ok_or_else(Asked::invalid)
}

fn departure_text(row: &DepartureRow) -> String {
    format!("{}/{}/{}", row.depart_time.timestamp_micros(), row.command_id, row.member_id)
}

fn departure_key(key: &str) -> Result<DepartureKey, Status> {
    let mut parts = key.split('/');
    let mut parse = || {
        Some(DepartureKey {
            depart_time: DateTime::<Utc>::from_timestamp_micros(parts.next()?.parse().ok()?)?,
            command_id: Uuid::parse_str(parts.next()?).ok()?,
            member_id: Uuid::parse_str(parts.next()?).ok()?,
        })
    };
    parse().ok_or_else(Asked::invalid)
}
