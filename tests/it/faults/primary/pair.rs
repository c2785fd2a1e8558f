//! Two machines with a Postgres each, of which one is the primary and the other follows it; and the only URL that a service
//! is told, which names both.

use std::net::SocketAddr;

use tokio::time::Instant;

use super::super::{
    failover::level,
    flaws::{Flaw, Flawed},
    network::Way,
    postgres::{Postgres, Proxy},
    scene::until,
};
use crate::support::{Database, SERVICE};

/// A machine: its address stays, whichever server lives there.
struct Machine {
    door: Proxy,
    address: SocketAddr,
    flawed: Flawed,
}

impl Machine {
    async fn of(server: &Postgres, flaw: Flaw) -> Self {
        let mut door = Proxy::before(server);
        let address = door.listen().await;
        let flawed = flaw.before(&door.url());
        Self { door, address, flawed }
    }
}

/// How a machine is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// Its server is killed, and who connects to the machine afterwards is hung up on at once.
    HangsUp,
    /// Its server is killed, and who connects to the machine afterwards is never answered.
    SaysNothing,
}

/// A primary and its standby.
pub(super) struct Pair {
    /// The primary. While it is dead: what is left of it.
    primary: Postgres,
    standby: Option<Postgres>,
    /// Where the primary is: 0 or 1.
    at: usize,
    machines: [Machine; 2],
    /// What the standby hears of the primary over.
    link: Option<Proxy>,
    flaw: Flaw,
}

impl Pair {
    /// A primary, and nobody who follows it. On the machine that is named last.
    pub(super) async fn start(flaw: Flaw) -> Self {
        let primary = Postgres::start().await;
        let (other, own) = (Machine::of(&primary, flaw).await, Machine::of(&primary, flaw).await);
        other.door.let_pass(Way::Closed);
        Self { primary, standby: None, at: 1, machines: [other, own], link: None, flaw }
    }

    /// What a service is told, once and for all.
    pub(super) fn url(&self) -> String {
        let hosts: Vec<String> = match self.flaw {
            Flaw::None => self.machines.iter().map(|machine| machine.address.to_string()).collect(),
            // What rewrites statements listens on sockets.
            _ => self.machines.iter().map(|machine| host(&machine.flawed.url()).to_owned()).collect(),
        };
        format!("postgresql://{SERVICE}@{}/rollcall?target_session_attrs=read-write", hosts.join(","))
    }

    /// The primary, for looking into it.
    pub(super) async fn database(&self) -> Database {
        self.primary.database().await
    }

    /// Makes a standby on the other machine, and waits until it has everything.
    pub(super) async fn join(&mut self) {
        let link = Proxy::before(&self.primary);
        let standby = self.primary.standby_behind(&link).await;
        level(&self.primary, &standby).await;
        let machine = &self.machines[1 - self.at];
        machine.door.lead_to(&standby);
        machine.door.let_pass(Way::Open);
        (self.standby, self.link) = (Some(standby), Some(link));
    }

    /// Waits until the standby has all that was written so far.
    pub(super) async fn level(&self) {
        level(&self.primary, self.standby.as_ref().expect("a standby")).await;
    }

    /// From here on a commit waits for the standby. What was committed before is there.
    pub(super) async fn wait_for_standby(&self) {
        let database = self.database().await.client;
        database.batch_execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await.expect("set");
        database.batch_execute("SELECT pg_reload_conf()").await.expect("reloaded");
        until("the synchronous standby", async || {
            let query =
                "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'";
            database.query_one(query, &[]).await.expect("counted").get::<_, i64>(0) == 1
        })
        .await;
        self.level().await;
    }

    /// From here on the standby hears nothing of the primary, and neither of them knows.
    pub(super) fn leave_behind(&self) {
        self.link.as_ref().expect("a standby").let_pass(Way::Deaf);
    }

    /// Kills the primary, promotes the standby. Gives when that began, and when it was done.
    pub(super) async fn fail_over(&mut self, loss: Loss) -> (Instant, Instant) {
        let killed = Instant::now();
        self.primary.die().await;
        let door = &self.machines[self.at].door;
        door.let_pass(Way::Closed);
        self.link.take().expect("a standby").let_pass(Way::Closed);
        let standby = self.standby.take().expect("a standby");
        standby.promote().await;
        let promoted = Instant::now();
        if loss == Loss::SaysNothing {
            door.let_pass(Way::Silent);
        }
        self.primary = standby;
        self.at = 1 - self.at;
        (killed, promoted)
    }
}

/// The host of a URL.
fn host(url: &str) -> &str {
    let (_, rest) = url.split_once('@').expect("a role");
    rest.split('/').next().expect("a host")
}
