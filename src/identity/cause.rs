//! Why a call is not let in: one word each, for the log and the counter. A caller hears none of them.

/// What is wrong with an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Nothing says who calls.
    NoIdentity,
    /// The mesh's header came from another address than the mesh's.
    HeaderFromElsewhere,
    /// The mesh's header is there more than once.
    HeaderDoubled,
    /// The mesh's header is not as this mesh writes it.
    HeaderMalformed,
    /// A certificate, the caller's own or the one in the mesh's header, names no SPIFFE id.
    UriMissing,
    /// It names more than one.
    UriDoubled,
    /// The identity is of a trust domain that is not trusted here.
    TrustDomainForeign,
    /// Who calls is proven, and is none of the callers.
    NotListed,
}

impl Cause {
    /// The word of it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoIdentity => "no_identity",
            Self::HeaderFromElsewhere => "header_from_elsewhere",
            Self::HeaderDoubled => "header_doubled",
            Self::HeaderMalformed => "header_malformed",
            Self::UriMissing => "uri_missing",
            Self::UriDoubled => "uri_doubled",
            Self::TrustDomainForeign => "trust_domain_foreign",
            Self::NotListed => "not_listed",
        }
    }
}
