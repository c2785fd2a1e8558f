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
    /// It has expired since the connection was made, or before.
    CertificateExpired,
    /// No authority of the callers' signed it, or it is not for this.
    CertificateUntrusted,
    /// No connection of TLS came about.
    HandshakeFailed,
    /// The identity is of a trust domain that is not trusted here.
    TrustDomainForeign,
    /// Who calls is proven, and is none of the callers.
    NotListed,
    /// What the connection proves and what the token proves are two callers.
    Disagreement,
    /// There is more than one token.
    TokenDoubled,
    /// The token is longer than 8 KiB.
    TokenTooLong,
    /// It is no token, or its claims are not of the right kind.
    TokenMalformed,
    /// It is not signed, or with what its key is not for, or with a shared secret.
    TokenAlgorithm,
    /// Its issuer is none of those trusted for this.
    TokenIssuer,
    /// It is for another service.
    TokenAudience,
    /// It has expired.
    TokenExpired,
    /// It is of the future.
    TokenNotYet,
    /// It lives longer than an hour.
    TokenLifetime,
    /// Its issuer publishes no such key.
    TokenKeyUnknown,
    /// No key of its issuer could be fetched so far.
    TokenKeysMissing,
    /// It was not signed with that key.
    TokenSignature,
    /// The token of a person does not say which workload may use it.
    ActorMissing,
    /// Another workload may use it.
    ActorOther,
    /// No account has the person's external id.
    PersonUnknown,
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
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateUntrusted => "certificate_untrusted",
            Self::HandshakeFailed => "handshake_failed",
            Self::TrustDomainForeign => "trust_domain_foreign",
            Self::NotListed => "not_listed",
            Self::Disagreement => "disagreement",
            Self::TokenDoubled => "token_doubled",
            Self::TokenTooLong => "token_too_long",
            Self::TokenMalformed => "token_malformed",
            Self::TokenAlgorithm => "token_algorithm",
            Self::TokenIssuer => "token_issuer",
            Self::TokenAudience => "token_audience",
            Self::TokenExpired => "token_expired",
            Self::TokenNotYet => "token_not_yet",
            Self::TokenLifetime => "token_lifetime",
            Self::TokenKeyUnknown => "token_key_unknown",
            Self::TokenKeysMissing => "token_keys_missing",
            Self::TokenSignature => "token_signature",
            Self::ActorMissing => "actor_missing",
            Self::ActorOther => "actor_other",
            Self::PersonUnknown => "person_unknown",
        }
    }
}
