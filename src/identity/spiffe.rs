//! SPIFFE ids, as the SPIFFE standard writes them: `spiffe://TRUST_DOMAIN/PATH`.

/// As long as the standard allows.
const MAX: usize = 2_048;
/// The same of a trust domain.
const MAX_DOMAIN: usize = 255;
const SCHEME: &str = "spiffe://";

/// The identity of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId(String);

impl SpiffeId {
    /// Reads one. Two that differ in one character are two, so nothing is brought into another form.
    pub fn parse(text: &str) -> Option<Self> {
        let (domain, path) = text.strip_prefix(SCHEME).filter(|_| text.len() <= MAX)?.split_once('/')?;
        let is_segment = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        };
        (is_trust_domain(domain) && path.split('/').all(is_segment)).then(|| Self(text.to_owned()))
    }

    /// Whose word it is that this is who they are.
    pub fn trust_domain(&self) -> &str {
        let rest = &self.0[SCHEME.len()..];
        rest.split_once('/').map_or(rest, |(domain, _)| domain)
    }
}

/// Whether a text can be the name of a trust domain.
pub(super) fn is_trust_domain(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    !text.is_empty() && text.len() <= MAX_DOMAIN && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_the_standard_writes_them() {
        let id = SpiffeId::parse("spiffe://example.org/ns/chat/sa/chat").expect("an id");
        assert_eq!(id.trust_domain(), "example.org");
        for wrong in [
            "",
            "spiffe://",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe:///ns/chat",
            "SPIFFE://example.org/ns",
            "spiffe://Example.org/ns",
            "spiffe://example.org:8443/ns",
            "spiffe://user@example.org/ns",
            "spiffe://example.org/ns//sa",
            "spiffe://example.org/ns/",
            "spiffe://example.org/../sa",
            "spiffe://example.org/./sa",
            "spiffe://example.org/ns%2Fsa",
            "spiffe://example.org/ns?sa",
            "spiffe://example.org/ns#sa",
            "spiffe://example.org/ns sa",
            "https://example.org/ns",
        ] {
            assert_eq!(SpiffeId::parse(wrong), None, "{wrong}");
        }
        assert_eq!(SpiffeId::parse(&format!("spiffe://example.org/{}", "a".repeat(2_048))), None);
        assert_eq!(SpiffeId::parse(&format!("spiffe://{}/a", "a".repeat(256))), None);
    }
}
