//! `rollcall contract`: what organizations share their seats by. Only a workload as itself writes them, so there is no
//! `--acting`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use rollcall_client::v1;

use super::{
    output::{Format, Printer, row},
    run,
    service::{Bound, CommandError, ReadArgs, call, print_pages, request_id},
};

const EXAMPLES: &str = "\
Who is active in several organizations of a contract takes one seat of it.

Examples:
  rollcall contract create \"Engines group\" --seat-limit 500
  rollcall organization update ORGANIZATION --contract ID
  rollcall contract update ID --seat-limit none";

/// Arguments of `contract`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ContractArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Create a contract
    Create(CreateArgs),
    /// Print a contract, with how many seats are in use
    Get(GetArgs),
    /// List the contracts
    List(ListArgs),
    /// Change the name or the seats of a contract
    Update(UpdateArgs),
    /// Delete a contract that no organization shares
    Delete(GetArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// The name
    name: String,
    /// How many accounts may be active in its organizations [default: as many as wish]
    #[arg(long, value_name = "NUMBER")]
    seat_limit: Option<i64>,
    #[command(flatten)]
    read: ReadArgs,
}

#[derive(Debug, Args)]
struct GetArgs {
    /// The contract
    contract: String,
    #[command(flatten)]
    read: ReadArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    read: ReadArgs,
}

#[derive(Debug, Args)]
struct UpdateArgs {
    /// The contract
    contract: String,
    /// The new name
    #[arg(long)]
    name: Option<String>,
    /// How many accounts may be active in its organizations, or none: as many as wish
    #[arg(long, value_name = "NUMBER|none")]
    seat_limit: Option<Bound>,
    #[command(flatten)]
    read: ReadArgs,
}

row! {
    /// A contract.
    ContractRow {
        contract_id: String,
        display_name: String,
        seats_used: Option<i64>,
        seat_limit: Option<i64>,
        version: i64,
    }
}

fn row(contract: v1::Contract) -> ContractRow {
    ContractRow {
        contract_id: contract.contract_id,
        display_name: contract.display_name,
        seats_used: contract.seats_used,
        seat_limit: contract.seat_limit,
        version: contract.version,
    }
}

fn print(format: Format, contract: Option<v1::Contract>) -> Result<(), CommandError> {
    let contract = contract.ok_or(CommandError::Incomplete("contract"))?;
    Printer::new(format).print(&[row(contract)])?;
    Ok(())
}

pub(super) fn run(args: ContractArgs) -> ExitCode {
    match args.what {
        What::Create(args) => run::to_end("contract create", create(args)),
        What::Get(args) => run::to_end("contract get", get(args)),
        What::List(args) => run::to_end("contract list", list(args)),
        What::Update(args) => run::to_end("contract update", update(args)),
        What::Delete(args) => run::to_end("contract delete", delete(args)),
    }
}

async fn create(args: CreateArgs) -> Result<(), CommandError> {
    let service = args.read.open()?;
    let request = v1::CreateContractRequest {
        display_name: args.name,
        seat_limit: args.seat_limit,
        request_id: request_id(),
        ..Default::default()
    };
    print(service.format, call!(service.client, organizations.create_contract, request)?.contract)
}

async fn get(args: GetArgs) -> Result<(), CommandError> {
    let service = args.read.open()?;
    let request = v1::GetContractRequest { contract_id: args.contract, ..Default::default() };
    print(service.format, call!(service.client, organizations.get_contract, request)?.contract)
}

async fn list(args: ListArgs) -> Result<(), CommandError> {
    let service = args.read.open()?;
    let request = v1::ListContractsRequest::default();
    print_pages!(service.client, organizations.list_contracts, contracts, request, service.format, row)
}

async fn update(args: UpdateArgs) -> Result<(), CommandError> {
    let service = args.read.open()?;
    let given = [("display_name", args.name.is_some()), ("seat_limit", args.seat_limit.is_some())];
    let paths = given.iter().filter(|(_, given)| *given).map(|(path, _)| (*path).to_owned()).collect();
    let contract = v1::Contract {
        contract_id: args.contract,
        display_name: args.name.unwrap_or_default(),
        seat_limit: args.seat_limit.and_then(|bound| bound.0),
        ..Default::default()
    };
    let request = v1::UpdateContractRequest {
        contract: Some(contract),
        update_mask: Some(prost_types::FieldMask { paths }),
        request_id: request_id(),
        ..Default::default()
    };
    print(service.format, call!(service.client, organizations.update_contract, request)?.contract)
}

async fn delete(args: GetArgs) -> Result<(), CommandError> {
    let service = args.read.open()?;
    let request = v1::DeleteContractRequest {
        contract_id: args.contract,
        request_id: request_id(),
        ..Default::default()
    };
    call!(service.client, organizations.delete_contract, request)?;
    Ok(())
}
