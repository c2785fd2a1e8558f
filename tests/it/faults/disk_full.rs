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

/// What is answered to writes until some were refused: their codes.
async fn refusals(channel: &Channel, small: &Small, wanted: usize) -> Vec<Code> {
    let mut codes = Vec::new();
    until("refusals", async || {
        let request = UpdateOrganizationRequest { request_id: made_up_id(), ..small.renaming(&made_up_id()) };
        let answer = OrganizationServiceClient::new(channel.clone()).update_organization(request).await;
        codes.extend(answer.err().map(|status| status.code()));
        codes.len() >= wanted
    })
    .await;
    codes
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
    let (server, service) = (postgres.pid(), replica.pid());

    disk.fill();
    let full = Instant::now();
    let codes = refusals(&channel, &small, size(20, 200)).await;
    println!("t19_first_refusals_after_s = {:.2}", full.elapsed().as_secs_f64());
    let wrong = codes.iter().filter(|code| **code != Code::Unavailable).count();
    println!("t19_wrong_refusals = {wrong} of {}", codes.len());
    assert_eq!(wrong, 0, "{codes:?}");
    let mut slowest = Duration::ZERO;
    for _ in 0..size(50, 500) {
        let begun = Instant::now();
        small.get().await.expect("reads go on");
        slowest = slowest.max(begun.elapsed());
    }
    println!("t19_slowest_read_ms = {}", super::ms(slowest));

    disk.clear();
    let cleared = Instant::now();
    load.more(1).await;
    println!("t19_time_to_recover_s = {:.2}", cleared.elapsed().as_secs_f64());
    load.more(50).await;
    assert_eq!((postgres.pid(), replica.pid()), (server, service), "nothing was restarted");
    // The writes of this test that were not refused are effects as well.
    let sum = load.end(&postgres.database().await, Some(&reader)).await;
    println!("t19_lost = {}", sum.lost);
    assert_eq!(sum.lost, 0);
}
