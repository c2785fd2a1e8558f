//! Whether it was said that a collector does not take what it is sent: once for traces and metrics together, since they go
//! to the same one.

use std::{cell::RefCell, fmt, time::Duration};

use tokio::time::Instant;
use tonic::Code;

/// The shortest time between two warnings.
const QUIET: Duration = Duration::from_secs(600);

/// Why an export is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was not answered in time.
    Silent,
    /// It was answered with an error, or not with gRPC.
    Status(Code),
    /// Some of it was not taken.
    Rejected,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

impl fmt::Display for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        })
    }
}

/// How the exports of both went. Of one thread.
#[derive(Debug, Default)]
pub(super) struct Warned(RefCell<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    is_open: bool,
    /// Whose last export was lost.
    failing: [bool; 2],
}

impl Warned {
    /// Notes how an export went. True: a warning was given.
    pub(super) fn judge(&self, signal: Signal, failure: Option<Failure>, now: Instant) -> bool {
        let mut state = self.0.borrow_mut();
        // One that takes only one of them would else be said to be well again with each export that it takes.
        state.failing[signal as usize] = failure.is_some();
        match failure {
            Some(failure) if !state.is_open && state.last.is_none_or(|last| now >= last + QUIET) => {
                (state.last, state.is_open) = (Some(now), true);
                tracing::warn!(
                    ?failure,
                    "{signal} are not taken by the collector; nothing waits for it, and spans that it misses are gone"
                );
                true
            }
            None if state.is_open && state.failing == [false; 2] => {
                state.is_open = false;
                tracing::info!("all that is sent is taken by the collector again");
                false
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWAY: Option<Failure> = Some(Failure::Status(Code::Unavailable));

    #[test]
    fn one_warning_until_something_got_through_and_not_soon_again() {
        let (warned, now) = (Warned::default(), Instant::now());
        let judge = |failure, now| warned.judge(Signal::Traces, failure, now);
        assert!(!judge(None, now));
        assert!(judge(AWAY, now));
        assert!(!judge(AWAY, now + 2 * QUIET), "it is said already");
        assert!(!judge(None, now + 2 * QUIET));
        assert!(judge(Some(Failure::Silent), now + 2 * QUIET), "it was well, and long ago");
        assert!(!judge(None, now + 2 * QUIET));
        // One that lies every other second does not fill the log.
        assert!(!judge(Some(Failure::Rejected), now + 3 * QUIET - Duration::from_secs(1)));
        assert!(judge(Some(Failure::Rejected), now + 3 * QUIET));
    }

    #[test]
    fn one_warning_for_both_until_both_got_through() {
        let (warned, now) = (Warned::default(), Instant::now());
        assert!(warned.judge(Signal::Metrics, AWAY, now));
        assert!(!warned.judge(Signal::Traces, AWAY, now), "it is said already");
        // It takes traces again, and metrics it does not: that was said, and is not over.
        for later in 1..5 {
            assert!(!warned.judge(Signal::Traces, None, now + later * QUIET));
            assert!(!warned.judge(Signal::Metrics, AWAY, now + later * QUIET));
        }
        assert!(!warned.judge(Signal::Metrics, None, now + 5 * QUIET));
        assert!(warned.judge(Signal::Traces, AWAY, now + 5 * QUIET), "all was well, and long ago");
    }
}
