//! What a mesh says of who calls: the header that its proxy sets, beside the service. The proxy has checked the certificate;
//! the header is worth as much as whoever it comes from.

use http::HeaderMap;

use super::{Cause, SpiffeId, callers::Principal, spiffe::is_trust_domain};

/// Which mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mesh {
    /// Istio, and every other Envoy that forwards the certificate of its client.
    Istio,
    /// Linkerd.
    Linkerd,
}

/// What stands in the middle of an identity of Linkerd.
const SERVICE_ACCOUNT: &str = ".serviceaccount.identity.";

impl Mesh {
    /// In which header it says who calls.
    pub const fn header(self) -> &'static str {
        match self {
            Self::Istio => "x-forwarded-client-cert",
            Self::Linkerd => "l5d-client-id",
        }
    }

    /// Who calls, and the trust domain that says so. None: the header is not there.
    pub(super) fn read(self, headers: &HeaderMap) -> Result<Option<Principal>, Cause> {
        let mut values = headers.get_all(self.header()).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Cause::HeaderDoubled);
        }
        let text = value.to_str().map_err(|_| Cause::HeaderMalformed)?;
        match self {
            Self::Istio => istio(text).map(Principal::Spiffe),
            Self::Linkerd => linkerd(text).map(Principal::Linkerd),
        }
        .map(Some)
    }
}

/// `NAME.NAMESPACE.serviceaccount.identity.LINKERD_NAMESPACE.TRUST_DOMAIN`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LinkerdId(String);

impl LinkerdId {
    /// Reads one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (account, domain) = text.split_once(SERVICE_ACCOUNT)?;
        let (name, namespace) = account.rsplit_once('.')?;
        // Each is a name of DNS, as a trust domain is.
        let fits = [name, namespace, domain].into_iter().all(|part| {
            is_trust_domain(part) && part.split('.').all(|label| !label.is_empty() && !label.contains('_'))
        });
        (fits && !domain.contains(SERVICE_ACCOUNT.trim_matches('.'))).then(|| Self(text.to_owned()))
    }

    /// Whether this trust domain says so: the control plane's namespace stands before it.
    pub(super) fn is_of(&self, trust_domain: &str) -> bool {
        let domain = self.0.split_once(SERVICE_ACCOUNT).map_or("", |(_, domain)| domain);
        domain == trust_domain
            || domain.split_once('.').is_some_and(|(_namespace, domain)| domain == trust_domain)
    }
}

fn linkerd(text: &str) -> Result<LinkerdId, Cause> {
    LinkerdId::parse(text).ok_or(Cause::HeaderMalformed)
}

/// Who calls, by the last element: each proxy on the way appends what it saw, so the one next to the service has the last
/// word, and what comes before it may have been made up by the client.
fn istio(text: &str) -> Result<SpiffeId, Cause> {
    let elements = elements(text).ok_or(Cause::HeaderMalformed)?;
    let nearest = elements.last().ok_or(Cause::HeaderMalformed)?;
    let mut uris = nearest.iter().filter(|(key, _)| key.eq_ignore_ascii_case("uri")).map(|(_, value)| value);
    let uri = uris.next().filter(|uri| !uri.is_empty()).ok_or(Cause::UriMissing)?;
    if uris.next().is_some() {
        return Err(Cause::UriDoubled);
    }
    SpiffeId::parse(uri).ok_or(Cause::HeaderMalformed)
}

type Element<'a> = Vec<(&'a str, String)>;

/// The elements of the header, each with its pairs of key and value. What Envoy never writes is no header of Envoy's: a
/// quotation mark in the middle of a value, or one that is never closed, may hide where an element ends.
fn elements(text: &str) -> Option<Vec<Element<'_>>> {
    let mut elements = vec![Vec::new()];
    let mut rest = text;
    loop {
        let (key, after) = rest.split_once('=')?;
        let key = key.trim_matches(' ');
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted)?,
            None => {
                let (value, after) = after.split_at(after.find([';', ',']).unwrap_or(after.len()));
                if value.contains('"') {
                    return None;
                }
                (value.to_owned(), after)
            }
        };
        elements.last_mut()?.push((key, value));
        let mut left = after.chars();
        match left.next() {
            None => return Some(elements),
            Some(';') => {}
            Some(',') => elements.push(Vec::new()),
            Some(_) => return None,
        }
        rest = left.as_str();
    }
}

/// A value up to its closing quotation mark, and what follows that.
fn quoted_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next()? {
            '"' => return Some((value, characters.as_str())),
            '\\' => value.push(characters.next()?),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str = "spiffe://example.org/ns/chat/sa/chat";

    fn id(text: &str) -> Result<SpiffeId, Cause> {
        istio(text)
    }

    #[test]
    fn the_nearest_element_says_who_calls() {
        let chat = SpiffeId::parse(CHAT).expect("an id");
        let by = "By=spiffe://example.org/ns/rollcall/sa/rollcall;Hash=468e";
        for text in [
            format!("URI={CHAT}"),
            format!("{by};Subject=\"\";URI={CHAT}"),
            format!("{by};Subject=\"CN=a,O=b;URI=spiffe://example.org/x\";URI={CHAT}"),
            format!("{by};Subject=\"CN=\\\"a\\\"\";uri={CHAT};DNS=chat.example.org"),
            format!("{by};URI=\"{CHAT}\""),
            format!("{by};URI=spiffe://example.org/ns/boards/sa/boards,{by};URI={CHAT}"),
            format!("{by};URI=spiffe://example.org/ns/boards/sa/boards, {by};URI={CHAT}"),
        ] {
            assert_eq!(id(&text), Ok(chat.clone()), "{text}");
        }
    }

    #[test]
    fn what_envoy_does_not_write_is_refused() {
        for text in [
            "",
            CHAT,
            "URI",
            ";",
            ",",
            "=a",
            &format!("URI={CHAT};"),
            &format!("URI={CHAT},"),
            &format!("URI=\"{CHAT}"),
            &format!("Subject=\"a\"b;URI={CHAT}"),
            &format!("Subject=a\"b;URI={CHAT}"),
            &format!("URI={CHAT}\""),
            "URI=https://example.org/a",
            // An opened quotation mark that swallows what the proxy appends.
            &format!("URI={CHAT};Subject=\",By=x;Hash=1;URI=spiffe://example.org/ns/evil/sa/evil"),
            &format!(
                "URI={CHAT};Subject=\",By=x;Subject=\"CN=evil\";URI=spiffe://example.org/ns/evil/sa/evil"
            ),
        ] {
            assert_eq!(id(text), Err(Cause::HeaderMalformed), "{text}");
        }
        assert_eq!(id(&format!("URI={CHAT};URI={CHAT}")), Err(Cause::UriDoubled));
        assert_eq!(id("By=spiffe://example.org/a;Hash=1;Subject=\"\""), Err(Cause::UriMissing));
        assert_eq!(id("Hash=1;URI="), Err(Cause::UriMissing));
        // The last one counts, also if it says less.
        assert_eq!(id(&format!("URI={CHAT},Hash=1")), Err(Cause::UriMissing));
    }

    #[test]
    fn identities_of_linkerd_name_their_trust_domain() {
        let id = LinkerdId::parse("chat.talk.serviceaccount.identity.linkerd.cluster.local").expect("an id");
        assert!(id.is_of("cluster.local") && id.is_of("linkerd.cluster.local"));
        assert!(!id.is_of("local") && !id.is_of("other.local") && !id.is_of(""));
        assert!(LinkerdId::parse("my.chat.talk.serviceaccount.identity.linkerd.cluster.local").is_some());
        for wrong in [
            "",
            "chat",
            "chat.serviceaccount.identity.linkerd.cluster.local",
            "chat..serviceaccount.identity.linkerd.cluster.local",
            "chat.talk.serviceaccount.identity.",
            "chat.talk.serviceaccount.identity.a.serviceaccount.identity.cluster.local",
            "Chat.talk.serviceaccount.identity.linkerd.cluster.local",
            "chat.talk.serviceaccount.identity.linkerd.cluster.local,x",
        ] {
            assert_eq!(LinkerdId::parse(wrong), None, "{wrong}");
        }
    }
}
