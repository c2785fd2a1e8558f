//! After an erasure the person is nowhere: planted in every place that can hold text, then looked for in every column of
//! every table, in what followers are told, in answers, and in the logs of the service and of Postgres. So for each way in
//! which somebody is erased.
//!
//! Each place is looked at before and after. Before, it must be found where it was planted: so it is known that the search
//! finds it. What is left afterwards is the confirmation that waits to be sent (R49). Part of the log has gone to the
//! history by then.

use std::{collections::BTreeMap, time::Duration};

use rollcall_client::v1::{
    account_service_client::AccountServiceClient, feed_service_client::FeedServiceClient,
    member_service_client::MemberServiceClient, watch_response::Message, *,
};
use tokio::time::Instant;
use tokio_postgres::Client;
use tonic::transport::Endpoint;

use crate::{
    fixtures::{Caller, Org, Person, World, by_email, made_up_id},
    server::soon,
    support::{Channel, Database, Replica, Server, postgres_log},
};

const EMAIL: &str = "q.marchbanks@example.com";
const SHOWN: &str = "Quillon Marchbanks";
const SHOWN_ELSEWHERE: &str = "Q. Marchbanks";
const SUBJECT: &str = "sub-marchbanks-7781";
/// A part of each of them.
const NEEDLE: &str = "marchbanks";
/// A part of what one organization alone knows.
const NAME: &str = "quillon";

/// What the person is in the other organization.
#[derive(Clone, Copy, PartialEq)]
enum Elsewhere {
    Nothing,
    Removed,
    Member,
}

/// Whether the person is ACTIVE when the erasure comes.
#[derive(Clone, Copy, PartialEq)]
enum Access {
    Kept,
    Cut,
}

/// A process of its own on the database of a world.
async fn beside(world: &World) -> (Replica, Channel) {
    let database = world.server().another_connection().await;
    let replica = Replica::start(&database.url, &["--log", "debug,rollcall=trace"]).await;
    let channel: Channel =
        Endpoint::from_shared(replica.endpoint()).expect("an endpoint").connect_lazy().into();
    (replica, channel)
}

/// Two replicas on one database: in this process, for what is not about the person, and as a process of its own with its
/// log, for what is.
struct Scene {
    world: World,
    replica: Replica,
    channel: Channel,
    org: Org,
    other: Org,
    person: Person,
    /// A cursor from before the person was there.
    cursor: String,
}

impl Scene {
    async fn begin(there: Elsewhere, access: Access) -> Self {
        let world = World::start().await;
        let (replica, channel) = beside(&world).await;
        let (org, other) = (world.organization("ada").await, world.organization("eve").await);
        let person = plant(&channel, &org).await;
        let mut scene = Self { world, replica, channel, org, other, person, cursor: String::new() };
        scene.plant_elsewhere(there).await;
        scene.trim().await;
        scene.cursor = told(&scene.channel, "", true).await.1;
        let caller = Caller::new(scene.channel.clone());
        caller.set_name(&scene.org, &scene.person, SHOWN).await.expect("a name");
        if access == Access::Kept {
            caller.reactivate(&scene.org, &scene.person).await.expect("reactivated, with a mail");
        }
        scene
    }

    /// The same on a backup from before, and its store, where time went on.
    async fn backed_up(self) -> (Database, Self) {
        let Self { world, mut replica, channel: _, org, other, person, cursor } = self;
        replica.kill().await;
        let (store, backup) = world.stop().await.copy().await;
        let world = World::resumed(Server::on(backup).await);
        let (replica, channel) = beside(&world).await;
        (store, Self { world, replica, channel, org, other, person, cursor })
    }

    /// Moves the log to the history, but for its end.
    async fn trim(&self) {
        let trim = "SELECT moved FROM trim_log('0', '0', '0', 10000)";
        let moved: i64 = self.database().query_one(trim, &[]).await.expect("trimmed").get(0);
        assert!(moved > 0);
        let member: uuid::Uuid = self.person.member.parse().expect("an id");
        let kept = "SELECT count(*) FROM history WHERE member_id = $1";
        let kept: i64 = self.database().query_one(kept, &[&member]).await.expect("a count").get(0);
        assert!(kept > 0, "the person is in the history");
    }

    fn database(&self) -> &Client {
        self.world.server().database()
    }

    /// What the person left elsewhere: a membership that ended, invitations, and mails that wait.
    async fn plant_elsewhere(&self, there: Elsewhere) {
        if there != Elsewhere::Nothing {
            let role = OrganizationRole::Member;
            let member = self.world.add_account(&self.other, &self.person.account, role).await;
            self.world.operator().set_name(&self.other, &member, SHOWN_ELSEWHERE).await.expect("a name");
            if there == Elsewhere::Removed {
                self.world.operator().remove(&self.other, &member).await.expect("removed");
            }
        }
        for org in [&self.org, &self.other] {
            let invite = "
                WITH invited AS (
                    INSERT INTO invitations (organization_id, invitation_id, email, email_key, role, state, generation,
                                             language, inviting_member_id, version, expire_time)
                    SELECT $1, gen_random_uuid(), a.email, a.email_key, 'MEMBER', 'PENDING', 1, 'en', $2, 1,
                           now() + interval '7 days'
                    FROM accounts a WHERE a.email = $3 RETURNING organization_id, invitation_id, email
                )
                INSERT INTO mails (mail_id, kind, recipient, language, organization_id, invitation_id,
                                   invitation_generation)
                SELECT gen_random_uuid(), 'INVITATION', email, 'en', organization_id, invitation_id, 1 FROM invited";
            let ids = [&org.id, &org.owner.member].map(|id| id.parse::<uuid::Uuid>().expect("an id"));
            self.database().execute(invite, &[&ids[0], &ids[1], &EMAIL]).await.expect("an invitation");
        }
    }

    /// Where what was planted is found, and how often.
    async fn found(&self) -> BTreeMap<String, i64> {
        let mut found = self.found_of(NEEDLE).await;
        let (account, member) = (&self.person.account, &self.person.member);
        for (place, profiles) in [("old cursor", false), ("old cursor, with profiles", true)] {
            let said = told(&self.channel, &self.cursor, profiles).await.0;
            let mentions = said.matches(account).count();
            found.insert(format!("{place}: account"), i64::try_from(mentions).expect("few"));
        }
        found.insert(
            "rows with account and member".to_owned(),
            linked(self.database(), account, member).await,
        );
        found.insert("account in lists".to_owned(), i64::from(self.answers().await.contains(account)));
        found.retain(|_, hits| *hits > 0);
        found
    }

    /// Where a text is found, and how often.
    async fn found_of(&self, needle: &str) -> BTreeMap<String, i64> {
        let mut found = columns(self.database(), needle).await;
        found.insert("snapshot".to_owned(), hits(needle, &told(&self.channel, "", true).await.0));
        for (place, profiles) in [("old cursor", false), ("old cursor, with profiles", true)] {
            let said = told(&self.channel, &self.cursor, profiles).await.0;
            assert!(said.contains(&self.person.member), "{place}: the member is told of");
            found.insert(place.to_owned(), hits(needle, &said));
        }
        found.insert("answers".to_owned(), hits(needle, &self.answers().await));
        // Nothing is planted in the logs. That they are looked into shows by what they say of the calls.
        let log = self.replica.log();
        assert!(log.contains("ListDepartures"), "the service writes down what it does");
        found.insert("the log of the service".to_owned(), hits(needle, &log));
        let postgres = postgres_log().await;
        assert!(postgres.contains("database system is ready"));
        found.insert("the log of Postgres".to_owned(), hits(needle, &postgres));
        found.retain(|_, hits| *hits > 0);
        found
    }

    /// What reads answer about the person.
    async fn answers(&self) -> String {
        let mut members = MemberServiceClient::new(self.channel.clone());
        let mut feed = FeedServiceClient::new(self.channel.clone());
        let (organization_id, member_id) = (self.org.id.clone(), self.person.member.clone());
        let mut said = String::new();
        let request = GetMemberRequest {
            organization_id: organization_id.clone(),
            member_id: member_id.clone(),
            ..Default::default()
        };
        said += &format!("{:?}", members.get_member(request).await);
        for org in [&self.org, &self.other] {
            let request = ListMembersRequest { organization_id: org.id.clone(), ..Default::default() };
            said += &format!("{:?}", members.list_members(request).await);
        }
        let request = BatchGetMembersRequest {
            organization_id: organization_id.clone(),
            member_ids: vec![member_id.clone()],
            ..Default::default()
        };
        said += &format!("{:?}", members.batch_get_members(request).await);
        let request = ListChangesRequest { organization_id: organization_id.clone(), ..Default::default() };
        said += &format!("{:?}", feed.list_changes(request).await);
        let request = ListDeparturesRequest { organization_id, ..Default::default() };
        said += &format!("{:?}", feed.list_departures(request).await);
        let found = AccountServiceClient::new(self.channel.clone()).lookup_account(by_email(EMAIL)).await;
        said + &found.map(|found| format!("{found:?}")).unwrap_or_default()
    }
}

/// An account with an external id, who is a member with a name, through the process.
async fn plant(channel: &Channel, org: &Org) -> Person {
    let id = ExternalId { issuer: "https://login.example.com".to_owned(), subject: SUBJECT.to_owned() };
    let request = CreateAccountRequest {
        email: EMAIL.to_owned(),
        external_ids: vec![id],
        request_id: made_up_id(),
        ..Default::default()
    };
    let made = AccountServiceClient::new(channel.clone()).create_account(request).await.expect("an account");
    let account = made.into_inner().account.expect("the account").account_id;
    let request = AddMemberRequest {
        organization_id: org.id.clone(),
        account_id: account.clone(),
        role: OrganizationRole::Member.into(),
        display_name: "Quillon, formerly Marchbanks".to_owned(),
        request_id: made_up_id(),
        ..Default::default()
    };
    let mut members = MemberServiceClient::new(channel.clone());
    let added = members.add_member(request).await.expect("a member").into_inner();
    let person = Person { account, member: added.member.expect("the member").member_id };
    let caller = Caller::new(channel.clone());
    caller.add_to(org, &org.general, &person, WorkspaceRole::Member).await.expect("in the workspace");
    let activity = Activity { organization_id: org.id.clone(), member_id: person.member.clone(), time: None };
    caller.report(vec![activity]).await.expect("active");
    caller.deactivate(org, &person).await.expect("deactivated, with a mail");
    person
}

/// Everything that a follower of `chat` is told up to its first bookmark, and its last cursor.
async fn told(channel: &Channel, cursor: &str, include_profiles: bool) -> (String, String) {
    let request = WatchRequest {
        app: "chat".to_owned(),
        cursor: cursor.to_owned(),
        include_profiles,
        ..Default::default()
    };
    let stream = FeedServiceClient::new(channel.clone()).watch(request).await;
    let mut stream = stream.expect("a stream").into_inner();
    let (mut said, mut cursor) = (String::new(), String::new());
    loop {
        let message = soon("a message", stream.message()).await.expect("a stream").expect("no end");
        said += &format!("{message:?}\n");
        if !message.cursor.is_empty() {
            cursor = message.cursor.clone();
        }
        if matches!(message.message, Some(Message::Bookmark(_))) {
            return (said, cursor);
        }
    }
}

/// How often it is there, in whatever case, also as the hexadecimal of bytes.
fn hits(needle: &str, text: &str) -> i64 {
    let text = text.to_lowercase();
    let digits: String = needle.bytes().map(|byte| format!("{byte:02x}")).collect();
    let numbers: Vec<String> = needle.bytes().map(|byte| byte.to_string()).collect();
    let found = [needle, &digits, &numbers.join(", ")].map(|form| text.matches(form).count());
    i64::try_from(found.iter().sum::<usize>()).expect("few")
}

/// In how many rows each column of each table has it.
async fn columns(database: &Client, needle: &str) -> BTreeMap<String, i64> {
    let query = "SELECT c.table_name::text, c.column_name::text, c.data_type::text
                 FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
                 WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'";
    let columns = database.query(query, &[]).await.expect("the columns");
    assert!(columns.len() > 150, "{} columns", columns.len());
    let mut found = BTreeMap::new();
    for row in columns {
        let (table, column, kind): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let text = match kind.as_str() {
            "bytea" => format!("encode({column}, 'escape')"),
            _ => format!("{column}::text"),
        };
        let query = format!("SELECT count(*) FROM {table} WHERE lower({text}) LIKE '%' || $1::text || '%'");
        let hits: i64 = database.query_one(&query, &[&needle]).await.expect("a count").get(0);
        found.insert(format!("{table}.{column}"), hits);
    }
    found
}

/// How many rows of the whole database link an account to a member.
async fn linked(database: &Client, account: &str, member: &str) -> i64 {
    let query = "SELECT table_name::text FROM information_schema.tables
                 WHERE table_schema = 'public' AND table_type = 'BASE TABLE'";
    let mut rows = 0;
    for table in database.query(query, &[]).await.expect("the tables") {
        let table: String = table.get(0);
        let query = format!(
            "SELECT count(*) FROM {table} t WHERE t::text LIKE '%' || $1::text || '%' AND t::text LIKE '%' || $2::text || '%'"
        );
        rows += database.query_one(&query, &[&account, &member]).await.expect("a count").get::<_, i64>(0);
    }
    rows
}

/// Where it must be found before, or the search would prove nothing.
const PLANTED: [&str; 15] = [
    "accounts.email",
    "accounts.email_key",
    "account_external_ids.subject",
    "profiles.display_name",
    "invitations.email",
    "invitations.email_key",
    "mails.recipient",
    "snapshot",
    "old cursor",
    "old cursor, with profiles",
    "old cursor: account",
    "old cursor, with profiles: account",
    "answers",
    "rows with account and member",
    "account in lists",
];

/// Where the name in one organization must be found before.
const NAMED: [&str; 4] = ["profiles.display_name", "snapshot", "old cursor, with profiles", "answers"];

fn report(name: &str, places: &[&str], before: &BTreeMap<String, i64>, after: &BTreeMap<String, i64>) {
    for (place, hits) in before {
        println!("{name}: {place}: {hits} before, {} after", after.get(place).unwrap_or(&0));
    }
    for place in places {
        assert!(before.contains_key(*place), "{name}: {place} was not found before: {before:?}");
    }
}

/// What is found in the end. A stream may be sent profiles as they were five seconds ago, and no longer.
async fn settled(
    wanted: &BTreeMap<String, i64>,
    find: impl AsyncFn() -> BTreeMap<String, i64>,
) -> BTreeMap<String, i64> {
    let until = Instant::now() + Duration::from_secs(6);
    loop {
        let found = find().await;
        let streamed = found.keys().any(|place| place.starts_with("old cursor"));
        if found == *wanted || !streamed || Instant::now() > until {
            return found;
        }
    }
}

/// Nothing but the confirmation is left, and once it is sent nothing at all.
async fn nothing_is_left(name: &str, scene: &Scene, before: BTreeMap<String, i64>) {
    let confirmation = BTreeMap::from([("mails.recipient".to_owned(), 1)]);
    let after = settled(&confirmation, async || scene.found().await).await;
    report(name, &PLANTED, &before, &after);
    assert_eq!(after, confirmation, "{name}");
    let sent = "DELETE FROM mails WHERE lower(recipient) = $1 AND member_id IS NULL AND account_id IS NULL
                RETURNING kind";
    let sent = scene.database().query(sent, &[&EMAIL]).await.expect("sent");
    let kinds: Vec<String> = sent.iter().map(|row| row.get(0)).collect();
    assert_eq!(kinds, ["ACCOUNT_DELETED"]);
    assert_eq!(scene.found().await, BTreeMap::new(), "{name}");
}

/// The name that one organization knew is nowhere, nor the address in what it invited.
async fn no_name_is_left(name: &str, scene: &Scene, before: BTreeMap<String, i64>) {
    let after = settled(&BTreeMap::new(), async || scene.found_of(NAME).await).await;
    report(name, &NAMED, &before, &after);
    assert_eq!(after, BTreeMap::new(), "{name}");
    let invited = "SELECT count(*) FROM invitations WHERE organization_id = $1 AND email IS NOT NULL";
    let org: uuid::Uuid = scene.org.id.parse().expect("an id");
    let left: i64 = scene.database().query_one(invited, &[&org]).await.expect("a count").get(0);
    assert_eq!(left, 0, "{name}");
}

fn acknowledged() -> DepartureTerms {
    DepartureTerms {
        leave_without_admin: true,
        acknowledge_account_deletion: true,
        acknowledge_organization_deletion: true,
        ..Default::default()
    }
}

#[tokio::test]
async fn r42_r43_after_an_erasure_the_person_is_nowhere() {
    let scene = Scene::begin(Elsewhere::Nothing, Access::Cut).await;
    let before = scene.found().await;
    let caller = Caller::new(scene.channel.clone());
    assert!(caller.erase(&scene.org, &scene.person).await.expect("erased").account_deleted);
    nothing_is_left("EraseMember", &scene, before).await;
}

#[tokio::test]
async fn r42_r43_after_an_erasure_the_person_is_only_elsewhere() {
    let scene = Scene::begin(Elsewhere::Member, Access::Cut).await;
    let before = scene.found_of(NAME).await;
    let caller = Caller::new(scene.channel.clone());
    assert!(!caller.erase(&scene.org, &scene.person).await.expect("erased").account_deleted);
    no_name_is_left("EraseMember, and the account stays", &scene, before).await;
    let (account, member) = (&scene.person.account, &scene.person.member);
    assert_eq!(linked(scene.database(), account, member).await, 0);
}

#[tokio::test]
async fn r45_after_the_deletion_of_an_account_the_person_is_nowhere() {
    let scene = Scene::begin(Elsewhere::Removed, Access::Cut).await;
    let before = scene.found().await;
    let caller = Caller::new(scene.channel.clone());
    caller.delete_account(&scene.person.account).await.expect("deleted");
    nothing_is_left("DeleteAccount", &scene, before).await;
}

#[tokio::test]
async fn r45_r60_after_the_deletion_with_the_organization_the_person_is_nowhere() {
    let scene = Scene::begin(Elsewhere::Removed, Access::Kept).await;
    let operator = scene.world.operator();
    operator.set_role(&scene.org, &scene.person, OrganizationRole::Owner).await.expect("an owner");
    let departure = DepartureTerms { leave_without_admin: true, ..Default::default() };
    operator.remove_with(&scene.org, &scene.org.owner, departure).await.expect("alone");
    let before = scene.found().await;
    let caller = Caller::new(scene.channel.clone()).acting(&scene.person.account);
    let message = DeleteAccountRequest {
        confirm: true,
        leave_without_admin: true,
        acknowledge_organization_deletion: true,
        ..Default::default()
    };
    caller.delete_account_as_asked(&scene.person.account, message).await.expect("deleted");
    nothing_is_left("DeleteAccount, and the organization ends", &scene, before).await;
}

#[tokio::test]
async fn r36_after_leaving_the_only_organization_the_person_is_nowhere() {
    let scene = Scene::begin(Elsewhere::Removed, Access::Kept).await;
    let before = scene.found().await;
    let caller = Caller::new(scene.channel.clone()).acting(&scene.person.account);
    caller.leave(&scene.org, true, acknowledged()).await.expect("left");
    nothing_is_left("LeaveOrganization", &scene, before).await;
}

#[tokio::test]
async fn r39_after_leaving_the_last_workspace_the_person_is_nowhere() {
    let scene = Scene::begin(Elsewhere::Nothing, Access::Kept).await;
    let before = scene.found().await;
    let caller = Caller::new(scene.channel.clone()).acting(&scene.person.account);
    let left = caller.leave_workspace(&scene.org, &scene.org.general, true, acknowledged()).await;
    left.expect("left");
    nothing_is_left("LeaveWorkspace", &scene, before).await;
}

#[tokio::test]
async fn r42_after_the_deletion_of_an_organization_its_names_are_nowhere() {
    let scene = Scene::begin(Elsewhere::Member, Access::Kept).await;
    let before = scene.found_of(NAME).await;
    let caller = Caller::new(scene.channel.clone());
    caller.delete_organization(&scene.org, true).await.expect("deleted");
    no_name_is_left("DeleteOrganization", &scene, before).await;
}

#[tokio::test]
async fn r42_what_a_backup_brought_back_is_nowhere_once_the_ledger_was_applied() {
    let (store, scene) = Scene::begin(Elsewhere::Removed, Access::Kept).await.backed_up().await;
    let world = World::resumed(Server::on(store).await);
    world.operator().delete_account(&scene.person.account).await.expect("deleted");
    let ledger = world.operator().erasures().await;
    let before = scene.found().await;
    let caller = Caller::new(scene.channel.clone());
    for entry in &ledger {
        caller.reapply(entry).await.expect("applied");
    }
    let after = settled(&BTreeMap::new(), async || scene.found().await).await;
    report("ReapplyErasure", &PLANTED, &before, &after);
    assert_eq!(after, BTreeMap::new(), "nobody is told again");
}
