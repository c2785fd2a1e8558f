//! Running a command that talks to a service: its runtime, its signals, its exit code.

use std::{
    fmt::Display,
    future::Future,
    io::{self, Write as _},
    process::{ExitCode, Termination},
};

use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// Runs the future to its end on a runtime of its own. An error goes to stderr and makes the exit code 1.
pub(super) fn to_end<T: Termination, E: Display>(
    command: &str,
    future: impl Future<Output = Result<T, E>>,
) -> ExitCode {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(command, &error),
    };
    let result = runtime.block_on(future);
    // Not waited for: a thread that is stuck in writing to a pipe which nobody reads would keep the process forever.
    runtime.shutdown_background();
    match result {
        Ok(done) => done.report(),
        Err(error) => failed(command, &error),
    }
}

pub(super) fn failed(command: &str, error: &dyn Display) -> ExitCode {
    eprintln!("rollcall {command}: {error}");
    ExitCode::FAILURE
}

/// Prints a line of results. A reader who left is no failure of the command.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints a result that is a text of its own. A reader who left is no failure here either.
pub(super) fn say_all(text: &[u8]) -> ExitCode {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

/// A token that SIGTERM and SIGINT (Ctrl-C) cancel. Asked for first, so that no signal finds its default still in place.
pub(super) fn stop_on_signals() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    // Owned by the runtime: ends with it at the latest.
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        cancelled.cancel();
    });
    Ok(stop)
}
