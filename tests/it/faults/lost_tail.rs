//! T5 with instances: the primary is killed and a standby promoted that lacks who left and who came last. Every instance
//! notices; none keeps who was never there; none lets in whose leaving was lost, until an operator has decided about them.
//! What finds that out is tried on a service that does not compare, and on an instance that knows nothing.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rollcall_client::v1::{
    ListLostRevocationsRequest, LostRevocation, LostRevocationDecision, ResolveLostRevocationRequest,
    feed_service_client::FeedServiceClient,
};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use super::{
    crew::{Crew, Instance},
    failover::level,
    flaws::{Flaw, Flawed},
    full,
    network::Way,
    postgres::{Postgres, Proxy},
    scene::{BOUND, soon, until},
    size,
};
use crate::{
    fixtures::{Person, made_up_id},
    support::{Channel, Replica},
};

/// Asks an instance about somebody all the time, and counts how often they were let in.
struct Question {
    stop: Arc<AtomicBool>,
    let_in: Arc<AtomicUsize>,
    thread: std::thread::JoinHandle<()>,
}

impl Question {
    fn ask(instance: &Instance, crew: &Arc<Crew>, people: &[Person]) -> Self {
        let (stop, let_in) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&let_in));
        let (replica, crew, people) = (instance.replica.clone(), Arc::clone(crew), people.to_vec());
        let thread = std::thread::spawn(move || {
            let workspace = super::crew::id(&crew.org.general);
            while !stopped.load(Ordering::Relaxed) {
                for person in &people {
                    let access = replica.check(super::crew::id(&person.account), workspace);
                    counted.fetch_add(usize::from(access.is_allowed()), Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { stop, let_in, thread }
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic");
        self.let_in.load(Ordering::Relaxed)
    }
}

/// The lost revocations about which nobody has decided.
pub(super) async fn waiting(channel: &Channel) -> Vec<LostRevocation> {
    let request = ListLostRevocationsRequest { page_size: 1_000, ..Default::default() };
    let answer = FeedServiceClient::new(channel.clone()).list_lost_revocations(request).await;
    answer.map(|page| page.into_inner().revocations).unwrap_or_default()
}

/// Decides about all that was lost of somebody.
pub(super) async fn decide(channel: &Channel, person: &Person, decision: LostRevocationDecision) {
    for lost in waiting(channel).await.iter().filter(|lost| lost.member_id == person.member) {
        let request = ResolveLostRevocationRequest {
            change_id: lost.change_id.clone(),
            decision: decision.into(),
            request_id: made_up_id(),
        };
        FeedServiceClient::new(channel.clone()).resolve_lost_revocation(request).await.expect("decided");
    }
}

/// Live replicas that had applied that two people left and one came, and a primary that lacks it.
struct Failover {
    crew: Arc<Crew>,
    leavers: [Person; 2],
    bystander: Person,
    phantom: Person,
    /// The first of them has a file.
    instances: Vec<Instance>,
    questions: Vec<Question>,
    promoted: Instant,
    channel: Channel,
    replica: Replica,
    directory: TempDir,
    _standing: (Postgres, Postgres, Proxy, Flawed),
}

impl Failover {
    async fn make(flaw: Flaw, count: usize) -> Self {
        let mut primary = Postgres::start().await;
        let proxy = Proxy::before(&primary);
        let flawed = flaw.before(&proxy.url());
        let replica = Replica::start(&flawed.url(), &["--log", "error"]).await;
        let channel: Channel = replica.client().channel().into();
        let crew = Arc::new(Crew::make(channel.clone(), 3).await);
        let [out_again, stays_in, bystander] = &crew.people[..] else { panic!("three people") };
        let (leavers, bystander) = ([out_again.clone(), stays_in.clone()], bystander.clone());
        let mut standby = primary.standby().await;
        level(&primary, &standby).await;
        let directory = tempfile::tempdir().expect("a directory");
        let mut instances = vec![with_file(&replica, &directory)];
        for number in 1..count {
            instances.push(Instance::begin(replica.client(), &format!("chat-{number}"), |_| {}));
        }
        for instance in &instances {
            soon("an instance", instance.replica.ready()).await;
        }

        // From here on the standby gets nothing: two leave, and somebody comes.
        standby.end(Signal::INT).await;
        for leaver in &leavers {
            crew.out(leaver).await;
        }
        let phantom = crew.hire().await;
        for instance in &instances {
            instance.until(&crew, &phantom, |access| access.is_allowed()).await;
            assert_eq!(instance.lets_in(&crew, &leavers), 0);
        }
        let questions = instances.iter().map(|instance| Question::ask(instance, &crew, &leavers)).collect();
        primary.end(Signal::KILL).await;
        proxy.let_pass(Way::Closed);
        standby.start_again().await;
        standby.promote().await;
        proxy.lead_to(&standby);
        let promoted = Instant::now();
        proxy.let_pass(Way::Open);
        let _standing = (primary, standby, proxy, flawed);
        Self {
            crew,
            leavers,
            bystander,
            phantom,
            instances,
            questions,
            promoted,
            channel,
            replica,
            directory,
            _standing,
        }
    }

    /// How many have noticed by then.
    async fn noticed(&self, within: Duration) -> usize {
        let mut noticed = 0;
        for instance in &self.instances {
            let mut status = instance.replica.status();
            // Of each leaver the member and the membership.
            let has = status.wait_for(|status| {
                status.resyncs == 1 && status.lost_revocations == 4 && status.is_answering()
            });
            noticed += usize::from(timeout(within, has).await.is_ok_and(|status| status.is_ok()));
        }
        noticed
    }

    /// How many let in who was never there.
    fn kept(&self) -> usize {
        let lets_in = |instance: &&Instance| instance.check(&self.crew, &self.phantom).is_allowed();
        self.instances.iter().filter(lets_in).count()
    }
}

/// The instance with a file.
fn with_file(replica: &Replica, directory: &TempDir) -> Instance {
    let file: PathBuf = directory.path().join("state");
    Instance::begin(replica.client(), "chat-0", |set| set.state_file = Some(file))
}

#[tokio::test(flavor = "multi_thread")]
async fn t5_no_instance_lets_in_whose_leaving_was_lost_until_an_operator_decides() {
    let mut scene = Failover::make(Flaw::None, size(3, 20)).await;
    let noticed = scene.noticed(BOUND).await;
    println!("t5_instances_noticed = {noticed} of {}", scene.instances.len());
    println!("t5_instances_noticed_after_s = {:.2}", scene.promoted.elapsed().as_secs_f64());
    assert_eq!(noticed, scene.instances.len());
    let kept = scene.kept();
    println!("t5_phantoms_kept_by_instances = {kept}");
    assert_eq!(kept, 0);
    let Failover { crew, leavers, bystander, channel, replica, directory, instances, questions, .. } =
        &mut scene;
    let [out_again, stays_in] = &*leavers;
    until("the reports", async || waiting(channel).await.len() == 4).await;
    for instance in &*instances {
        assert!(instance.check(crew, bystander).is_allowed());
    }
    // What is counted as letting in is what one does that has not known.
    let newborn = Instance::start(replica.client(), "newborn", |_| {}).await;
    let question = Question::ask(&newborn, crew, leavers);
    until("an instance that knows nothing", async || question.let_in.load(Ordering::Relaxed) > 0).await;
    println!("t5_let_in_by_one_that_knows_nothing = {}", usize::from(question.end() > 0));
    let let_in: usize = questions.drain(..).map(Question::end).sum();
    println!("t5_let_in_before_a_decision = {let_in}");
    assert_eq!(let_in, 0);

    crew.out(out_again).await;
    decide(channel, out_again, LostRevocationDecision::AppliedAgain).await;
    decide(channel, stays_in, LostRevocationDecision::Dropped).await;
    assert!(waiting(channel).await.is_empty());
    // One that restarts has not forgotten, and hears at once what was decided.
    let restarted = instances.swap_remove(0);
    restarted.replica.shutdown().await;
    let restarted = with_file(replica, directory);
    restarted.until(crew, stays_in, |access| access.is_allowed()).await;
    assert!(!restarted.check(crew, out_again).is_allowed());
    // The others ask every 30 s.
    if full() {
        for instance in &*instances {
            instance.until(crew, stays_in, |access| access.is_allowed()).await;
            let mut status = instance.replica.status();
            soon("the end of it", status.wait_for(|status| status.lost_revocations == 0)).await.expect("it");
            assert!(!instance.check(crew, out_again).is_allowed());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t5_instances_of_a_service_that_does_not_compare_are_found_to_keep_a_phantom() {
    let mut scene = Failover::make(Flaw::NobodyCompares, 3).await;
    // The service works, and its instances answer.
    until("a write", async || scene.crew.caller.rename_organization(&scene.crew.org.id, "x").await.is_ok())
        .await;
    let noticed = scene.noticed(Duration::from_secs(2)).await;
    let kept = scene.kept();
    println!("t5_without_comparing_noticed = {noticed} of {}", scene.instances.len());
    println!("t5_without_comparing_phantoms_kept = {kept} of {}", scene.instances.len());
    // One that lost its stream meanwhile notices as it resumes: its cursor stands beyond the end of the log.
    assert!(kept > 0 && kept + noticed == scene.instances.len());
    let let_in: usize = scene.questions.drain(..).map(Question::end).sum();
    assert_eq!(let_in, 0, "nobody told them that anything was lost");
}
