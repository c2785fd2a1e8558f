//! Reading a world back: every list, every account, every member by id.

use futures_util::future::join_all;
use rollcall_client::v1::{
    account_service_client::AccountServiceClient, member_service_client::MemberServiceClient,
    organization_service_client::OrganizationServiceClient, *,
};
use tonic::Response;

use super::{
    commands::{ORGS, Org},
    driver::{Driver, call},
    state::{Facts, member_in_words, seat_in_words, word},
};

/// As many as a page may have: more than a world has.
const ALL: i32 = 1_000;

impl Driver {
    /// What is true now, as the service answers it; of the accounts only if asked.
    pub(super) async fn read(&self, accounts: bool) -> Facts {
        let organizations = join_all((0..ORGS).map(|org| self.read_organization(org)));
        let asked = self.names.accounts.iter().filter(|_| accounts);
        let accounts = asked.flat_map(|(slot, ids)| {
            ids.iter().enumerate().map(move |(number, id)| self.read_account(format!("{slot}.{number}"), id))
        });
        let (organizations, accounts, contract) =
            tokio::join!(organizations, join_all(accounts), self.read_contract());
        organizations.into_iter().flatten().chain(accounts).chain([contract]).collect()
    }

    async fn read_organization(&self, org: Org) -> Facts {
        let organization_id = &self.names.organizations[org];
        let (found, members, rendered, workspaces) = tokio::join!(
            async {
                let request =
                    GetOrganizationRequest { organization_id: organization_id.clone(), ..Default::default() };
                call!(self, OrganizationServiceClient, get_organization, request)
            },
            async {
                let request = ListMembersRequest {
                    organization_id: organization_id.clone(),
                    page_size: ALL,
                    include_invited: true,
                    ..Default::default()
                };
                call!(self, MemberServiceClient, list_members, request)
            },
            async {
                let request = BatchGetMembersRequest {
                    organization_id: organization_id.clone(),
                    member_ids: self.names.members_of(org),
                    ..Default::default()
                };
                call!(self, MemberServiceClient, batch_get_members, request)
            },
            async {
                let request = ListWorkspacesRequest {
                    organization_id: organization_id.clone(),
                    page_size: ALL,
                    ..Default::default()
                };
                call!(self, OrganizationServiceClient, list_workspaces, request)
            },
        );
        let mut facts = Facts::new();
        let found = found.expect("the organization").organization.expect("it");
        let (state, seats) = (word(found.state().as_str_name()), found.seats_used.unwrap_or(-1));
        facts.insert(format!("organization {org}"), format!("{state} seats {seats}"));
        for member in members.expect("the members").members {
            let fact = if member.state() == MemberState::Invited {
                let role = word(member.role().as_str_name()).to_owned();
                (format!("invited {}", self.names.invited(&member.member_id)), role)
            } else {
                let words = member_in_words(member.state(), member.role(), member.leaving);
                (format!("listed {}", self.names.who(&member.member_id)), words)
            };
            facts.extend([fact]);
        }
        for member in rendered.expect("the members").members {
            let how = member.rendering().as_str_name().trim_start_matches("RENDERING_").to_owned();
            let words = format!("{} {how} {:?}", word(member.state().as_str_name()), member.display_name);
            facts.insert(format!("rendered {}", self.names.who(&member.member_id)), words);
        }
        let workspaces = workspaces.expect("the workspaces").workspaces;
        let within = workspaces.iter().map(|workspace| self.read_workspace(workspace));
        for (workspace, within) in workspaces.iter().zip(join_all(within).await) {
            facts.insert(
                format!("workspace {}", self.names.which(&workspace.workspace_id)),
                "listed".to_owned(),
            );
            facts.extend(within);
        }
        facts
    }

    async fn read_workspace(&self, workspace: &Workspace) -> Facts {
        let request = ListWorkspaceMembersRequest {
            organization_id: workspace.organization_id.clone(),
            workspace_id: workspace.workspace_id.clone(),
            page_size: ALL,
            include_invited: true,
            ..Default::default()
        };
        let found = call!(self, MemberServiceClient, list_workspace_members, request);
        let which = self.names.which(&workspace.workspace_id);
        let seats = found.expect("the memberships").workspace_members.into_iter().map(|seat| {
            if seat.state() == WorkspaceMemberState::Invited {
                let who = self.names.invited(&seat.member_id);
                return (format!("invited in {which}: {who}"), word(seat.role().as_str_name()).to_owned());
            }
            let who = self.names.who(&seat.member_id);
            (format!("listed in {which}: {who}"), seat_in_words(seat.state(), seat.role()))
        });
        seats.collect()
    }

    async fn read_account(&self, which: String, id: &str) -> (String, String) {
        let request = GetAccountRequest { account_id: id.to_owned(), ..Default::default() };
        let found = call!(self, AccountServiceClient, get_account, request).expect("the account");
        let state = found.account.expect("it").state();
        (format!("account {which}"), word(state.as_str_name()).to_owned())
    }

    async fn read_contract(&self) -> (String, String) {
        let request = GetContractRequest { contract_id: self.names.contract.clone(), ..Default::default() };
        let found = call!(self, OrganizationServiceClient, get_contract, request).expect("the contract");
        let seats = found.contract.expect("it").seats_used.unwrap_or(-1);
        ("contract".to_owned(), format!("seats {seats}"))
    }
}
