//! What is decided before somebody leaves, as options.

use clap::Args;
use rollcall_client::v1;

use crate::cli::service::parse_pair;

/// The decisions.
#[derive(Debug, Args)]
pub(super) struct TermsArgs {
    /// Who becomes owner where the last one leaves
    #[arg(long, value_name = "MEMBER")]
    owner_successor: Option<String>,
    /// Who becomes admin of every workspace that would be left without one
    #[arg(long, value_name = "MEMBER")]
    successor: Option<String>,
    /// Who becomes admin of this workspace; may be repeated
    #[arg(long = "workspace-successor", value_name = "WORKSPACE=MEMBER", value_parser = parse_pair)]
    workspace_successors: Vec<(String, String)>,
    /// Accept that workspaces are left without an active admin
    #[arg(long)]
    leave_without_admin: bool,
    /// Who takes over what is assigned to the member
    #[arg(long, value_name = "MEMBER")]
    hand_over_to: Option<String>,
    /// Accept that the account is deleted with the only organization that the person belongs to
    #[arg(long)]
    acknowledge_account_deletion: bool,
    /// Accept that the organization is deleted with its only remaining member
    #[arg(long)]
    acknowledge_organization_deletion: bool,
    /// Accept that the person acted for ends more memberships within an hour than is usual
    #[arg(long)]
    exceed_limit: bool,
}

impl TermsArgs {
    pub(super) fn into_terms(self) -> v1::DepartureTerms {
        let successors = self
            .workspace_successors
            .into_iter()
            .map(|(workspace_id, member_id)| v1::WorkspaceSuccessor { workspace_id, member_id });
        v1::DepartureTerms {
            owner_successor_member_id: self.owner_successor.unwrap_or_default(),
            workspace_successors: successors.collect(),
            successor_member_id: self.successor.unwrap_or_default(),
            leave_without_admin: self.leave_without_admin,
            handover_to_member_id: self.hand_over_to.unwrap_or_default(),
            acknowledge_account_deletion: self.acknowledge_account_deletion,
            acknowledge_organization_deletion: self.acknowledge_organization_deletion,
            exceed_limit: self.exceed_limit,
            plan_etag: String::new(),
        }
    }
}
