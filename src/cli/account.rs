//! `rollcall account`: the persons.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use rollcall_client::v1;

use super::{
    confirm::{ConfirmArgs, Unasked},
    enforced::{AwaitArgs, Enforced},
    output::{Format, Printer, row},
    run,
    service::{ActArgs, CommandError, call, parse_pair, request_id},
    watch::json::short,
};

const EXAMPLES: &str = "\
What is printed of an account is personal data: the address and the external ids.

Examples:
  rollcall account create ada@example.com --external-id https://login.example.com=8f14e45f
  rollcall account lookup --email ada@example.com -o json
  rollcall account delete ACCOUNT --acting ACCOUNT --yes --await 20";

/// Arguments of `account`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AccountArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Create an account
    Create(CreateArgs),
    /// Print an account
    Get(GetArgs),
    /// Find the account of an address or an external id, and print it
    Lookup(LookupArgs),
    /// Change the address, the language or the external ids of an account
    Update(UpdateArgs),
    /// Delete an account and everything of it, in every organization, for good
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// The e-mail address
    email: String,
    /// The id under which an identity provider knows the person; may be repeated
    #[arg(long = "external-id", value_name = "ISSUER=SUBJECT", value_parser = parse_external_id)]
    external_ids: Vec<v1::ExternalId>,
    /// The language of mail to the person: en or de
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<String>,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct GetArgs {
    /// The account
    account: String,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct LookupArgs {
    /// The e-mail address
    #[arg(long, value_name = "ADDRESS", required_unless_present = "external_id")]
    email: Option<String>,
    /// The id under which an identity provider knows the person
    #[arg(long, value_name = "ISSUER=SUBJECT", conflicts_with = "email", value_parser = parse_external_id)]
    external_id: Option<v1::ExternalId>,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct UpdateArgs {
    /// The account
    account: String,
    /// The new e-mail address
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// The new language of mail to the person: en or de
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<String>,
    /// An external id that takes the place of those there are; may be repeated
    #[arg(long = "external-id", value_name = "ISSUER=SUBJECT", value_parser = parse_external_id)]
    external_ids: Vec<v1::ExternalId>,
    /// Leave the account without any external id
    #[arg(long, conflicts_with = "external_ids")]
    no_external_ids: bool,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct DeleteArgs {
    /// The account
    account: String,
    /// Accept that workspaces are left without an active admin
    #[arg(long)]
    leave_without_admin: bool,
    /// Accept that organizations end to which nobody else belongs
    #[arg(long)]
    acknowledge_organization_deletion: bool,
    #[command(flatten)]
    wait: AwaitArgs,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    act: ActArgs,
}

row! {
    /// An account.
    AccountRow {
        account_id: String,
        email: String,
        state: &'static str,
        language: String,
        external_ids: Vec<String>,
        version: i64,
    }
}

row! {
    /// What is left of a deleted account.
    DeletedRow { account_id: String, state: &'static str, receipt: String, enforcement: Option<Enforced> }
}

pub(super) fn parse_external_id(text: &str) -> Result<v1::ExternalId, String> {
    let (issuer, subject) = parse_pair(text)?;
    Ok(v1::ExternalId { issuer, subject })
}

fn print(format: Format, account: Option<v1::Account>) -> Result<(), CommandError> {
    let account = account.ok_or(CommandError::Incomplete("account"))?;
    let state = short(account.state().as_str_name(), "ACCOUNT_STATE_");
    let row = AccountRow {
        state,
        account_id: account.account_id,
        email: account.email,
        language: account.language,
        external_ids: account.external_ids.iter().map(|id| format!("{}={}", id.issuer, id.subject)).collect(),
        version: account.version,
    };
    Printer::new(format).print(&[row])?;
    Ok(())
}

pub(super) fn run(args: AccountArgs) -> ExitCode {
    match args.what {
        What::Create(args) => run::to_end("account create", create(args)),
        What::Get(args) => run::to_end("account get", get(args)),
        What::Lookup(args) => run::to_end("account lookup", lookup(args)),
        What::Update(args) => run::to_end("account update", update(args)),
        What::Delete(args) => run::to_end("account delete", delete(args)),
    }
}

async fn create(args: CreateArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    let request = v1::CreateAccountRequest {
        email: args.email,
        external_ids: args.external_ids,
        language: args.language.unwrap_or_default(),
        acting_account_id: service.acting,
        request_id: request_id(),
        ..Default::default()
    };
    print(service.format, call!(service.client, accounts.create_account, request)?.account)
}

async fn get(args: GetArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    let request = v1::GetAccountRequest {
        account_id: args.account,
        acting_account_id: service.acting,
        ..Default::default()
    };
    print(service.format, call!(service.client, accounts.get_account, request)?.account)
}

async fn lookup(args: LookupArgs) -> Result<(), CommandError> {
    use v1::lookup_account_request::Key;
    let service = args.act.open()?;
    let key = args.email.map(Key::Email).or(args.external_id.map(Key::ExternalId));
    let request = v1::LookupAccountRequest { key, acting_account_id: service.acting, ..Default::default() };
    print(service.format, call!(service.client, accounts.lookup_account, request)?.account)
}

async fn update(args: UpdateArgs) -> Result<(), CommandError> {
    let service = args.act.open()?;
    let mut paths = Vec::new();
    if args.email.is_some() {
        paths.push("email".to_owned());
    }
    if args.language.is_some() {
        paths.push("language".to_owned());
    }
    if args.no_external_ids || !args.external_ids.is_empty() {
        paths.push("external_ids".to_owned());
    }
    let account = v1::Account {
        account_id: args.account,
        email: args.email.unwrap_or_default(),
        language: args.language.unwrap_or_default(),
        external_ids: args.external_ids,
        ..Default::default()
    };
    let request = v1::UpdateAccountRequest {
        account: Some(account),
        update_mask: Some(prost_types::FieldMask { paths }),
        acting_account_id: service.acting,
        request_id: request_id(),
        ..Default::default()
    };
    print(service.format, call!(service.client, accounts.update_account, request)?.account)
}

async fn delete(args: DeleteArgs) -> Result<ExitCode, CommandError> {
    let service = args.act.open()?;
    let shown = format!(
        "Account {} is deleted, with everything that is known of the person in every organization, for good. \
         Content stays, and nobody can tell whose it was.",
        args.account
    );
    args.confirm.confirm(&shown, Unasked::Refused)?;
    let request = v1::DeleteAccountRequest {
        account_id: args.account,
        confirm: true,
        leave_without_admin: args.leave_without_admin,
        acknowledge_organization_deletion: args.acknowledge_organization_deletion,
        acting_account_id: service.acting,
        request_id: request_id(),
        validate_only: false,
        await_enforcement: args.wait.wanted(),
    };
    let answer = call!(service.client, accounts.delete_account, request)?;
    let account = answer.account.ok_or(CommandError::Incomplete("account"))?;
    let state = short(account.state().as_str_name(), "ACCOUNT_STATE_");
    let row = DeletedRow {
        account_id: account.account_id,
        state,
        receipt: answer.receipt,
        enforcement: args.wait.told(answer.enforcement),
    };
    Printer::new(service.format).print(std::slice::from_ref(&row))?;
    Ok(Enforced::end(row.enforcement.as_ref(), "account delete", service.format))
}
