//! The server as a child process: it ends when the service ends, however that happens, and never before the
//! service lets it.
//!
//! 1. On Linux the kernel sends the server SIGINT, a fast shutdown, when its parent *thread* dies. Therefore
//!    one thread starts the server, waits for it, and lives as long as it does.
//! 2. The server has a process group of its own, so that Ctrl-C in a terminal reaches the service alone,
//!    which can finish its work before it stops the server.
//! 3. It gets none of the service's environment, which may hold secrets.
//!
//! Elsewhere than on Linux the first promise is weaker: a service that is killed with SIGKILL leaves its
//! server running, and the next start on the same directory ends it.

use std::{
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid},
};

use super::{EmbeddedError, identity::Identity};

/// A fast shutdown writes a checkpoint, which takes as long as the disk takes for what is dirty.
const FAST_LIMIT: Duration = Duration::from_secs(30);
/// An immediate shutdown writes nothing; the server itself kills its children after five seconds.
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(10);

/// The running server. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Postmaster {
    pid: u32,
    watch: Arc<Watch>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Watch {
    /// While this is empty and locked, the process has not been reaped, so its number is still its own.
    ended: Mutex<Option<ExitStatus>>,
    changed: Condvar,
    /// Whether an end is somebody's wish or failure to report, or else news.
    end_is_news: AtomicBool,
}

impl Postmaster {
    /// Starts `command`, which `server_command` has made.
    pub(super) fn spawn(command: Command) -> Result<Self, EmbeddedError> {
        let program = Path::new(command.get_program()).to_path_buf();
        let watch = Arc::new(Watch::default());
        let (sender, receiver) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("rollcall-pg".to_owned())
            .spawn({
                let watch = Arc::clone(&watch);
                move || supervise(command, &watch, &sender)
            })
            .map_err(EmbeddedError::spawn(&program))?;
        let pid = receiver.recv().expect("the thread reports before it does anything else");
        let pid = pid.map_err(EmbeddedError::spawn(&program))?;
        Ok(Self { pid, watch, thread: Some(thread) })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it did.
    pub(super) fn ended(&self) -> Option<ExitStatus> {
        *self.watch.lock()
    }

    /// From now on an end that nobody asked for goes to the log.
    pub(super) fn expect_to_live(&self) {
        self.watch.end_is_news.store(true, Ordering::Relaxed);
    }

    /// Ends it: fast, or else immediately, which costs the next start a recovery but no committed data.
    pub(super) fn stop(&mut self) -> Result<(), EmbeddedError> {
        self.watch.end_is_news.store(false, Ordering::Relaxed);
        self.watch.signal(self.pid, Signal::INT);
        if !self.watch.wait(FAST_LIMIT) {
            tracing::warn!(
                pid = self.pid,
                "the server did not end by a fast shutdown; trying an immediate one"
            );
            self.watch.signal(self.pid, Signal::QUIT);
            if !self.watch.wait(IMMEDIATE_LIMIT) {
                return Err(EmbeddedError::StopTimedOut {
                    pid: self.pid,
                    waited: FAST_LIMIT + IMMEDIATE_LIMIT,
                });
            }
        }
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the thread has nothing left to do that could panic");
        }
        Ok(())
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        // No thread: stopped already.
        if self.thread.is_some()
            && let Err(error) = self.stop()
        {
            tracing::warn!(%error, "the embedded database could not be stopped");
        }
    }
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, Option<ExitStatus>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, pid: u32, signal: Signal) {
        let ended = self.lock();
        if ended.is_none()
            && let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw)
        {
            // Cannot fail for a child that has not been reaped; and if it did, waiting for the end says so.
            let _ = kill_process(pid, signal);
        }
    }

    fn wait(&self, limit: Duration) -> bool {
        let waiting = self.changed.wait_timeout_while(self.lock(), limit, |ended| ended.is_none());
        waiting.unwrap_or_else(PoisonError::into_inner).0.is_some()
    }
}

/// The life of the thread.
fn supervise(mut command: Command, watch: &Watch, report: &mpsc::SyncSender<io::Result<u32>>) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = report.send(Err(error));
            return;
        }
    };
    let _ = report.send(Ok(child.id()));
    // Waits without reaping, so that no signal can meet a stranger that got the same number.
    let until_it_ends = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(Errno::INTR) = waitid(WaitId::Pid(Pid::from_child(&child)), until_it_ends) {}
    let mut ended = watch.lock();
    let status = child.wait().unwrap_or_default();
    *ended = Some(status);
    watch.changed.notify_all();
    drop(ended);
    if watch.end_is_news.load(Ordering::Relaxed) {
        tracing::error!(pid = child.id(), %status, "the embedded database ended, and nobody had asked it to");
    }
}

/// A command for a program of the server: as `identity`, within `directory`, ending with the calling thread.
pub(super) fn server_command(program: &Path, directory: &Path, identity: &Identity) -> Command {
    let mut command = Command::new(program);
    // LC_ALL keeps messages readable for `initdb`, and on macOS the server from starting threads too early.
    command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    // Programs of the server insist on a working directory that they can read.
    command.current_dir(directory);
    identity.apply(&mut command);
    end_with_parent_thread(&mut command);
    command
}

/// See the first promise of this module.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn end_with_parent_thread(command: &mut Command) {
    let parent = rustix::process::getpid();
    let arrange = move || {
        // std runs this after it has changed the user; changing it later would clear the request.
        rustix::process::set_parent_process_death_signal(Some(Signal::INT))?;
        // A parent that died before the request would never be noticed.
        if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(io::Error::from(Errno::SRCH)) }
    };
    // SAFETY: the closure runs between fork and exec, where another thread may have held any lock, the
    // allocator's among them. It makes two system calls, reads a copied number and builds its errors from
    // numbers: it takes no lock, allocates nothing and touches no memory that threads share.
    unsafe {
        command.pre_exec(arrange);
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent_thread(_command: &mut Command) {}
