//! Faults, one file each: what must hold while something around the service goes wrong, and the figure that tells how
//! well it did. The everyday runs are small and their bounds only tell a stall from none; `make faults` runs them at
//! full size (`ROLLCALL_FAULTS=full`) and prints the figures. docs/faults.md has the table.

use std::{env, time::Duration};

mod big_command;
mod clocks;
mod crew;
mod cut_off;
mod disk_full;
mod failover;
mod flaws;
mod flood;
mod followers;
mod founding;
mod frames;
mod frozen;
mod http2;
mod idle_streams;
mod killed_in_commit;
mod kills;
mod load;
mod lost_notifications;
mod lost_tail;
mod mass;
mod network;
mod never_reads;
mod one_request;
mod open_transaction;
mod overload;
mod partition;
mod paused;
mod pgbouncer;
mod postgres;
mod postgres_crash;
mod primary;
mod prober;
mod proxies;
mod reconnect_storm;
mod restored;
mod scale_up;
mod scene;
mod slow_reader;
mod soak;
mod storm;
mod terminated;
mod upgrade;
mod waiters;

pub(crate) use network::{Way, Wire};

/// Whether to run at full size.
fn full() -> bool {
    env::var("ROLLCALL_FAULTS").is_ok_and(|size| size == "full")
}

/// The size of something, in an everyday run and at full size.
fn size<T>(everyday: T, at_full_size: T) -> T {
    if full() { at_full_size } else { everyday }
}

/// The value below which 99 of 100 of these are.
fn p99(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    values[(values.len() * 99).div_ceil(100) - 1]
}

/// In milliseconds, with a decimal.
fn ms(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1_000.0)
}
