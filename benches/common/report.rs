//! Settings from the environment, and results as lines of `name = value`.

use std::{env, str::FromStr, time::Duration};

/// A setting from the environment, or its default.
pub(crate) fn setting<T: FromStr>(name: &str, default: T) -> T {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not understood")),
        Err(_) => default,
    }
}

/// Whether a part of a bench is wanted (`BENCH_PARTS`, as in `delivery,growth`; all where nothing is said).
pub(crate) fn wanted(part: &str) -> bool {
    let parts: String = setting("BENCH_PARTS", String::new());
    parts.is_empty() || parts.split(',').any(|wanted| wanted == part)
}

/// Numbers with commas between them.
pub(crate) fn list(name: &str, default: &str) -> Vec<usize> {
    let text: String = setting(name, default.to_owned());
    text.split(',').map(|number| number.parse().expect("numbers with commas between them")).collect()
}

/// How long one measurement of a round takes (`BENCH_SECONDS`).
pub(crate) fn seconds(default: u64) -> Duration {
    Duration::from_secs(setting("BENCH_SECONDS", default).max(1))
}

/// How often the measured and the yardstick take turns (`BENCH_ROUNDS`).
pub(crate) fn rounds(default: usize) -> usize {
    setting("BENCH_ROUNDS", default).max(1)
}

/// One result.
pub(crate) fn line(name: &str, value: f64) {
    let digits = match value.abs() {
        large if large >= 1_000.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 3,
    };
    println!("{name} = {value:.digits$}");
}

/// What is being measured now, for people.
pub(crate) fn say(text: &str) {
    println!("# {text}");
}

/// The middle of some measurements.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// Durations in nanoseconds; negative where one process saw the end before the other was told so.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<i64>);

impl Samples {
    pub(crate) fn push(&mut self, nanoseconds: i64) {
        self.0.push(nanoseconds);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value in milliseconds that so many percent of the samples do not exceed.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
        let index = ((percent / 100.0) * last as f64).round() as usize;
        sorted[index.min(last)] as f64 / 1e6
    }
}

impl Extend<i64> for Samples {
    fn extend<T: IntoIterator<Item = i64>>(&mut self, values: T) {
        self.0.extend(values);
    }
}

/// Measurements of the rounds by name; the results are their medians.
#[derive(Debug, Default)]
pub(crate) struct Rounds(Vec<(String, Vec<f64>)>);

impl Rounds {
    pub(crate) fn add(&mut self, name: &str, value: f64) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => values.push(value),
            None => self.0.push((name.to_owned(), vec![value])),
        }
    }

    pub(crate) fn get(&self, name: &str) -> f64 {
        self.0.iter().find(|(known, _)| known == name).map_or(f64::NAN, |(_, values)| median(values))
    }

    /// Prints the median of each, in the order of first appearance, and what the rounds were.
    pub(crate) fn print(&self) {
        for (name, values) in &self.0 {
            line(name, median(values));
            if values.len() > 1 {
                let each: Vec<String> = values.iter().map(|value| format!("{value:.2}")).collect();
                say(&format!("  {name} in each round: {}", each.join(", ")));
            }
        }
    }

    /// Prints the median over the rounds of how one compares with the other in the same round.
    pub(crate) fn ratio(&self, name: &str, measured: &str, yardstick: &str) {
        let of = |wanted: &str| self.0.iter().find(|(known, _)| known == wanted).map(|(_, values)| values);
        let (Some(measured), Some(yardstick)) = (of(measured), of(yardstick)) else { return };
        let ratios: Vec<f64> = measured.iter().zip(yardstick).map(|(one, other)| one / other).collect();
        line(name, median(&ratios));
    }
}

/// The clock that all processes of this machine share.
pub(crate) fn monotonic() -> i64 {
    nanoseconds(rustix::time::ClockId::Monotonic)
}

/// The wall clock, to compare with times that Postgres recorded on this machine.
pub(crate) fn wall() -> i64 {
    nanoseconds(rustix::time::ClockId::Realtime)
}

fn nanoseconds(clock: rustix::time::ClockId) -> i64 {
    let now = rustix::time::clock_gettime(clock);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
