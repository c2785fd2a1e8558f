//! Sends the commands of a sequence to the service, in a world of its own, and records what was answered, read and told.

use std::collections::BTreeMap;

use rollcall_client::v1::{
    account_service_client::AccountServiceClient, app_service_client::AppServiceClient,
    member_service_client::MemberServiceClient, organization_service_client::OrganizationServiceClient, *,
};
use tonic::{Code, Response, Status};

use super::{
    commands::{Command, Departure, ORGS, Org, PLACES, Place, SLOTS, Slot, Step, Terms, Way},
    names::Names,
    recording::{Answer, Planned, Recorded, Recording},
    state::name,
    told::Listener,
};
use crate::{
    fixtures::{made_up_id, mask, reason},
    support::Channel,
};

/// A world in the service.
pub(super) struct Driver {
    pub(super) channel: Channel,
    pub(super) names: Names,
    /// Makes the addresses of this world.
    tag: String,
    /// The departure that was planned last, who planned it, and the etag of the plan.
    planned: Option<(Option<Slot>, Departure, String)>,
}

/// Calls a method and takes what it answers.
macro_rules! call {
    ($self:ident, $client:ident, $method:ident, $message:expr) => {
        $client::new($self.channel.clone()).$method($message).await.map(Response::into_inner)
    };
}
pub(super) use call;

/// Runs the steps in a new world and records it.
pub(super) async fn record(channel: Channel, steps: &[Step]) -> Recording {
    let mut driver = Driver::start(channel).await;
    let apps = ["chat", "boards"];
    let mut listeners = Vec::new();
    for app in apps {
        listeners.push(Listener::open(driver.channel.clone(), app, &driver.names).await);
    }
    let mut recorded = Vec::new();
    for step in steps {
        let answer = driver.send(step).await;
        // What was refused has changed nothing, which the streams and the next look tell too.
        let looks = matches!(answer, Answer::Done) && !step.fills;
        let facts = if looks { Some(driver.read(step.command.may_end_accounts()).await) } else { None };
        recorded.push(Recorded { step: step.clone(), answer, facts });
    }
    let end = driver.read(true).await;
    driver.rename_fence().await;
    let mut told = BTreeMap::new();
    for (app, listener) in apps.into_iter().zip(listeners) {
        told.insert(app, listener.told(&driver.names).await);
    }
    Recording { steps: recorded, end, told }
}

/// Registers the apps of all worlds.
pub(super) async fn register_apps(channel: &Channel) {
    for app in ["chat", "boards"] {
        let request = RegisterAppRequest { app: app.to_owned(), ..Default::default() };
        AppServiceClient::new(channel.clone()).register_app(request).await.expect("an app");
    }
}

impl Driver {
    async fn start(channel: Channel) -> Self {
        let tag = uuid::Uuid::new_v4().simple().to_string();
        let mut driver = Self { channel, names: Names::default(), tag, planned: None };
        for slot in 0..SLOTS {
            let id = driver.register(slot).await.expect("an account");
            driver.names.account(slot, id);
        }
        for org in 0..ORGS {
            let first = PLACES.iter().position(|place| place.0 == org).expect("a workspace");
            let made = driver.found(org, PLACES[first].1).await;
            let id = made.organization.expect("the organization").organization_id;
            driver.names.organizations.push(id.clone());
            driver.names.place(first, made.workspace.expect("the workspace").workspace_id);
            driver.names.member(org, org, made.owner.expect("the owner").member_id);
            for (place, (of, app)) in PLACES.iter().enumerate().skip(first + 1) {
                if *of == org {
                    let workspace = driver.workspace(&id, app, place).await;
                    driver.names.place(place, workspace);
                }
            }
        }
        // An organization in the scope of every app: renaming it tells a listener that it has heard everything.
        let fence = driver.found_fence().await;
        driver.workspace(&fence, "boards", 9).await;
        driver.names.fence = fence;
        let request = CreateContractRequest { display_name: "Group".to_owned(), ..Default::default() };
        let made = call!(driver, OrganizationServiceClient, create_contract, request).expect("a contract");
        driver.names.contract = made.contract.expect("the contract").contract_id;
        driver
    }

    /// The address of a person, whichever their account is.
    pub(super) fn email(&self, slot: Slot) -> String {
        format!("{}.{slot}@example.com", self.tag)
    }

    async fn register(&self, slot: Slot) -> Result<String, Status> {
        let request = CreateAccountRequest { email: self.email(slot), ..Default::default() };
        let made = call!(self, AccountServiceClient, create_account, request)?;
        Ok(made.account.expect("the account").account_id)
    }

    async fn found(&self, owner: Slot, app: &str) -> CreateOrganizationResponse {
        self.found_by(self.names.newest_account(owner), &name(owner), app).await
    }

    /// By somebody who is nobody in the sequence.
    async fn found_fence(&self) -> String {
        let email = format!("{}.fence@example.com", self.tag);
        let request = CreateAccountRequest { email, ..Default::default() };
        let made = call!(self, AccountServiceClient, create_account, request).expect("an account");
        let account = made.account.expect("the account").account_id;
        let founded = self.found_by(account, "the fence", "chat").await;
        founded.organization.expect("the organization").organization_id
    }

    async fn found_by(&self, account: String, shown: &str, app: &str) -> CreateOrganizationResponse {
        let workspace = FirstWorkspace { app: app.to_owned(), display_name: "first".to_owned() };
        let request = CreateOrganizationRequest {
            display_name: "Engines".to_owned(),
            owner_account_id: account,
            first_workspace: Some(workspace),
            owner_display_name: shown.to_owned(),
            ..Default::default()
        };
        call!(self, OrganizationServiceClient, create_organization, request).expect("an organization")
    }

    async fn workspace(&self, organization: &str, app: &str, number: usize) -> String {
        let request = CreateWorkspaceRequest {
            organization_id: organization.to_owned(),
            app: app.to_owned(),
            display_name: format!("place {number}"),
            ..Default::default()
        };
        let made = call!(self, OrganizationServiceClient, create_workspace, request).expect("a workspace");
        made.workspace.expect("the workspace").workspace_id
    }

    async fn rename_fence(&self) {
        let organization = Organization {
            organization_id: self.names.fence.clone(),
            display_name: "the end".to_owned(),
            ..Default::default()
        };
        self.update(organization, "display_name", String::new()).await.expect("a new name");
    }

    async fn update(&self, organization: Organization, path: &str, acting: String) -> Result<(), Status> {
        let request = UpdateOrganizationRequest {
            organization: Some(organization),
            update_mask: mask(&[path]),
            acting_account_id: acting,
            ..Default::default()
        };
        call!(self, OrganizationServiceClient, update_organization, request).map(drop)
    }

    async fn set(
        &self,
        org: Org,
        settings: OrganizationSettings,
        path: &str,
        acting: String,
    ) -> Result<(), Status> {
        let organization = Organization {
            organization_id: self.names.organizations[org].clone(),
            settings: Some(settings),
            ..Default::default()
        };
        self.update(organization, &format!("settings.{path}"), acting).await
    }

    /// The newest member of the person; else their invitation, which may become one; else nobody's id.
    fn member(&self, org: Org, slot: Slot) -> String {
        let invited = || self.names.newest_invitation(org, slot).map(|(id, _)| id);
        self.names.newest_member(org, slot).or_else(invited).unwrap_or_else(made_up_id)
    }

    fn acting(&self, actor: Option<Slot>) -> String {
        actor.map(|slot| self.names.newest_account(slot)).unwrap_or_default()
    }

    async fn send(&mut self, step: &Step) -> Answer {
        let acting = self.acting(step.actor);
        let sent = match &step.command {
            Command::Plan(departure) => return self.plan(step.actor, departure).await,
            Command::Carry => {
                let Some((actor, departure, etag)) = self.planned.take() else { return Answer::Skipped };
                let acting = self.acting(actor);
                self.depart(&departure, &etag, acting).await
            }
            Command::Depart(departure) => self.depart(departure, "", acting).await,
            command => match self.ask(command, &acting).await {
                Some(sent) => sent,
                None => self.command(command, acting).await,
            },
        };
        match sent {
            Ok(()) => Answer::Done,
            Err(status) => refused(&status),
        }
    }

    async fn command(&mut self, command: &Command, acting_account_id: String) -> Result<(), Status> {
        match command {
            Command::Register { slot } => {
                let id = self.register(*slot).await?;
                self.names.account(*slot, id);
                Ok(())
            }
            Command::Add { org, slot, role } => {
                let request = AddMemberRequest {
                    organization_id: self.names.organizations[*org].clone(),
                    account_id: self.names.newest_account(*slot),
                    role: (*role).into(),
                    display_name: name(*slot),
                    acting_account_id,
                    ..Default::default()
                };
                let made = call!(self, MemberServiceClient, add_member, request)?;
                self.names.member(*org, *slot, made.member.expect("the member").member_id);
                Ok(())
            }
            Command::SetRole { org, slot, role } => {
                let member = Member { role: (*role).into(), ..Default::default() };
                self.change(*org, *slot, member, "role", acting_account_id).await
            }
            Command::SetLeaving { org, slot, leaving } => {
                let member = Member { leaving: *leaving, ..Default::default() };
                self.change(*org, *slot, member, "leaving", acting_account_id).await
            }
            Command::Reactivate { org, slot, restore, places } => {
                let request = ReactivateMemberRequest {
                    organization_id: self.names.organizations[*org].clone(),
                    member_id: self.member(*org, *slot),
                    restore: (*restore).into(),
                    workspace_ids: places.iter().map(|place| self.names.places[place].clone()).collect(),
                    acting_account_id,
                    ..Default::default()
                };
                call!(self, MemberServiceClient, reactivate_member, request).map(drop)
            }
            Command::AddIn { place, slot, role } => {
                let request = AddWorkspaceMemberRequest {
                    organization_id: self.names.organization_of(*place),
                    workspace_id: self.names.places[place].clone(),
                    member_id: self.member(PLACES[*place].0, *slot),
                    role: (*role).into(),
                    acting_account_id,
                    ..Default::default()
                };
                call!(self, MemberServiceClient, add_workspace_member, request).map(drop)
            }
            Command::SetRoleIn { place, slot, role, terms } => {
                let membership = WorkspaceMember {
                    organization_id: self.names.organization_of(*place),
                    workspace_id: self.names.places[place].clone(),
                    member_id: self.member(PLACES[*place].0, *slot),
                    role: (*role).into(),
                    ..Default::default()
                };
                let request = UpdateWorkspaceMemberRequest {
                    workspace_member: Some(membership),
                    update_mask: mask(&["role"]),
                    successor_member_id: terms
                        .successor
                        .map(|slot| self.member(PLACES[*place].0, slot))
                        .unwrap_or_default(),
                    leave_without_admin: terms.leave_without_admin,
                    acting_account_id,
                    ..Default::default()
                };
                call!(self, MemberServiceClient, update_workspace_member, request).map(drop)
            }
            Command::ReactivateIn { place, slot } => {
                let request = ReactivateWorkspaceMemberRequest {
                    organization_id: self.names.organization_of(*place),
                    workspace_id: self.names.places[place].clone(),
                    member_id: self.member(PLACES[*place].0, *slot),
                    acting_account_id,
                    ..Default::default()
                };
                call!(self, MemberServiceClient, reactivate_workspace_member, request).map(drop)
            }
            Command::DeleteAccount { slot, terms } => {
                let request = DeleteAccountRequest {
                    account_id: self.names.newest_account(*slot),
                    confirm: terms.confirm,
                    leave_without_admin: terms.leave_without_admin,
                    acknowledge_organization_deletion: terms.organization_deletion,
                    acting_account_id,
                    ..Default::default()
                };
                call!(self, AccountServiceClient, delete_account, request).map(drop)
            }
            Command::DeleteWorkspace { place } => {
                let request = DeleteWorkspaceRequest {
                    organization_id: self.names.organization_of(*place),
                    workspace_id: self.names.places[place].clone(),
                    acting_account_id,
                    ..Default::default()
                };
                call!(self, OrganizationServiceClient, delete_workspace, request).map(drop)
            }
            Command::DeleteOrganization { org, confirm } => {
                let request = DeleteOrganizationRequest {
                    organization_id: self.names.organizations[*org].clone(),
                    confirm: *confirm,
                    acting_account_id,
                    ..Default::default()
                };
                call!(self, OrganizationServiceClient, delete_organization, request).map(drop)
            }
            Command::AllowLeaving { org, allowed } => {
                let settings = OrganizationSettings { self_deactivation: *allowed, ..Default::default() };
                self.set(*org, settings, "self_deactivation", acting_account_id).await
            }
            Command::LimitSeats { org, limit } => {
                let settings = OrganizationSettings { seat_limit: *limit, ..Default::default() };
                self.set(*org, settings, "seat_limit", acting_account_id).await
            }
            Command::LimitContract { limit } => {
                let contract = Contract {
                    contract_id: self.names.contract.clone(),
                    seat_limit: *limit,
                    ..Default::default()
                };
                let request = UpdateContractRequest {
                    contract: Some(contract),
                    update_mask: mask(&["seat_limit"]),
                    ..Default::default()
                };
                call!(self, OrganizationServiceClient, update_contract, request).map(drop)
            }
            Command::JoinContract { org, join } => {
                let organization = Organization {
                    organization_id: self.names.organizations[*org].clone(),
                    contract_id: if *join { self.names.contract.clone() } else { String::new() },
                    ..Default::default()
                };
                self.update(organization, "contract_id", acting_account_id).await
            }
            other => unreachable!("{other:?} is sent by another function"),
        }
    }

    async fn change(
        &self,
        org: Org,
        slot: Slot,
        member: Member,
        path: &str,
        acting_account_id: String,
    ) -> Result<(), Status> {
        let member = Member {
            organization_id: self.names.organizations[org].clone(),
            member_id: self.member(org, slot),
            ..member
        };
        let request = UpdateMemberRequest {
            member: Some(member),
            update_mask: mask(&[path]),
            acting_account_id,
            ..Default::default()
        };
        call!(self, MemberServiceClient, update_member, request).map(drop)
    }

    /// What is decided beforehand. For an erasure that is who takes over, and nothing else.
    fn terms(&self, org: Org, way: Way, terms: Terms, etag: &str) -> Option<DepartureTerms> {
        let erases = way == Way::Erase;
        let terms = if erases { Terms { handover: terms.handover, ..Terms::default() } } else { terms };
        let member = |slot: Option<Slot>| slot.map(|slot| self.member(org, slot)).unwrap_or_default();
        Some(DepartureTerms {
            owner_successor_member_id: member(terms.owner_successor),
            successor_member_id: member(terms.successor),
            leave_without_admin: terms.leave_without_admin,
            handover_to_member_id: member(terms.handover),
            acknowledge_account_deletion: terms.account_deletion,
            acknowledge_organization_deletion: terms.organization_deletion,
            exceed_limit: !erases,
            plan_etag: etag.to_owned(),
            ..Default::default()
        })
    }

    async fn plan(&mut self, actor: Option<Slot>, departure: &Departure) -> Answer {
        let Departure { org, slot, way, terms } = *departure;
        let kind = match way {
            Way::Deactivate | Way::Leave => DepartureKind::Deactivate,
            Way::Remove => DepartureKind::Remove,
            Way::Erase => DepartureKind::Erase,
            Way::DeactivateIn(_) | Way::LeaveIn(_) => DepartureKind::DeactivateInWorkspace,
            Way::RemoveFrom(_) => DepartureKind::RemoveFromWorkspace,
        };
        let request = PlanDepartureRequest {
            organization_id: self.names.organizations[org].clone(),
            member_id: self.member(org, slot),
            kind: kind.into(),
            workspace_id: way.place().map(|place| self.place(place)).unwrap_or_default(),
            departure: self.terms(org, way, terms, ""),
            assignments: assignments(way, terms).into(),
            acting_account_id: self.acting(actor),
            ..Default::default()
        };
        match call!(self, MemberServiceClient, plan_departure, request) {
            Ok(answer) => {
                let plan = answer.plan.expect("the plan");
                self.planned = Some((actor, departure.clone(), plan.etag.clone()));
                Answer::Planned(self.planned(plan))
            }
            Err(status) => {
                self.planned = None;
                refused(&status)
            }
        }
    }

    fn planned(&self, plan: DeparturePlan) -> Planned {
        let subjects = plan.effects.iter().filter_map(|effect| effect.subject.as_ref());
        Planned {
            effects: subjects.map(|subject| self.names.fact(subject)).collect(),
            blockers: plan.blockers.into_iter().map(|blocker| blocker.reason).collect(),
            seats_freed: plan.seats_freed,
            account_deleted: plan.account_deleted,
            organization_deleted: plan.organization_deleted,
        }
    }

    fn place(&self, place: Place) -> String {
        self.names.places[&place].clone()
    }

    async fn depart(
        &self,
        departure: &Departure,
        etag: &str,
        acting_account_id: String,
    ) -> Result<(), Status> {
        let Departure { org, slot, way, terms } = *departure;
        let organization_id = self.names.organizations[org].clone();
        let member_id = self.member(org, slot);
        let departure = self.terms(org, way, terms, etag);
        // What all the ways have in common, and what each has beside it.
        macro_rules! depart {
            ($method:ident, $request:ident, $($field:ident),+) => {{
                let request = $request {
                    organization_id,
                    acting_account_id,
                    departure,
                    $($field,)+
                    ..Default::default()
                };
                call!(self, MemberServiceClient, $method, request).map(drop)
            }};
        }
        let confirm = terms.confirm;
        match way {
            Way::Deactivate => depart!(deactivate_member, DeactivateMemberRequest, member_id),
            Way::Remove => depart!(remove_member, RemoveMemberRequest, member_id),
            Way::Erase => {
                let assignments = assignments(way, terms).into();
                depart!(erase_member, EraseMemberRequest, member_id, confirm, assignments)
            }
            Way::DeactivateIn(place) => {
                let workspace_id = self.place(place);
                depart!(
                    deactivate_workspace_member,
                    DeactivateWorkspaceMemberRequest,
                    member_id,
                    workspace_id
                )
            }
            Way::RemoveFrom(place) => {
                let workspace_id = self.place(place);
                depart!(remove_workspace_member, RemoveWorkspaceMemberRequest, member_id, workspace_id)
            }
            Way::Leave => depart!(leave_organization, LeaveOrganizationRequest, confirm),
            Way::LeaveIn(place) => {
                let workspace_id = self.place(place);
                depart!(leave_workspace, LeaveWorkspaceRequest, workspace_id, confirm)
            }
        }
    }
}

/// What becomes of what is assigned: it goes to whoever takes over, if anybody does.
fn assignments(way: Way, terms: Terms) -> Assignments {
    match (way, terms.handover) {
        (Way::Erase, Some(_)) => Assignments::HandOver,
        _ => Assignments::Unspecified,
    }
}

/// A refusal, whose code and details are looked at here: they are as `errors.proto` says.
fn refused(status: &Status) -> Answer {
    let reason = reason(status);
    let declared = &crate::fixtures::declared_reasons()[&reason].code;
    let code = code_name(status.code());
    assert_eq!(code, *declared, "{status:?}");
    Answer::Refused(reason)
}

/// The name of a code, as in the documentation of gRPC.
fn code_name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}
