//! Authentication: what of a call is evidence of who makes it, and what is said of who is not let in. The caller hears one
//! answer, whatever was wrong; the log and a counter have the cause, never what was presented. Nothing of this asks the
//! database: whose account a proven person has is found out once the call is within its limits (`persons`).

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use http::Request;
use tonic::{Status, body::Body, transport::server::TcpConnectInfo};

use super::{audited::WhoCalls, parse, status, tls::Peer};
use crate::identity::{Caller, Cause, Evidence, Gate};

/// Lines a second about those who are not let in: a flood of them must not become a flood of lines. The counter has all.
const LINES: u64 = 100;

/// Finds out who calls. Cheap to clone.
#[derive(Clone)]
pub(super) struct Authn {
    gate: Gate,
}

impl Authn {
    pub(super) fn new(gate: Gate) -> Self {
        Self { gate }
    }

    /// Puts who calls into the request, with the pass by which a stream hears that it does not hold any more.
    pub(super) async fn admit(&self, request: &mut Request<Body>) -> Result<(), Status> {
        let tls = request.extensions().get::<Peer>();
        let evidence = Evidence {
            headers: request.headers(),
            peer: tls.map_or_else(|| address(request), |peer| peer.address).map(|address| address.ip()),
            certificate: tls.and_then(|peer| peer.certificate.as_deref()),
        };
        let caller = match self.gate.admit(evidence).await {
            Ok(None) => parse::named(request.headers())?,
            Ok(Some(pass)) => {
                let caller = pass.caller.clone();
                request.extensions_mut().insert(pass);
                caller
            }
            Err(cause) => return Err(refused(cause)),
        };
        calls(request, caller);
        Ok(())
    }
}

/// Puts who calls into the request, and tells the audit, which is to know of it also where the call is refused later on.
pub(super) fn calls(request: &mut Request<Body>, caller: Caller) {
    if let Some(who) = request.extensions().get::<WhoCalls>() {
        who.tell(&caller);
    }
    request.extensions_mut().insert(caller);
}

/// From which address it comes.
fn address(request: &Request<Body>) -> Option<SocketAddr> {
    request.extensions().get::<TcpConnectInfo>()?.remote_addr()
}

/// Says that somebody is not let in, and why not where the caller does not hear it.
pub(super) fn refused(cause: Cause) -> Status {
    tell(cause);
    status::caller_unknown()
}

/// Counts who was not let in, and logs it within [`LINES`].
pub(super) fn tell(cause: Cause) {
    /// The second that it is, and the lines of it.
    static WRITTEN: Mutex<(u64, u64)> = Mutex::new((0, 0));
    metrics::counter!("rollcall_callers_refused_total", "cause" => cause.word()).increment(1);
    let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let lines = {
        let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
        *written = if written.0 == second { (second, written.1 + 1) } else { (second, 1) };
        written.1
    };
    if lines <= LINES {
        tracing::warn!(cause = cause.word(), "a caller was not let in");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicU64};

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

    use super::*;

    /// Which counters there are, with the labels of each.
    #[derive(Default)]
    struct Counted(Mutex<Vec<(String, Arc<AtomicU64>)>>);

    impl Recorder for Counted {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            let labels: Vec<_> =
                key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            let count = Arc::new(AtomicU64::new(0));
            self.0.lock().unwrap().push((format!("{} {}", key.name(), labels.join(" ")), Arc::clone(&count)));
            Counter::from_arc(count)
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    /// However many lines there are: a flood is to be seen in the counter.
    #[test]
    fn all_who_are_not_let_in_are_counted_by_cause() {
        let counted = Counted::default();
        metrics::with_local_recorder(&counted, || (0..=LINES * 2).for_each(|_| tell(Cause::TokenExpired)));
        let counted = counted.0.into_inner().unwrap();
        let name = "rollcall_callers_refused_total cause=token_expired";
        assert!(counted.iter().all(|(said, _)| said == name), "{counted:?}");
        let number: u64 =
            counted.iter().map(|(_, count)| count.load(std::sync::atomic::Ordering::Relaxed)).sum();
        assert_eq!(number, LINES * 2 + 1);
    }
}
