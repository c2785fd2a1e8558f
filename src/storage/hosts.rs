//! The hosts of a database URL, of which one is the primary. The driver asks them one after the other and waits for each:
//! where the first is a machine that is gone without a word, whoever gives up within seconds never gets to the second. Here
//! the host that answered last is asked first (with `load_balance_hosts=random` any), and the next as soon as that takes
//! longer than an answer usually does.

use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::sleep;
use tokio_postgres::{
    Config,
    config::{Host, LoadBalanceHosts, TargetSessionAttrs},
};

/// How long a host is waited for before the next one is asked too. A host of the same site answers within a few
/// milliseconds, so those that are well are asked alone.
const HEAD_START: Duration = Duration::from_millis(250);

/// The hosts of one URL.
#[derive(Clone)]
pub(super) struct Hosts {
    /// The same settings for each of them alone.
    configs: Arc<[Config]>,
    /// The one that answered last.
    last: Arc<AtomicUsize>,
    random: bool,
}

impl Hosts {
    pub(super) fn of(config: &Config) -> Self {
        let (names, addresses, ports) =
            (config.get_hosts().len(), config.get_hostaddrs().len(), config.get_ports().len());
        let count = names.max(addresses);
        let fits = |number: usize, least: usize| number <= least || number == count;
        let configs: Arc<[Config]> = match count {
            // The driver says what is wrong with one that has none, or not of each as many.
            _ if !(fits(names, 0) && fits(addresses, 0) && fits(ports, 1)) => Arc::from([config.clone()]),
            0 | 1 => Arc::from([config.clone()]),
            count => (0..count).map(|host| alone(config, host)).collect(),
        };
        let random = config.get_load_balance_hosts() == LoadBalanceHosts::Random;
        Self { configs, last: Arc::default(), random }
    }

    /// What the first of them gives that gives anything. Where all fail, the first error that says more than that a server is
    /// a standby.
    pub(super) async fn first<T, E, F>(&self, connect: impl Fn(Config) -> F) -> Result<T, E>
    where
        E: Display,
        F: Future<Output = Result<T, E>>,
    {
        let count = self.configs.len();
        let begin = match self.random {
            true => usize::from(uuid::Uuid::new_v4().as_bytes()[0]),
            false => self.last.load(Ordering::Relaxed),
        };
        let ask = |host: usize| {
            let answer = connect(self.configs[host].clone());
            async move { (host, answer.await) }
        };
        let mut order = (0..count).map(|host| (begin + host) % count);
        let mut asked: FuturesUnordered<_> = order.next().map(ask).into_iter().collect();
        let mut failed: Option<E> = None;
        loop {
            tokio::select! {
                Some((host, answer)) = asked.next() => match answer {
                    Ok(answer) => {
                        self.last.store(host, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Err(error) => {
                        let error = failed.take().filter(|known| !is_of_standby(known)).unwrap_or(error);
                        match order.next() {
                            Some(next) => asked.push(ask(next)),
                            None if asked.is_empty() => return Err(error),
                            None => {}
                        }
                        failed = Some(error);
                    }
                },
                () = sleep(HEAD_START), if order.len() > 0 => asked.extend(order.next().map(ask)),
            }
        }
    }
}

/// Whether the driver found a server on which nothing can be written.
fn is_of_standby(error: &impl Display) -> bool {
    error.to_string().contains("does not allow writes")
}

/// The settings of one host. The driver's settings can take a host and not lose one, so they are made again.
fn alone(all: &Config, host: usize) -> Config {
    let mut one = Config::new();
    if let Some(user) = all.get_user() {
        one.user(user);
    }
    if let Some(password) = all.get_password() {
        one.password(password);
    }
    if let Some(name) = all.get_dbname() {
        one.dbname(name);
    }
    if let Some(options) = all.get_options() {
        one.options(options);
    }
    if let Some(name) = all.get_application_name() {
        one.application_name(name);
    }
    match all.get_hosts().get(host) {
        Some(Host::Tcp(name)) => {
            one.host(name);
        }
        Some(Host::Unix(path)) => {
            one.host_path(path);
        }
        None => {}
    }
    if let Some(address) = all.get_hostaddrs().get(host) {
        one.hostaddr(*address);
    }
    if let Some(port) = all.get_ports().get(host).or_else(|| all.get_ports().first()) {
        one.port(*port);
    }
    if let Some(timeout) = all.get_connect_timeout() {
        one.connect_timeout(*timeout);
    }
    if let Some(timeout) = all.get_tcp_user_timeout() {
        one.tcp_user_timeout(*timeout);
    }
    one.keepalives(all.get_keepalives()).keepalives_idle(all.get_keepalives_idle());
    if let Some(interval) = all.get_keepalives_interval() {
        one.keepalives_interval(interval);
    }
    if let Some(retries) = all.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one.ssl_mode(all.get_ssl_mode())
        .ssl_negotiation(all.get_ssl_negotiation())
        .channel_binding(all.get_channel_binding())
        .target_session_attrs(match all.get_target_session_attrs() {
            // On a standby nothing here works, so whoever names several hosts means the one that is none.
            TargetSessionAttrs::Any => TargetSessionAttrs::ReadWrite,
            attrs => attrs,
        })
        .load_balance_hosts(all.get_load_balance_hosts());
    one
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        sync::Mutex,
    };

    use tokio::time::{Instant, timeout};

    use super::*;

    const URL: &str = "postgresql://service:secret@one:5001,two:5002/rollcall?target_session_attrs=read-write\
        &sslmode=require&application_name=mine&options=-csearch_path%3Da&channel_binding=require&keepalives_idle=7";

    fn hosts(url: &str) -> Hosts {
        Hosts::of(&url.parse().expect("a URL"))
    }

    fn port(config: &Config) -> u16 {
        config.get_ports()[0]
    }

    #[test]
    fn each_host_has_all_settings_of_the_url() {
        let hosts = hosts(URL);
        for (config, (name, port)) in hosts.configs.iter().zip([("one", 5001), ("two", 5002)]) {
            let expected = URL.replace("one:5001,two:5002", &format!("{name}:{port}"));
            assert_eq!(*config, expected.parse().expect("a URL"));
        }
        let addresses = "host=a,b hostaddr=10.0.0.1,10.0.0.2 port=5433 user=u".parse().expect("settings");
        let second = "host=b hostaddr=10.0.0.2 port=5433 user=u target_session_attrs=read-write";
        assert_eq!(Hosts::of(&addresses).configs[1], second.parse().expect("settings"));
        let alone: Config = "host=a user=u".parse().expect("settings");
        assert_eq!(*Hosts::of(&alone).configs, [alone]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_never_answers_keeps_nobody_from_the_next() {
        let hosts = hosts(URL);
        let connect = |config: Config| async move {
            match port(&config) {
                5001 => pending().await,
                port => Ok::<_, String>(port),
            }
        };
        let answer = timeout(2 * HEAD_START, hosts.first(connect)).await;
        assert_eq!(answer.expect("the second answers"), Ok(5002));
        // From now on that one is asked first.
        let begun = Instant::now();
        assert_eq!((hosts.first(connect).await, begun.elapsed()), (Ok(5002), Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_refuses_costs_no_time_and_one_that_is_well_is_asked_alone() {
        let hosts = hosts(URL);
        let asked = Mutex::new(Vec::new());
        let begun = Instant::now();
        let connect = |refuses: u16, config: &Config| {
            asked.lock().expect("no panic").push(port(config));
            ready(if port(config) == refuses { Err(refuses) } else { Ok(port(config)) })
        };
        assert_eq!(hosts.first(|config| connect(5001, &config)).await, Ok(5002));
        assert_eq!(hosts.first(|config| connect(5001, &config)).await, Ok(5002));
        assert_eq!(hosts.first(|config| connect(5002, &config)).await, Ok(5001));
        assert_eq!(*asked.lock().expect("no panic"), [5001, 5002, 5002, 5002, 5001]);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let none = hosts.first(|config| ready(Err::<(), _>(port(&config)))).await;
        assert_eq!(none, Err(5001), "the one that was asked first, which is the one that answered last");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_wrong_with_the_primary_is_told_and_not_that_the_other_is_a_standby() {
        let hosts = hosts(URL);
        let standby = "error connecting to server: database does not allow writes";
        let refused = async |of: u16, error: &'static str| {
            let none =
                hosts.first(|config| ready(Err::<(), _>(if port(&config) == of { error } else { standby })));
            none.await
        };
        assert_eq!(refused(5001, "password").await, Err("password"));
        assert_eq!(refused(5002, "password").await, Err("password"));
        assert_eq!(refused(0, "").await, Err(standby));
    }

    #[test]
    fn settings_that_do_not_fit_each_other_are_left_to_the_driver() {
        for wrong in ["host=a,b,c port=1,2", "host=a,b hostaddr=10.0.0.1"] {
            let config: Config = format!("{wrong} user=u").parse().expect("settings");
            assert_eq!(*Hosts::of(&config).configs, [config], "{wrong}");
        }
    }
}
