//! Who may do what, where callers are told apart: a matrix of every method and everybody, other tenants' ids in every field,
//! what is good for another caller, and rights that are withdrawn.

use std::collections::BTreeMap;

use rollcall_client::v1::{feed_service_client::FeedServiceClient, watch_response::Message, *};
use tonic::Streaming;

use crate::{
    fixtures::{Person, World, made_up_id},
    support::Channel,
};

mod bearers;
mod foreign;
mod impersonation;
mod matrix;
mod others;
mod proven;
mod reads;
mod repeated;
mod returning;
mod scope;
mod withdrawn;

/// The workload that may say for whom it acts.
const GATEWAY: &str = "gateway";

/// An organization with everything that a request can name, all of it of one app.
struct Tenant {
    /// What the `$NAMES` of the requests stand for.
    names: BTreeMap<&'static str, String>,
    member: Person,
    workspace_admin: Person,
    org_admin: Person,
    owner: Person,
    /// A subscription is as live as its stream.
    _streams: [Instance; 2],
}

/// An instance of an app, which has read its snapshot.
struct Instance {
    subscription: String,
    cursor: String,
    stream: Streaming<WatchResponse>,
}

/// Watches as an instance of an app, over a channel that may.
async fn instance(channel: Channel, app: &str, instance: &str) -> Instance {
    let request =
        WatchRequest { app: app.to_owned(), instance: instance.to_owned(), ..WatchRequest::default() };
    let mut stream = FeedServiceClient::new(channel).watch(request).await.expect("a stream").into_inner();
    let mut subscription = String::new();
    loop {
        let message = stream.message().await.expect("a message").expect("no end");
        match message.message.expect("something") {
            Message::Opened(opened) => subscription = opened.subscription_id,
            Message::SnapshotEnd(_) => return Instance { subscription, cursor: message.cursor, stream },
            _ => {}
        }
    }
}

/// Makes a tenant of an app; whatever has a name has this one in it.
async fn tenant(world: &World, app: &'static str, tag: &str) -> Tenant {
    let operator = world.operator();
    let named = |who: &str| format!("{who}.{tag}");
    let owner = world.account(&named("owner")).await;
    let made = operator.create_organization(&owner, app).await.expect("an organization");
    let org = crate::fixtures::Org {
        id: made.organization.expect("the organization").organization_id,
        general: made.workspace.expect("the workspace").workspace_id,
        owner: Person { account: owner.clone(), member: made.owner.expect("the owner").member_id },
    };
    let workspace = world.workspace(&org, app, "workspace").await;
    let in_both = [&workspace, &org.general];
    let place = async |who: &str, role, within| {
        let person = world.member_as(&org, &named(who), role).await;
        for workspace in in_both {
            world.put_in(&org, workspace, &person, within).await;
        }
        person
    };
    let (plain, head) = (WorkspaceRole::Member, WorkspaceRole::Admin);
    world.put_in(&org, &workspace, &org.owner, plain).await;
    let second = place("second", OrganizationRole::Owner, plain).await;
    let member = place("member", OrganizationRole::Member, plain).await;
    let workspace_admin = world.member_in(&org, &named("head"), &[&org.general]).await;
    world.put_in(&org, &workspace, &workspace_admin, head).await;
    let org_admin = place("admin", OrganizationRole::Admin, plain).await;
    let bob = place("bob", OrganizationRole::Member, plain).await;
    let absent = place("absent", OrganizationRole::Member, plain).await;
    operator.deactivate(&org, &absent).await.expect("deactivated");
    let halted = place("halted", OrganizationRole::Member, plain).await;
    operator.deactivate_in(&org, &workspace, &halted).await.expect("deactivated");
    let new = world.member(&org, &named("new")).await;
    // Somebody whom the owner knows from another organization.
    let elsewhere = operator.create_organization(&owner, app).await.expect("another organization");
    let elsewhere = crate::fixtures::Org {
        id: elsewhere.organization.expect("the organization").organization_id,
        general: elsewhere.workspace.expect("the workspace").workspace_id,
        owner: org.owner.clone(),
    };
    let known = world.member_in(&elsewhere, &named("known"), &[&elsewhere.general]).await;
    let invited = world.invite(&org, &named("invited"), &[&workspace]).await;
    let contract = operator.create_contract(None).await.expect("a contract").contract.expect("it");
    let erased = place("erased", OrganizationRole::Member, plain).await;
    operator.deactivate(&org, &erased).await.expect("deactivated");
    let receipt = operator.erase(&org, &erased).await.expect("erased").receipt;
    let token = operator.rename_organization(&org.id, &named("Engines")).await.expect("renamed").token;
    let as_app = world.server().channel().calling_as(app);
    let streams = [instance(as_app.clone(), app, "one").await, instance(as_app, app, "two").await];
    let position = world.last_position(&org).await;
    let sql = format!(
        "SELECT change_id::text, command_id::text FROM changes WHERE organization_id = '{}' AND position = {position}",
        org.id
    );
    let row = world.server().database().query_one(&sql, &[]).await.expect("the change");
    let names = [
        ("ORG", org.id.clone()),
        ("GENERAL", org.general.clone()),
        ("WORKSPACE", workspace),
        ("BOB", bob.member),
        ("BOB_ACCOUNT", bob.account),
        ("SECOND", second.member),
        ("ABSENT", absent.member),
        ("HALTED", halted.member),
        ("NEW", new.member),
        ("KNOWN", known.account),
        ("FRESH", world.account(&named("fresh")).await),
        ("INVITATION", invited.id),
        ("SECRET", invited.secret),
        ("CONTRACT", contract.contract_id),
        ("SUBSCRIPTION", streams[0].subscription.clone()),
        ("CURSOR", streams[0].cursor.clone()),
        ("CLOSING", streams[1].subscription.clone()),
        ("TOKEN", token),
        ("POSITION", position.to_string()),
        ("CHANGE", row.get(0)),
        ("COMMAND", row.get(1)),
        ("RECEIPT", receipt),
        ("NOTHING", made_up_id()),
    ];
    let names = BTreeMap::from(names);
    Tenant { names, member, workspace_admin, org_admin, owner: org.owner, _streams: streams }
}
