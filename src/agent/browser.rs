//! Keeps out the pages that browsers of this machine show. Nobody who calls the agent is asked who they are, and a page of any
//! site can have its browser call an address of this machine: to read who is out, or to say what was ended. Backends send none
//! of what browsers say of such a call, so whoever says it is refused.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Uri, header, uri::Authority},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};

use tonic::service::Routes;

use super::refusal;

/// What a browser says where a person typed the address.
const TYPED: &str = "none";

/// Whose calls are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// By an address of this machine alone.
    Here,
    /// From elsewhere too, by whatever name.
    Anywhere,
}

/// The routes, for whoever is no page.
pub(super) fn guarded(routes: Routes, reached: Reached) -> Routes {
    routes.into_axum_router().layer(from_fn_with_state(reached, refuse)).into()
}

/// Refuses a call that a page had its browser make.
async fn refuse(State(reached): State<Reached>, request: Request, next: Next) -> Response {
    if is_of_a_page(request.headers()) {
        return refusal::of_a_page().into_response();
    }
    if reached == Reached::Here && !is_here(request.uri(), request.headers()) {
        return refusal::strange_host().into_response();
    }
    next.run(request).await
}

fn is_of_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN)
        || headers.get("sec-fetch-site").is_some_and(|site| site.as_bytes() != TYPED.as_bytes())
}

/// Whether a call means this machine. A name that is none of this machine's was made to lead here: its page may then read
/// the answers as its own, without saying that it is of another site. An address cannot be made to.
fn is_here(uri: &Uri, headers: &HeaderMap) -> bool {
    let given = match (uri.authority(), headers.get(header::HOST)) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str().unwrap_or_default(),
        // As in HTTP/1.0, which no browser speaks.
        (None, None) => return true,
    };
    let Ok(authority) = given.parse::<Authority>() else { return false };
    let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn an_address_and_localhost_mean_this_machine_and_other_names_do_not() {
        let by_header = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            is_here(&Uri::from_static("/v1/check"), &headers)
        };
        for here in
            ["localhost", "LOCALHOST:7401", "chat.localhost", "127.0.0.1:7401", "[::1]:7401", "10.0.0.7"]
        {
            assert!(by_header(here), "{here}");
        }
        for strange in [
            "evil.example",
            "localhost.evil.example:7401",
            "127.0.0.1.evil.example",
            "",
            "a b",
            "mylocalhost",
        ] {
            assert!(!by_header(strange), "{strange}");
        }
        let none = HeaderMap::new();
        assert!(is_here(&Uri::from_static("/v1/check"), &none));
        assert!(is_here(&Uri::from_static("http://localhost:7401/v1/check"), &none));
        assert!(!is_here(&Uri::from_static("http://evil.example/v1/check"), &none));
    }
}
