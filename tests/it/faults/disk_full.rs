//! T19: the disk of the database is full. Writes are refused as something that may be tried again, reads go on, and all is well
//! again when there is room, without a restart. Its write-ahead log lies on another disk: where that one is full Postgres ends
//! itself, which is T4.

use std::{fs, path::Path, process::Command, time::Duration};

use rollcall_client::v1::{
    UpdateOrganizationRequest, organization_service_client::OrganizationServiceClient,
};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::Instant;
use tonic::Code;

use super::{
    load::Load,
    postgres::Postgres,
    scene::{Reader, until},
    size,
};
use crate::{
    fixtures::made_up_id,
    small::Small,
    support::{Channel, Replica},
};

/// A disk of its own, in memory. Taken away when dropped.
struct Disk(TempDir);

impl Disk {
    /// `None`: it may not be made here, and the reason was printed.
    fn make() -> Option<Self> {
        let disk = Self(TempDir::new().expect("a directory"));
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=128m,mode=755", "rollcall-test"]).arg(disk.path());
        match mount.output() {
            Ok(output) if output.status.success() => Some(disk),
            Ok(output) => {
                println!("skipped: no disk can be made: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                println!("skipped: no disk can be made: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut file = fs::File::create(self.path().join("ballast")).expect("a file");
        let full = std::io::copy(&mut std::io::repeat(0), &mut file).expect_err("it is full in the end");
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    fn clear(&self) {
        fs::remove_file(self.path().join("ballast")).expect("the file");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What still uses it ends with the test.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).output();
    }
}

/// What is answered to writes until some were refused: their codes, and how many were done.
async fn refusals(channel: &Channel, small: &Small, wanted: usize) -> (Vec<Code>, i64) {
    let (mut codes, mut done) = (Vec::new(), 0);
    until("refusals", async || {
        let request = UpdateOrganizationRequest { request_id: made_up_id(), ..small.renaming(&made_up_id()) };
        match OrganizationServiceClient::new(channel.clone()).update_organization(request).await {
            Ok(_) => done += 1,
            Err(status) => codes.push(status.code()),
        }
        codes.len() >= wanted
    })
    .await;
    (codes, done)
}

/// How soon writes must go on when there is room.
const RECOVERY: Duration = Duration::from_secs(15);

/// What was seen of a disk that was full.
#[derive(Clone)]
struct Seen {
    /// How writes were refused.
    refusals: Vec<Code>,
    /// How reads were answered meanwhile, and how long that took.
    reads: Vec<Result<Duration, Code>>,
    /// Until the first write that was answered when there was room again.
    recovery: Duration,
    /// The processes of the database and of the service, before and after.
    processes: [(u32, u32); 2],
    /// Writes that were answered, less those that are there.
    lost: i64,
}

/// One way to break it, and what must be found then.
type Break = (&'static str, fn(&mut Seen));

impl Seen {
    /// What is wrong with it.
    fn faults(&self) -> Vec<&'static str> {
        let [before, after] = self.processes;
        let tried = [
            ("a write is refused otherwise", self.refusals.iter().any(|code| *code != Code::Unavailable)),
            ("a read is refused", self.reads.iter().any(Result::is_err)),
            ("it does not heal", self.recovery > RECOVERY),
            ("somebody restarts", before != after),
            ("a write is lost or was refused and done", self.lost != 0),
        ];
        tried.into_iter().filter(|(_, wrong)| *wrong).map(|(what, _)| what).collect()
    }

    /// Breaks one thing at a time: that must be found, and nothing else.
    fn finds_each_fault(&self) {
        let breaks: [Break; 7] = [
            ("a write is refused otherwise", |seen| seen.refusals[0] = Code::Internal),
            ("a write is refused otherwise", |seen| *seen.refusals.last_mut().expect("one") = Code::Aborted),
            ("a read is refused", |seen| seen.reads[0] = Err(Code::Unavailable)),
            ("it does not heal", |seen| seen.recovery += RECOVERY),
            ("somebody restarts", |seen| seen.processes[1].1 += 1),
            ("a write is lost or was refused and done", |seen| seen.lost += 1),
            ("a write is lost or was refused and done", |seen| seen.lost -= 1),
        ];
        for (what, break_it) in breaks {
            let mut broken = self.clone();
            break_it(&mut broken);
            assert_eq!(broken.faults(), [what]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t19_a_full_disk_refuses_writes_only_and_heals_by_itself() {
    let Some(disk) = Disk::make() else { return };
    let (elsewhere, mut postgres) =
        (TempDir::new().expect("a directory"), Postgres::start_in(disk.path()).await);
    postgres.end(Signal::INT).await;
    postgres.keep_log_in(elsewhere.path());
    postgres.start_again().await;
    let replica = Replica::start(&postgres.url(), &["--log", "error"]).await;
    let channel: Channel = replica.client().channel().into();
    let small = Small::make(channel.clone(), "ada@example.com").await;
    let reader = Reader::open(channel.clone(), &small.organization).await;
    let load = Load::start(&small, std::slice::from_ref(&channel), 4).await;
    load.more(50).await;
    let before = (postgres.pid(), replica.pid());

    disk.fill();
    let full = Instant::now();
    let (refusals, done) = refusals(&channel, &small, size(20, 200)).await;
    println!("t19_first_refusals_after_s = {:.2}", full.elapsed().as_secs_f64());
    let mut reads = Vec::new();
    for _ in 0..size(50, 500) {
        let begun = Instant::now();
        reads.push(small.get().await.map(|_| begun.elapsed()).map_err(|status| status.code()));
    }

    disk.clear();
    let cleared = Instant::now();
    load.more(1).await;
    let recovery = cleared.elapsed();
    load.more(50).await;
    let processes = [before, (postgres.pid(), replica.pid())];
    let sum = load.end(&postgres.database().await, Some(&reader)).await;
    // The load counts the writes of this test that were done as effects of nothing.
    let lost = done + sum.lost - sum.duplicated;
    let seen = Seen { refusals, reads, recovery, processes, lost };
    let wrong = seen.refusals.iter().filter(|code| **code != Code::Unavailable).count();
    println!("t19_wrong_refusals = {wrong} of {}", seen.refusals.len());
    let slowest = seen.reads.iter().flatten().max().copied().unwrap_or_default();
    println!("t19_slowest_read_ms = {}", super::ms(slowest));
    println!("t19_time_to_recover_s = {:.2}", seen.recovery.as_secs_f64());
    println!("t19_lost = {}", seen.lost);
    assert_eq!(seen.faults(), Vec::<&str>::new(), "{:?}", seen.refusals);
    seen.finds_each_fault();
}
