//! A build whose statements do not ask for an organization: between the service and Postgres each `organization_id = $n` of
//! a statement that reads is made a condition that is always true. Nothing of another organization is told all the same.
//! The same statements in the name of a superuser, whom no policy holds, tell: so the test would notice.

use std::collections::{BTreeMap, BTreeSet};

use prost::{
    bytes::{Buf, BufMut},
    encoding::{DecodeContext, WireType, skip_field},
};
use prost_reflect::DynamicMessage;
use tonic::{Code, Request};

use crate::{
    fixtures::{
        Org, Person, World,
        requests::{assignment, methods, send, set},
    },
    support::{Database, Server, Statements, superuser},
};

/// Every method that reads something of one organization, with its own ids and with those of another one. `$FOREIGN...`
/// are things of the other organization: under the own one there are none.
const ASKS: [&str; 23] = [
    "OrganizationService/GetOrganization",
    "OrganizationService/GetWorkspace workspace_id=$GENERAL",
    "OrganizationService/GetWorkspace workspace_id=$FOREIGN_GENERAL",
    "OrganizationService/ListWorkspaces",
    "MemberService/GetMember member_id=$MEMBER",
    "MemberService/GetMember member_id=$FOREIGN_MEMBER",
    "MemberService/BatchGetMembers member_ids[]=$MEMBER",
    "MemberService/BatchGetMembers member_ids[]=$FOREIGN_MEMBER",
    "MemberService/ListMembers",
    "MemberService/ListMembers include_invited=true",
    "MemberService/GetWorkspaceMember workspace_id=$GENERAL member_id=$MEMBER",
    "MemberService/GetWorkspaceMember workspace_id=$FOREIGN_GENERAL member_id=$FOREIGN_MEMBER",
    "MemberService/ListWorkspaceMembers workspace_id=$GENERAL include_invited=true",
    "MemberService/ListWorkspaceMembers workspace_id=$FOREIGN_GENERAL",
    "MemberService/PlanDeparture member_id=$MEMBER kind=DEACTIVATE",
    "MemberService/PlanDeparture member_id=$FOREIGN_MEMBER kind=DEACTIVATE",
    "InvitationService/GetInvitation invitation_id=$INVITATION",
    "InvitationService/GetInvitation invitation_id=$FOREIGN_INVITATION",
    "InvitationService/ListInvitations",
    "FeedService/ListChanges",
    "FeedService/GetMembershipAt member_id=$MEMBER position=$POSITION",
    "FeedService/GetMembershipAt member_id=$FOREIGN_MEMBER position=$POSITION",
    "FeedService/ListDepartures",
];

/// Methods with an `organization_id` that read, as their names say.
const READS: [&str; 4] = ["Get", "List", "BatchGet", "Plan"];

/// An operator's list of the whole store, of which the organization is a filter: no policy holds the audit.
const OF_ALL: &str = "AuditService/ListAuditEntries";

/// What an answer says, as bytes: all its texts are in it.
#[derive(Debug, Default, Clone, PartialEq)]
struct Told(Vec<Vec<u8>>);

impl prost::Message for Told {
    fn encode_raw(&self, _: &mut impl BufMut) {}

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        if wire_type != WireType::LengthDelimited {
            return skip_field(wire_type, tag, buffer, context);
        }
        let mut field = Vec::new();
        prost::encoding::bytes::merge(wire_type, &mut field, buffer, context)?;
        self.0.push(field);
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        0
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

impl Told {
    /// Which of some texts are in it.
    fn tells<'a>(&self, texts: &'a BTreeSet<String>) -> Vec<&'a str> {
        let has = |text: &str| {
            self.0.iter().any(|field| field.windows(text.len()).any(|part| part == text.as_bytes()))
        };
        texts.iter().map(String::as_str).filter(|text| has(text)).collect()
    }
}

/// A statement that reads, without what keeps it to one organization.
fn without_where(sql: &str) -> String {
    let reads = ["SELECT", "WITH"].iter().any(|word| sql.trim_start().starts_with(word));
    let column = "organization_id";
    let (mut made, mut rest) = (String::new(), sql);
    while let Some(at) = rest.find(column).filter(|_| reads) {
        let (before, behind) = (&rest[..at], &rest[at + column.len()..]);
        let value = behind.strip_prefix('"').unwrap_or(behind).strip_prefix(" = $");
        let digits = value.map_or(0, |value| value.bytes().take_while(u8::is_ascii_digit).count());
        match value.filter(|_| digits > 0) {
            None => {
                made += &rest[..at + column.len()];
                rest = behind;
            }
            Some(value) => {
                let of_table = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '"');
                made += before.trim_end_matches(of_table);
                made += &format!("(${}::uuid IS NOT NULL)", &value[..digits]);
                rest = &value[digits..];
            }
        }
    }
    made + rest
}

#[test]
fn a_statement_loses_what_keeps_it_to_an_organization_and_nothing_else() {
    for (sql, without) in [
        (
            r#"SELECT "m"."x" FROM "m" WHERE (("m"."organization_id" = $1) AND ("m"."id" = $2))"#,
            r#"SELECT "m"."x" FROM "m" WHERE ((($1::uuid IS NOT NULL)) AND ("m"."id" = $2))"#,
        ),
        ("SELECT m.organization_id FROM m", "SELECT m.organization_id FROM m"),
        ("SELECT 1 WHERE a.organization_id = $12 AND b", "SELECT 1 WHERE ($12::uuid IS NOT NULL) AND b"),
        (
            "SELECT 1 WHERE a.organization_id = b.organization_id",
            "SELECT 1 WHERE a.organization_id = b.organization_id",
        ),
        ("UPDATE r SET organization_id = $5", "UPDATE r SET organization_id = $5"),
    ] {
        assert_eq!(without_where(sql), without);
    }
}

/// Two organizations, each with somebody in a workspace, somebody who left, and an invitation.
struct Scene {
    names: BTreeMap<&'static str, String>,
    /// Ids, names and addresses of everything that is not of the first organization.
    foreign: BTreeSet<String>,
    own: Org,
    stranger: Person,
    database: Database,
}

impl Scene {
    async fn begin() -> Self {
        let world = World::start().await;
        let mut made = Vec::new();
        // The other one first: what is asked for without a clause meets it first.
        for name in ["bea", "ada"] {
            let org = world.organization(name).await;
            let member = world.member_in(&org, &format!("{name}-member"), &[&org.general]).await;
            let operator = world.operator();
            operator.rename_organization(&org.id, &format!("{name}-organization")).await.expect("named");
            operator.set_name(&org, &member, &format!("{name}-shown")).await.expect("named");
            let gone = world.member_in(&org, &format!("{name}-gone"), &[&org.general]).await;
            operator.deactivate(&org, &gone).await.expect("deactivated");
            let invited = world.invite(&org, &format!("{name}-invited"), &[&org.general]).await;
            made.push((org, member, invited.id));
        }
        let (own, member, invitation) = made.pop().expect("the own one");
        let (other, stranger, foreign_invitation) = made.pop().expect("the other one");
        let database = world.stop().await;
        let head = database.client.query_one("SELECT position FROM log_head", &[]).await.expect("a head");
        let names = BTreeMap::from([
            ("GENERAL", own.general.clone()),
            ("FOREIGN_GENERAL", other.general.clone()),
            ("MEMBER", member.member.clone()),
            ("FOREIGN_MEMBER", stranger.member.clone()),
            ("INVITATION", invitation),
            ("FOREIGN_INVITATION", foreign_invitation),
            ("POSITION", head.get::<_, i64>(0).to_string()),
        ]);
        let foreign = foreign(&database, &own.id).await;
        Self { names, foreign, own, stranger, database }
    }

    /// What is foreign and not said by who asks.
    fn foreign_to(&self, ask: &str) -> BTreeSet<String> {
        let asked = |text: &String| self.names.iter().any(|(name, id)| id == text && ask.ends_with(name));
        self.foreign.iter().filter(|text| !asked(text)).cloned().collect()
    }

    /// What each of the [`ASKS`] is answered by a service on this database.
    async fn answers(&self, database: Database) -> Vec<(&'static str, Result<Told, Code>)> {
        let server = Server::on(database).await;
        let methods = methods();
        let mut answers = Vec::new();
        for ask in ASKS {
            let mut words = ask.split_whitespace();
            let method = &methods[words.next().expect("a method")];
            let mut message = DynamicMessage::new(method.input());
            set(&mut message, "organization_id", &self.own.id);
            for word in words {
                let (path, value) = assignment(word, &self.names);
                set(&mut message, &path, &value);
            }
            let answer = send::<Told>(&server.channel(), method, Request::new(message)).await;
            answers.push((ask, answer.map_err(|status| status.code())));
        }
        server.stop().await;
        answers
    }
}

/// What would tell of anything that is not of an organization.
async fn foreign(database: &Database, own: &str) -> BTreeSet<String> {
    let query = "
        SELECT organization_id::text FROM organizations WHERE organization_id <> $1::text::uuid
        UNION SELECT display_name FROM organizations WHERE organization_id <> $1::text::uuid
        UNION SELECT workspace_id::text FROM workspaces WHERE organization_id <> $1::text::uuid
        UNION SELECT member_id::text FROM members WHERE organization_id <> $1::text::uuid
        UNION SELECT account_id::text FROM members WHERE organization_id <> $1::text::uuid
        UNION SELECT display_name FROM profiles WHERE organization_id <> $1::text::uuid AND display_name <> ''
        UNION SELECT invitation_id::text FROM invitations WHERE organization_id <> $1::text::uuid
        UNION SELECT email FROM invitations WHERE organization_id <> $1::text::uuid
        UNION SELECT command_id::text FROM changes WHERE organization_id <> $1::text::uuid
        UNION SELECT change_id::text FROM changes WHERE organization_id <> $1::text::uuid
        UNION SELECT email FROM accounts a WHERE NOT EXISTS (
            SELECT FROM members m WHERE m.account_id = a.account_id AND m.organization_id = $1::text::uuid)";
    let rows = database.client.query(query, &[&own]).await.expect("what is foreign");
    let own_name = "SELECT display_name FROM organizations WHERE organization_id = $1::text::uuid";
    let own_name: String = database.client.query_one(own_name, &[&own]).await.expect("a name").get(0);
    let mut texts: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    texts.remove(&own_name);
    texts
}

#[test]
fn every_read_of_one_organization_is_asked() {
    let reads: BTreeSet<String> = methods()
        .into_iter()
        .filter(|(_, method)| {
            let named = READS.iter().any(|word| method.name().starts_with(word));
            named && method.input().get_field_by_name("organization_id").is_some()
        })
        .map(|(name, _)| name)
        .filter(|name| name != OF_ALL)
        .collect();
    let asked: BTreeSet<String> =
        ASKS.iter().map(|ask| ask.split_whitespace().next().expect("a method").to_owned()).collect();
    assert_eq!(asked, reads);
}

#[tokio::test]
async fn without_its_where_clauses_the_service_tells_nothing_of_another_organization() {
    let scene = Scene::begin().await;
    assert!(scene.foreign.len() > 20, "{:?}", scene.foreign);
    let right = scene.answers(scene.database.another().await).await;
    let proxy = Statements::before(&scene.database.url, without_where);
    let held = scene.answers(Database::at(&proxy.url()).await).await;
    for ((ask, right), (_, held)) in right.iter().zip(&held) {
        // Of several ids each is answered: this one is of nobody.
        let nothing = ask.contains("$FOREIGN") && !ask.contains("BatchGet");
        assert_eq!(right.is_err(), nothing, "{ask}: {right:?}");
        if let Ok(told) = right {
            assert_eq!(told.tells(&scene.foreign_to(ask)), Vec::<&str>::new(), "{ask}: also with the clause");
        }
        // Not only nothing more: what is of the organization is told as ever.
        assert_eq!(held, right, "{ask}");
    }
    // The proxy bites: whom no policy holds tells of others, whatever is asked.
    let leaks = scene.answers(Database::at(&superuser(&proxy.url())).await).await;
    let mut leaking: BTreeSet<&str> = BTreeSet::new();
    for (ask, told) in &leaks {
        if told.as_ref().is_ok_and(|told| !told.tells(&scene.foreign_to(ask)).is_empty()) {
            leaking.insert(ask.split_whitespace().next().expect("a method"));
        }
    }
    let asked: BTreeSet<&str> = ASKS.iter().filter_map(|ask| ask.split_whitespace().next()).collect();
    let silent: Vec<&&str> = asked.difference(&leaking).collect();
    println!("reads that leak without policies: {} of {}; with them: 0", leaking.len(), asked.len());
    assert!(silent.is_empty(), "the proxy takes nothing out of {silent:?}");
}

#[tokio::test]
async fn without_its_where_clauses_the_service_writes_nothing_of_another_organization() {
    let scene = Scene::begin().await;
    let proxy = Statements::before(&scene.database.url, without_where);
    let state = "SELECT state, version FROM members WHERE member_id = $1::text::uuid";
    let looked = async || {
        let row =
            scene.database.client.query_one(state, &[&scene.stranger.member]).await.expect("the member");
        (row.get::<_, String>(0), row.get::<_, i64>(1))
    };
    let before = looked().await;
    for (url, held) in [(proxy.url(), true), (superuser(&proxy.url()), false)] {
        let world = World::resumed(Server::on(Database::at(&url).await).await);
        // In the own organization the member is nobody.
        let done = world.operator().deactivate(&scene.own, &scene.stranger).await;
        let code = done.as_ref().err().map(tonic::Status::code);
        if held {
            assert_eq!(code, Some(Code::NotFound), "{done:?}");
            assert_eq!(looked().await, before);
        } else {
            assert_ne!(looked().await, before, "the proxy bites: {done:?}");
        }
        world.stop().await;
    }
}
