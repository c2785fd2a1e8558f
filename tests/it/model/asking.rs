//! Sends the commands about invitations.

use rollcall_client::v1::{invitation_service_client::InvitationServiceClient, *};
use tonic::{Response, Status};

use super::{
    commands::{Command, Org, Place, Slot},
    driver::{Driver, call},
};

impl Driver {
    /// Sends it, if it is one of these.
    pub(super) async fn ask(&mut self, command: &Command, acting: &str) -> Option<Result<(), Status>> {
        Some(match command {
            Command::Invite { org, slot, role, places } => {
                self.invite((*org, *slot), *role, places, acting).await
            }
            Command::Accept { org, slot } => self.accept((*org, *slot), acting).await,
            Command::Decline { org, slot } => {
                let request = DeclineInvitationRequest {
                    secret: self.secret(*org, *slot),
                    acting_account_id: acting.to_owned(),
                    ..Default::default()
                };
                call!(self, InvitationServiceClient, decline_invitation, request).map(drop)
            }
            Command::Revoke { org, slot, place } => {
                let request = RevokeInvitationRequest {
                    organization_id: self.names.organizations[*org].clone(),
                    invitation_id: self.invitation(*org, *slot),
                    workspace_id: place.map(|place| self.names.places[&place].clone()).unwrap_or_default(),
                    acting_account_id: acting.to_owned(),
                    ..Default::default()
                };
                call!(self, InvitationServiceClient, revoke_invitation, request).map(drop)
            }
            _ => return None,
        })
    }

    fn invitation(&self, org: Org, slot: Slot) -> String {
        self.names.newest_invitation(org, slot).map_or_else(crate::fixtures::made_up_id, |(id, _)| id)
    }

    fn secret(&self, org: Org, slot: Slot) -> String {
        self.names.newest_invitation(org, slot).map_or_else(|| "made up".to_owned(), |(_, secret)| secret)
    }

    async fn invite(
        &mut self,
        (org, slot): (Org, Slot),
        role: OrganizationRole,
        places: &[Place],
        acting: &str,
    ) -> Result<(), Status> {
        let workspace = |place: &Place| InvitationWorkspace {
            workspace_id: self.names.places[place].clone(),
            role: WorkspaceRole::Member.into(),
            ..Default::default()
        };
        let request = CreateInvitationRequest {
            organization_id: self.names.organizations[org].clone(),
            email: self.email(slot),
            role: role.into(),
            workspaces: places.iter().map(workspace).collect(),
            acting_account_id: acting.to_owned(),
            ..Default::default()
        };
        let made = call!(self, InvitationServiceClient, create_invitation, request)?;
        let id = made.invitation.expect("the invitation").invitation_id;
        self.names.invitation(org, slot, id, made.secret);
        Ok(())
    }

    async fn accept(&mut self, (org, slot): (Org, Slot), acting: &str) -> Result<(), Status> {
        let request = AcceptInvitationRequest {
            secret: self.secret(org, slot),
            acting_account_id: acting.to_owned(),
            display_name: super::state::name(slot),
            ..Default::default()
        };
        let made = call!(self, InvitationServiceClient, accept_invitation, request)?;
        self.names.member(org, slot, made.member.expect("the member").member_id);
        Ok(())
    }
}
