//! Servers that outlived their service. After a `kill -9` of the service its server is still shutting down
//! for a moment; and after a power failure, or when a whole container was killed, `postmaster.pid` remains
//! and names a process that may be anybody by now. Postgres would refuse to start in both cases.
//!
//! Callers hold the lock of the data directory, so no other service is behind what is found here.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::EmbeddedError;

/// As long as a service waits for its own server.
const LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// A server process, and whether it is the one that takes orders.
struct Leftover {
    pid: u32,
    takes_orders: bool,
}

/// Returns when no process serves from `pgdata` any more, having asked the last one to end.
pub(super) fn wait_for_end(data_dir: &Path, pgdata: &Path) -> Result<(), EmbeddedError> {
    let pid_file = pgdata.join("postmaster.pid");
    let started = Instant::now();
    let mut asked = false;
    // A server removes its file when it has ended in order.
    while pid_file.exists() {
        let Some(leftover) = find(pgdata, &pid_file) else {
            return remove_stale(&pid_file);
        };
        if started.elapsed() > LIMIT {
            return Err(EmbeddedError::StillRunning {
                data_dir: data_dir.to_path_buf(),
                pid: leftover.pid,
                waited: LIMIT,
            });
        }
        if !asked && leftover.takes_orders {
            tracing::info!(pid = leftover.pid, "waiting for the server of an earlier service to end");
            interrupt(leftover.pid);
            asked = true;
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// On Linux a server of `pgdata` is known by its working directory, which all its processes share.
#[cfg(target_os = "linux")]
fn find(pgdata: &Path, pid_file: &Path) -> Option<Leftover> {
    let named = named_pid(pid_file);
    let mut found: Vec<u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = entry.file_name().to_str()?.parse().ok()?;
            (fs::read_link(entry.path().join("cwd")).ok()? == pgdata).then_some(pid)
        })
        .collect();
    found.sort_by_key(|pid| Some(*pid) != named);
    found.first().map(|pid| Leftover { pid: *pid, takes_orders: Some(*pid) == named })
}

/// Elsewhere by its arguments, in which it was given `pgdata`. Weaker: of a server that died without its
/// children only Postgres itself can tell that these still run.
#[cfg(not(target_os = "linux"))]
fn find(pgdata: &Path, pid_file: &Path) -> Option<Leftover> {
    let pid = named_pid(pid_file)?;
    let listed =
        std::process::Command::new("ps").args(["-ww", "-o", "args=", "-p", &pid.to_string()]).output();
    let arguments = String::from_utf8_lossy(&listed.ok()?.stdout).into_owned();
    arguments.contains(&*pgdata.to_string_lossy()).then_some(Leftover { pid, takes_orders: true })
}

/// Only where it is certain that no process of the server is left; Postgres cannot be that certain when the
/// number belongs to a thread or a process of the same user, as it often does after a container's restart.
fn remove_stale(pid_file: &Path) -> Result<(), EmbeddedError> {
    if !cfg!(target_os = "linux") || !Path::new("/proc/self/cwd").exists() {
        return Ok(());
    }
    match fs::remove_file(pid_file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(EmbeddedError::io("remove", pid_file)(error))
        }
        _ => Ok(()),
    }
}

fn named_pid(pid_file: &Path) -> Option<u32> {
    fs::read_to_string(pid_file).ok()?.lines().next()?.trim().parse().ok()
}

/// Asks for the fast shutdown. When it has ended meanwhile, the next look finds that out.
fn interrupt(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::INT);
    }
}
