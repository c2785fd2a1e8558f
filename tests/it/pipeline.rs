//! Pipelines: statements run in the order in which they are polled, and what is lost against others is tried again.

use diesel::{
    ExpressionMethods as _, QueryDsl as _, sql_query,
    sql_types::{BigInt, Integer},
};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use futures_util::join;
use rollcall_client::v1::OrganizationRole;
use tonic::Code;

use crate::{
    fixtures::{World, refused},
    server::{soon, waits},
    support::{create_database, superuser},
};

diesel::table! {
    seen (id) { id -> BigInt, n -> Integer, note -> Nullable<Text>, }
}

#[derive(diesel::QueryableByName)]
struct Transactions {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Storage rests on this property of the driver: see `src/storage/transaction.rs`.
#[tokio::test]
async fn statements_run_in_the_order_in_which_they_are_polled() {
    let database = create_database().await;
    let table = "CREATE TABLE seen (id bigserial PRIMARY KEY, n integer NOT NULL, note text)";
    database.client.batch_execute(table).await.expect("a table");
    let connection = AsyncPgConnection::establish(&superuser(&database.url)).await.expect("a connection");
    let insert = |n: i32| diesel::insert_into(seen::table).values(seen::n.eq(n));
    let noted = |n: i32| diesel::insert_into(seen::table).values((seen::n.eq(n), seen::note.eq("noted")));
    let anew = |n: i32| sql_query("INSERT INTO seen (n) VALUES ($1)").bind::<Integer, _>(n);
    // At first nothing is prepared; later all but what is prepared anew each time.
    for round in 0..4 {
        let done = join!(
            async { (&connection).batch_execute("BEGIN").await.map(|()| 0) },
            insert(0).execute(&mut &connection),
            anew(1).execute(&mut &connection),
            insert(2).execute(&mut &connection),
            noted(3).execute(&mut &connection),
            insert(4).execute(&mut &connection),
            anew(5).execute(&mut &connection),
            noted(6).execute(&mut &connection),
            insert(7).execute(&mut &connection),
            sql_query("COMMIT").execute(&mut &connection),
        );
        assert_eq!(done.9.expect("committed"), 0);
        for one in [done.0, done.1, done.2, done.3, done.4, done.5, done.6, done.7, done.8] {
            one.expect("inserted");
        }
        let order: Vec<i32> =
            seen::table.order(seen::id).select(seen::n).load(&mut &connection).await.expect("the rows");
        assert_eq!(order, (0..8).collect::<Vec<_>>(), "round {round}");
        let one = sql_query("SELECT count(DISTINCT xmin::text) FROM seen").get_result(&mut &connection).await;
        let Transactions { count } = one.expect("counted");
        assert_eq!(count, 1, "BEGIN came first, COMMIT last");
        sql_query("TRUNCATE seen").execute(&mut &connection).await.expect("emptied");
    }
}

#[tokio::test]
async fn a_deadlock_within_a_pipeline_is_tried_again() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let boards = world.workspace(&org, "boards", "boards").await;
    let bob = world.member(&org, "bob").await;
    let client = world.server().database();
    let member = &bob.member;
    let hold = format!("BEGIN; SELECT 1 FROM members WHERE member_id = '{member}' FOR UPDATE");
    client.batch_execute(&hold).await.expect("held");
    let operator = world.operator();
    let adding = operator.add_to(&org, &boards, &bob, rollcall_client::v1::WorkspaceRole::Member);
    let meanwhile = async {
        waits(world.server()).await;
        // It holds the organization and waits for the member. It has waited for longer, so it finds the deadlock.
        let cross = format!("SELECT 1 FROM organizations WHERE organization_id = '{}' FOR UPDATE", org.id);
        client.batch_execute(&cross).await.expect("the other one gives way");
        client.batch_execute("COMMIT").await.expect("released");
    };
    let (added, ()) = soon("the answer", async { tokio::join!(adding, meanwhile) }).await;
    added.expect("tried again");
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    crate::server::until("the count of deadlocks", async || {
        client.query_one(deadlocks, &[]).await.expect("counted").get::<_, i64>(0) == 1
    })
    .await;
}

#[tokio::test]
async fn of_several_additions_of_one_account_one_succeeds() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let (operator, ada) = (world.operator(), world.acting(&org.owner));
    for round in 0..10 {
        let account = world.account(&format!("bob{round}")).await;
        let (a, b, c, d) = tokio::join!(
            operator.add(&org, &account, OrganizationRole::Member),
            operator.add(&org, &account, OrganizationRole::Member),
            ada.add(&org, &account, OrganizationRole::Member),
            ada.add(&org, &account, OrganizationRole::Member),
        );
        let (done, lost): (Vec<_>, Vec<_>) = [a, b, c, d].into_iter().partition(Result::is_ok);
        assert_eq!(done.len(), 1, "round {round}: {lost:?}");
        for answer in lost {
            refused(answer, Code::AlreadyExists, "MEMBER_EXISTS");
        }
    }
}
