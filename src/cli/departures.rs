//! `rollcall departures`: who left an organization, when and by whom, and what each app did.

use std::{collections::HashMap, process::ExitCode};

use clap::Args;
use prost_types::Timestamp;
use rollcall_client::{Client, retry, v1};
use serde::Serialize;

use super::{
    EndpointArgs,
    history::HistoryError,
    lists::patience,
    output::{Format, OutputArgs, Printer, Row},
    run,
    service::ActingArgs,
    times,
    watch::json::{reason_word, short},
};

/// Departures that are asked for at once at most, and names.
const PAGE: i32 = 1_000;
const NAMES: usize = 1_000;

const EXAMPLES: &str = "\
Lists who lost access to an organization by being deactivated, removed or erased, the newest
first: when, why, by whom, whether a seat became free with it, and for each app that knows the
member how many of its instances have applied it, as in `chat 2/2`, or `chat 1/2, 1 lapsed`: one
fell silent before it had applied it, so it answers nothing, and has not come back. The names are
those that content is shown under now: this is personal data. In CSV a cell that a spreadsheet
would take for a formula begins with an apostrophe.

Examples:
  rollcall departures --organization ID
  rollcall departures --organization ID --since 2026-01-01 --until 2026-04-01 --csv > quarter.csv
  rollcall departures --organization ID -o json";

/// Arguments of `departures`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DeparturesArgs {
    #[command(flatten)]
    endpoint: EndpointArgs,
    /// The organization
    #[arg(long, value_name = "ID")]
    organization: String,
    /// Only departures at this time or later: RFC 3339, or a date, whose midnight in UTC is meant
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    since: Option<Timestamp>,
    /// Only departures before this time
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    until: Option<Timestamp>,
    /// The same as `--output csv`
    #[arg(long, conflicts_with = "output")]
    csv: bool,
    #[command(flatten)]
    acting: ActingArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: DeparturesArgs) -> ExitCode {
    run::to_end("departures", print(args))
}

async fn print(args: DeparturesArgs) -> Result<(), HistoryError> {
    let DeparturesArgs { endpoint, organization, since, until, csv, acting, output } = args;
    let client = endpoint.connect()?;
    let mut printer = Printer::new(if csv { Format::Csv } else { output.output });
    let mut request = v1::ListDeparturesRequest {
        organization_id: organization,
        start_time: since,
        end_time: until,
        page_size: PAGE,
        acting_account_id: acting.account(),
        ..Default::default()
    };
    loop {
        let call = async || client.feed().list_departures(request.clone()).await;
        let page = retry(&patience(), call).await?;
        let names = names(&client, &request, &page.departures).await?;
        let rows: Vec<DepartureRow<'_>> =
            page.departures.iter().map(|departure| DepartureRow::of(departure, &names)).collect();
        if !printer.print(&rows)? || page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

/// How everybody who is named in departures is rendered, by member id.
async fn names(
    client: &Client,
    list: &v1::ListDeparturesRequest,
    departures: &[v1::Departure],
) -> Result<HashMap<String, v1::RenderedMember>, HistoryError> {
    let mut ids: Vec<&String> = departures
        .iter()
        .flat_map(|one| [&one.member_id, &one.acting_member_id, &one.handover_to_member_id])
        .filter(|id| !id.is_empty())
        .collect();
    ids.sort();
    ids.dedup();
    let mut names = HashMap::new();
    for ids in ids.chunks(NAMES) {
        let request = v1::BatchGetMembersRequest {
            organization_id: list.organization_id.clone(),
            member_ids: ids.iter().map(|id| (*id).clone()).collect(),
            acting_account_id: list.acting_account_id.clone(),
            ..Default::default()
        };
        let call = async || client.members().batch_get_members(request.clone()).await;
        let found = retry(&patience(), call).await?;
        names.extend(found.members.into_iter().map(|member| (member.member_id.clone(), member)));
    }
    Ok(names)
}

/// A departure.
#[derive(Serialize)]
struct DepartureRow<'a> {
    depart_time: Option<String>,
    member_id: &'a str,
    name: &'a str,
    rendering: &'static str,
    reason: &'static str,
    command_id: &'a str,
    caller: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    acting_member_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    acting_name: &'a str,
    seats_freed: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    handover_to_member_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    handover_to_name: &'a str,
    apps: Vec<InApp<'a>>,
}

#[derive(Serialize)]
struct InApp<'a> {
    app: &'a str,
    instances: i32,
    applied_instances: i32,
    lapsed_instances: i32,
}

impl InApp<'_> {
    /// In a cell.
    fn words(&self) -> String {
        let Self { app, instances, applied_instances, lapsed_instances } = self;
        let counted = format!("{app} {applied_instances}/{instances}");
        if *lapsed_instances > 0 { format!("{counted}, {lapsed_instances} lapsed") } else { counted }
    }
}

impl<'a> DepartureRow<'a> {
    fn of(departure: &'a v1::Departure, names: &'a HashMap<String, v1::RenderedMember>) -> Self {
        let name = |id: &str| names.get(id).map(|member| member.display_name.as_str()).unwrap_or_default();
        let rendering =
            names.get(&departure.member_id).map(v1::RenderedMember::rendering).unwrap_or_default();
        Self {
            depart_time: departure.depart_time.as_ref().and_then(times::rfc3339),
            member_id: &departure.member_id,
            name: name(&departure.member_id),
            rendering: short(rendering.as_str_name(), "RENDERING_"),
            reason: reason_word(departure.reason()),
            command_id: &departure.command_id,
            caller: &departure.caller,
            acting_member_id: &departure.acting_member_id,
            acting_name: name(&departure.acting_member_id),
            seats_freed: departure.seats_freed,
            handover_to_member_id: &departure.handover_to_member_id,
            handover_to_name: name(&departure.handover_to_member_id),
            apps: departure
                .apps
                .iter()
                .map(|one| InApp {
                    app: &one.app,
                    instances: one.instances,
                    applied_instances: one.applied_instances,
                    lapsed_instances: one.lapsed_instances,
                })
                .collect(),
        }
    }
}

impl Row for DepartureRow<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "depart_time",
        "member_id",
        "name",
        "rendering",
        "reason",
        "caller",
        "acting_member_id",
        "acting_name",
        "seats_freed",
        "handover_to_name",
        "apps",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.depart_time.clone().unwrap_or_default(),
            self.member_id.to_owned(),
            self.name.to_owned(),
            self.rendering.to_owned(),
            self.reason.to_owned(),
            self.caller.to_owned(),
            self.acting_member_id.to_owned(),
            self.acting_name.to_owned(),
            self.seats_freed.to_string(),
            self.handover_to_name.to_owned(),
            self.apps.iter().map(InApp::words).collect::<Vec<_>>().join("; "),
        ]
    }
}
