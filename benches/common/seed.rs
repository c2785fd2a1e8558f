//! Fills the tables of a database as if people had worked with it, without writing the log: members in two workspaces
//! each, all of one app. Ids are numbers in the form of UUIDs, so that a script of pgbench can make them too.

use tokio_postgres::Client;

/// The app of everything.
pub(crate) const APP: &str = "chat";
/// Changes that were before.
const HISTORY: u64 = 15_000;
/// Members of each organization where all have the same size.
pub(crate) const EVEN: u64 = 100;
/// Workspaces of each such organization.
pub(crate) const EVEN_WORKSPACES: u64 = 4;

/// The kinds of ids.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Organization = 1,
    Workspace = 2,
    Member = 3,
    Account = 4,
}

/// The id with a number.
pub(crate) fn id(kind: Kind, number: u64) -> String {
    format!("{:08x}-0000-7000-8000-{number:012x}", kind as u32)
}

/// The same in SQL, of an expression.
pub(crate) fn sql_id(kind: Kind, number: &str) -> String {
    format!("('{:08x}-0000-7000-8000-' || lpad(to_hex({number}), 12, '0'))::uuid", kind as u32)
}

/// An organization: its members and workspaces are numbered from these on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Organization {
    pub(crate) number: u64,
    pub(crate) first_member: u64,
    pub(crate) members: u64,
    pub(crate) first_workspace: u64,
    pub(crate) workspaces: u64,
}

impl Organization {
    /// The two workspaces of one of its members, counted within it.
    pub(crate) fn workspaces_of(&self, member: u64) -> [u64; 2] {
        [0, 1].map(|step| self.first_workspace + (member + step) % self.workspaces)
    }
}

/// Organizations of the same size.
pub(crate) fn even(organizations: u64) -> Vec<Organization> {
    (0..organizations)
        .map(|number| Organization {
            number,
            first_member: number * EVEN,
            members: EVEN,
            first_workspace: number * EVEN_WORKSPACES,
            workspaces: EVEN_WORKSPACES,
        })
        .collect()
}

/// Organizations whose sizes fall off as 1/n, with so many workspace memberships in all.
pub(crate) fn power_law(memberships: u64) -> Vec<Organization> {
    let members = memberships / 2;
    let organizations = members.isqrt().max(2);
    let harmonic: f64 = (1..=organizations).map(|n| 1.0 / n as f64).sum();
    let (mut first_member, mut first_workspace) = (0, 0);
    (0..organizations)
        .map(|number| {
            let size = (members as f64 / harmonic / (number + 1) as f64).round().max(3.0) as u64;
            let workspaces = (size / 25).max(2);
            let organization =
                Organization { number, first_member, members: size, first_workspace, workspaces };
            first_member += size;
            first_workspace += workspaces;
            organization
        })
        .collect()
}

/// Writes them. The first member of each organization is its owner.
pub(crate) async fn fill(client: &Client, organizations: &[Organization]) {
    let column = |of: fn(&Organization) -> u64| -> Vec<i64> {
        organizations.iter().map(|organization| of(organization).cast_signed()).collect()
    };
    client
        .batch_execute(&format!(
            "CREATE TEMP TABLE seed (o bigint, m0 bigint, m bigint, w0 bigint, w bigint); \
             INSERT INTO apps (app) VALUES ('{APP}') ON CONFLICT DO NOTHING"
        ))
        .await
        .expect("a table");
    client
        .execute(
            "INSERT INTO seed SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])",
            &[
                &column(|organization| organization.number),
                &column(|organization| organization.first_member),
                &column(|organization| organization.members),
                &column(|organization| organization.first_workspace),
                &column(|organization| organization.workspaces),
            ],
        )
        .await
        .expect("the sizes");
    let (organization, workspace) = (sql_id(Kind::Organization, "o"), sql_id(Kind::Workspace, "w0 + n"));
    let (member, account) = (sql_id(Kind::Member, "m0 + n"), sql_id(Kind::Account, "m0 + n"));
    let shared = sql_id(Kind::Workspace, "w0 + (n + step) % w");
    let statements = format!(
        "INSERT INTO organizations (organization_id, display_name, apps, state, version)
           SELECT {organization}, 'Organization ' || o, '{{{APP}}}', 'ACTIVE', 1 FROM seed;
         INSERT INTO workspaces (organization_id, workspace_id, app, display_name, state, version)
           SELECT {organization}, {workspace}, '{APP}', 'Workspace ' || n, 'ACTIVE', 1
           FROM seed, generate_series(0, w - 1) AS n;
         INSERT INTO accounts (account_id, email, email_key, state, version)
           SELECT {account}, 'person' || m0 + n || '@example.org', 'person' || m0 + n || '@example.org', 'ACTIVE', 1
           FROM seed, generate_series(0, m - 1) AS n;
         INSERT INTO members (organization_id, member_id, account_id, role, state, apps, version)
           SELECT {organization}, {member}, {account}, CASE n WHEN 0 THEN 'OWNER' ELSE 'MEMBER' END, 'ACTIVE',
                  '{{{APP}}}', 1
           FROM seed, generate_series(0, m - 1) AS n;
         INSERT INTO profiles (organization_id, member_id, display_name)
           SELECT {organization}, {member}, 'Person ' || m0 + n FROM seed, generate_series(0, m - 1) AS n;
         INSERT INTO workspace_members (organization_id, workspace_id, member_id, role, state, version)
           SELECT {organization}, {shared}, {member}, 'MEMBER', 'ACTIVE', 1
           FROM seed, generate_series(0, m - 1) AS n, generate_series(0, 1) AS step;
         DROP TABLE seed"
    );
    client.batch_execute(&statements).await.expect("the rows");
    // A store has a history. Statistics of an empty log would make Postgres plan as if it stayed empty, and read all of
    // it for one row, until somebody analyzes again.
    let requests = "INSERT INTO requests (caller, request_id, payload_mac) \
                    SELECT 'bench', gen_random_uuid(), decode(md5(n::text), 'hex') FROM generate_series(1, 5000) AS n";
    client.batch_execute(requests).await.expect("requests");
    fill_log(client, organizations.len() as u64, HISTORY).await;
}

/// Writes a log of commands of three changes each, as departures of members with two workspaces are. Only the log: what
/// the tables say stays as it is, so that a snapshot and the log do not agree. For reading the log alone, and for changes that no follower is told of.
pub(crate) async fn fill_log(client: &Client, organizations: u64, changes: u64) {
    let member = "(n % $1) * 100 + 1 + (n / $1) % 99";
    let statement = format!(
        "INSERT INTO pending_changes (change_id, command_id, organization_id, apps, subject, workspace_id, member_id,
                                      state, role, version, reason, caller)
         SELECT gen_random_uuid(), c.command_id, {organization}, '{{{APP}}}',
                CASE step WHEN 0 THEN 'MEMBER' ELSE 'WORKSPACE_MEMBER' END,
                CASE step WHEN 0 THEN NULL ELSE {workspace} END, {member}, 'DEACTIVATED', 'MEMBER', 2 + n,
                CASE step WHEN 0 THEN 'DEACTIVATED' ELSE 'DEACTIVATED_WITH_ORGANIZATION' END, 'bench'
         FROM (SELECT n, gen_random_uuid() AS command_id FROM generate_series($2::bigint, $3::bigint) AS n) AS c,
              generate_series(0, 2) AS step
         ORDER BY n, step",
        organization = sql_id(Kind::Organization, "n % $1"),
        workspace = sql_id(Kind::Workspace, "n % $1 * 4 + step"),
        member = sql_id(Kind::Member, member),
    );
    let statement = client.prepare(&statement).await.expect("a statement");
    let commands = (changes / 3).cast_signed();
    for first in (0..commands).step_by(1_000) {
        let last = (first + 1_000).min(commands) - 1;
        client.execute(&statement, &[&organizations.cast_signed(), &first, &last]).await.expect("changes");
        client.execute("SELECT * FROM sequence_changes()", &[]).await.expect("sequencing");
    }
    // Its own statement: it may not run in the transaction that a batch is.
    client.batch_execute("VACUUM ANALYZE").await.expect("statistics");
}
