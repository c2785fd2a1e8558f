//! What is measured, as Prometheus reads it: `GET /metrics` on a port of its own, and there also whether the process is
//! alive and ready. Whoever tells it in another way reads the same numbers ([`Exporter::families`]).
//!
//! Counting is done where things happen, with the macros of the crate `metrics`; without an exporter they do nothing. What
//! there is to be counted stands in [`KNOWN`], and nothing else gets in: a name that is not there, or a label too many, is
//! left out. So memory is bounded whatever is counted.

mod known;
mod listener;
mod series;
mod text;

use std::{
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use self::series::Registry;
pub use self::{
    known::{KNOWN, Kind, Known, Process},
    listener::{Ready, listen},
    series::{Reading, Series},
};

/// What this process counts. Clones share it.
#[derive(Clone)]
pub struct Exporter(Arc<Registry>);

impl Exporter {
    /// Begins to count what a process like this measures. A second call in one process gives the same exporter.
    pub fn install(process: Process) -> Self {
        static INSTALLED: OnceLock<Arc<Registry>> = OnceLock::new();
        let registry = INSTALLED.get_or_init(|| {
            let registry = Arc::new(Registry::new(process));
            // An error means that somebody else counts in this process already: then this one shows what is always there.
            let _ = metrics::set_global_recorder(Arc::clone(&registry));
            metrics::gauge!("rollcall_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
            registry
        });
        Self(Arc::clone(registry))
    }

    /// Everything that was counted, in the text format of Prometheus.
    pub fn text(&self) -> String {
        text::text(&self.0)
    }

    /// Everything that was counted: one name after the other, each read when it is asked for.
    pub fn families(&self) -> impl Iterator<Item = (&'static Known, Vec<Series>)> + '_ {
        self.0.families().into_iter().map(|family| (family.known, family.series()))
    }

    /// Since when it counts.
    pub fn since(&self) -> SystemTime {
        self.0.since
    }

    /// One apart from the process's own, that has what was counted meanwhile.
    #[cfg(test)]
    pub(crate) fn of(process: Process, counted: impl FnOnce()) -> Self {
        let registry = Arc::new(Registry::new(process));
        metrics::with_local_recorder(&registry, counted);
        Self(registry)
    }
}
