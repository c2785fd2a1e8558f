//! A replica that is added gets its share of the streams, also where a balancer of connections stands before all of them:
//! streams end at their age, and come back over a new connection. No instance is without its lease meanwhile, or misses
//! anything.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rollcall_client::connect;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::interval,
};

use super::{
    crew::{Crew, Instance},
    scene::{BOUND, soon},
};
use crate::{
    metrics::scrape::{scrape, value},
    process::binary::Service,
    support::{Channel, create_database},
};

/// Half of them were with each replica if all were spread evenly; a third shows that they come.
const INSTANCES: u8 = 6;
/// A lease outlives an age: who is not resumed in time is found.
const LEASE: Duration = Duration::from_secs(5);

/// Where replicas are, and how many connections each has.
type Replicas = Vec<(String, Arc<AtomicUsize>)>;

/// Gives each new connection to the replica that has the fewest, and leaves it there.
struct Balancer {
    address: SocketAddr,
    replicas: Arc<Mutex<Replicas>>,
    task: JoinHandle<()>,
}

impl Balancer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let replicas: Arc<Mutex<Replicas>> = Arc::default();
        let known = Arc::clone(&replicas);
        let task = tokio::spawn(async move {
            loop {
                let (mut from, _) = listener.accept().await.expect("a connection");
                let (target, open) = {
                    let known = known.lock().unwrap_or_else(PoisonError::into_inner);
                    let least = known.iter().min_by_key(|(_, open)| open.load(Ordering::SeqCst));
                    least.expect("a replica").clone()
                };
                open.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    if let Ok(mut to) = TcpStream::connect(target).await {
                        // Either end is the end.
                        let _ = copy_bidirectional(&mut from, &mut to).await;
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, replicas, task }
    }

    fn add(&self, replica: &Service) {
        let mut replicas = self.replicas.lock().unwrap_or_else(PoisonError::into_inner);
        replicas.push((replica.address().to_owned(), Arc::default()));
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A replica whose streams end after so many seconds, and where it tells how many there are.
async fn replica(database_url: &str, age: &str) -> (Service, String) {
    let arguments = [
        "--metrics-listen",
        "127.0.0.1:0",
        "--access-service",
        "false",
        "--database-url",
        database_url,
        "--stream-max-age-seconds",
        age,
    ];
    let service = Service::start(&arguments.map(std::ffi::OsStr::new)).await;
    let said = service.run.stdout();
    let address = said.lines().find_map(|line| line.strip_prefix("metrics on ")).expect("its address");
    (service, address.to_owned())
}

async fn streams(metrics: &str) -> f64 {
    value(&scrape(metrics).await, "rollcall_streams").unwrap_or(0.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_spread_over_a_replica_that_is_added() {
    let database = create_database().await;
    let balancer = Balancer::start().await;
    let (first, first_metrics) = replica(&database.url, "2").await;
    balancer.add(&first);
    let through: Channel =
        connect(&format!("http://{}", balancer.address)).expect("an endpoint").channel().into();
    let mut crew = Crew::make(through, 0).await;
    crew.lease(LEASE).await;
    crew.people.push(crew.hire().await);
    let mut instances = Vec::new();
    for number in 0..INSTANCES {
        let client = connect(&format!("http://{}", balancer.address)).expect("an endpoint");
        instances.push(Instance::start(client, &format!("chat-{number}"), |_| {}).await);
    }

    let (second, second_metrics) = replica(&database.url, "2").await;
    balancer.add(&second);
    let (mut looks, mut stale, mut share) = (interval(Duration::from_millis(10)), 0, 0.0);
    let (mut departures, deadline) = (0, tokio::time::Instant::now() + BOUND);
    while share < f64::from(INSTANCES) / 3.0 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{share} of {INSTANCES} streams came to the new replica"
        );
        for _ in 0..20 {
            looks.tick().await;
            let silent = instances.iter().filter(|instance| {
                matches!(instance.check(&crew, &crew.org.owner), rollcall_client::Access::Stale)
            });
            stale += silent.count();
        }
        crew.out(&crew.people[0]).await;
        crew.back(&crew.people[0]).await.expect("they are back");
        departures += 1;
        share = streams(&second_metrics).await;
    }
    let left = streams(&first_metrics).await;
    println!("scale_up_streams_of_the_new_replica = {share}, of the old one {left}");
    println!("scale_up_looks_without_a_lease = {stale}");
    let (told, _) = crew.enforced(crew.out(&crew.people[0]).await).await;
    assert_eq!(told.app, "chat");
    let out = departures + 1;
    for instance in &instances {
        assert!(!instance.check(&crew, &crew.people[0]).is_allowed(), "out everywhere");
        assert_eq!(instance.replica.status().borrow().resyncs, 0, "nobody needs a snapshot");
        // A membership and a workspace for each time.
        soon("the handler", async {
            while instance.told().len() < 2 * out {
                looks.tick().await;
            }
        })
        .await;
        assert_eq!(instance.told().len(), 2 * out, "each once");
    }
    assert_eq!(stale, 0, "an instance was without its lease");
}
