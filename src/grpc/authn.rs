//! Authentication: what of a call is evidence of who makes it, and what is said of who is not let in. The caller hears one
//! answer, whatever was wrong; the log and a counter have the cause, never what was presented.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use http::Request;
use tonic::{Status, body::Body, transport::server::TcpConnectInfo};

use super::{audited::WhoCalls, parse, status};
use crate::identity::{Cause, Evidence, Gate};

/// Lines a second about those who are not let in: a flood of them must not become a flood of lines. The counter has all.
const LINES: u64 = 100;

/// Finds out who calls, and puts it into the request, with the pass by which a stream hears that it does not hold any more.
pub(super) fn admit(gate: &Gate, request: &mut Request<Body>) -> Result<(), Status> {
    let evidence = Evidence { headers: request.headers(), peer: peer(request) };
    let caller = match gate.admit(evidence) {
        Ok(None) => parse::named(request.headers())?,
        Ok(Some(pass)) => {
            let caller = pass.caller.clone();
            request.extensions_mut().insert(pass);
            caller
        }
        Err(cause) => {
            tell(cause);
            return Err(status::caller_unknown());
        }
    };
    if let Some(who) = request.extensions().get::<WhoCalls>() {
        who.tell(&caller);
    }
    request.extensions_mut().insert(caller);
    Ok(())
}

/// From which address it comes.
fn peer(request: &Request<Body>) -> Option<IpAddr> {
    request.extensions().get::<TcpConnectInfo>()?.remote_addr().map(|address| address.ip())
}

/// Counts who was not let in, and logs it within [`LINES`].
fn tell(cause: Cause) {
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
