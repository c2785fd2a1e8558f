//! How far a long command is, on stderr: a bar where a person looks, now and then a line in a log. And what it came to,
//! as lines for scripts.

use std::{
    cell::Cell,
    io::{self, IsTerminal as _},
    pin::pin,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Often enough that a bar seems alive where nothing is done for a while.
const REDRAW: Duration = Duration::from_millis(200);
/// Seldom enough that a log stays readable.
const LINE: Duration = Duration::from_secs(5);

/// Counts what is done and shows it.
pub(super) struct Progress {
    unit: &'static str,
    total: usize,
    done: Cell<usize>,
    begun: Instant,
    /// Hidden where stderr is no terminal.
    bar: ProgressBar,
    terminal: bool,
}

impl Progress {
    pub(super) fn new(unit: &'static str, total: usize) -> Self {
        let terminal = io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target).with_style(style(unit));
        Self { unit, total, done: Cell::new(0), begun: Instant::now(), bar, terminal }
    }

    /// One more is done.
    pub(super) fn step(&self) {
        self.done.set(self.done.get() + 1);
        self.bar.inc(1);
    }

    /// Shows progress until the work is done, and then leaves no trace of a bar: neither a result nor an error begins in
    /// the middle of its line.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let every = if self.terminal { REDRAW } else { LINE };
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        let mut work = pin!(work);
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                _ = ticks.tick() => match self.terminal {
                    true => self.bar.tick(),
                    false => eprintln!("{}", self.line(self.begun.elapsed())),
                },
            }
        };
        self.bar.finish_and_clear();
        result
    }

    fn line(&self, after: Duration) -> String {
        let (done, total, unit) = (self.done.get(), self.total, self.unit);
        format!("{done} of {total} {unit}, {:.0} {unit}/s", per_second(done, after))
    }
}

fn style(unit: &'static str) -> ProgressStyle {
    ProgressStyle::with_template(&format!("{{bar:30}} {{pos}} of {{len}} {unit}, {{rate}}, {{eta}} left"))
        .expect("the template is a constant, and a test makes it")
        .with_key("rate", move |state: &ProgressState, to: &mut dyn std::fmt::Write| {
            // Writing to a terminal's buffer cannot fail.
            let _ = write!(to, "{:.0} {unit}/s", state.per_sec());
        })
        .progress_chars("=> ")
}

fn per_second(rows: usize, took: Duration) -> f64 {
    rows as f64 / took.as_secs_f64().max(f64::EPSILON)
}

/// What a command did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Totals {
    pub(crate) rows: usize,
    pub(crate) took: Duration,
}

impl Totals {
    pub(crate) fn rows_per_second(&self) -> f64 {
        per_second(self.rows, self.took)
    }

    /// The result as lines of `name = value`.
    pub(crate) fn lines(&self) -> [String; 3] {
        [
            format!("rows = {}", self.rows),
            format!("seconds = {:.1}", self.took.as_secs_f64()),
            format!("rows_per_second = {:.0}", self.rows_per_second()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_and_how_fast() {
        let progress = Progress::new("rows", 10);
        (0..4).for_each(|_| progress.step());
        assert_eq!(progress.line(Duration::from_secs(2)), "4 of 10 rows, 2 rows/s");
    }

    #[tokio::test(start_paused = true)]
    async fn the_work_is_done_whatever_is_shown() {
        let progress = Progress::new("rows", 1);
        let work = async {
            tokio::time::sleep(LINE * 2).await;
            progress.step();
            7
        };
        assert_eq!(progress.during(work).await, 7);
        assert_eq!(progress.done.get(), 1);
    }
}
