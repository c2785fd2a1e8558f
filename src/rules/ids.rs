//! Names and ids that cannot be wrong: parsed once at the edge, carried as types inside.

use std::{fmt, str::FromStr};

use email_address::{EmailAddress, Options};
use uuid::Uuid;

use super::shown;

/// Why a name or id was refused. Says what is wrong with it, never what it was: it may be personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Nothing was given.
    #[error("must not be empty")]
    Empty,
    /// Not a UUID in its hyphenated form.
    #[error("must be a UUID in lower case, as in 0190b7a4-1111-7000-8000-000000000001")]
    Uuid,
    /// More characters than `max`.
    #[error("must be at most {max} characters long")]
    TooLong {
        /// The most characters that are allowed.
        max: usize,
    },
    /// A control character, among them NUL and line breaks.
    #[error("must not contain control characters")]
    ControlCharacter,
    /// A character that cannot be seen or turns the direction of the text, or a joiner that joins nothing.
    #[error("must not contain characters that are invisible or change the direction of text")]
    Invisible,
    /// Nothing that can be seen.
    #[error("must contain something that can be seen")]
    NothingVisible,
    /// White space at the beginning or the end.
    #[error("must not begin or end with white space")]
    SurroundingSpace,
    /// Not `[a-z][a-z0-9-]*`.
    #[error("must be a lower-case letter followed by lower-case letters, digits and hyphens")]
    Name,
    /// Not printable ASCII without spaces.
    #[error("must be printable ASCII without spaces")]
    Printable,
    /// Not an e-mail address that mail can be sent to.
    #[error("must be an e-mail address, as in ada@example.com")]
    Email,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id: UUIDv7, so that ids made later sort later, and index pages fill from one side.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl FromStr for $name {
            type Err = Malformed;

            fn from_str(text: &str) -> Result<Self, Malformed> {
                parse_uuid(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    };
}

uuid_id!(/** The id of an account. */ AccountId);
uuid_id!(/** The id of an organization. */ OrganizationId);
uuid_id!(/** The id of a workspace. */ WorkspaceId);
uuid_id!(/** The id of a member: of an account in an organization. */ MemberId);
uuid_id!(/** The id of a command: names all changes that it produced. */ CommandId);
uuid_id!(/** The id of a change. */ ChangeId);
uuid_id!(/** The id of a contract: of organizations that share seats. */ ContractId);
uuid_id!(/** The id of an invitation, and of the member who is new by accepting it. */ InvitationId);
uuid_id!(/** The id of an entry of the ledger of erasures. */ ErasureId);

impl CommandId {
    /// A new id that shows nothing of what was made before and after it: for one of several commands that one write gives
    /// in several organizations (R46).
    pub fn apart() -> Self {
        Self(Uuid::new_v4())
    }
}

impl ErasureId {
    /// A new id, random, so that the order of the ledger links no entries (R46), but for its beginning: entries about
    /// members come first, then organizations, then accounts. Applied in this order members have their tombstones again
    /// before the account that they were of ends.
    pub fn in_ledger(kind: LedgerKind) -> Self {
        let mut bytes = *Uuid::new_v4().as_bytes();
        bytes[0] = bytes[0] & 0x3f | kind as u8;
        Self(Uuid::from_bytes(bytes))
    }
}

/// What an entry of the ledger is about: the beginning of its id. An earlier version gave UUIDv7, which begin lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerKind {
    /// A member.
    Member = 0x40,
    /// An organization.
    Organization = 0x80,
    /// An account.
    Account = 0xc0,
}
uuid_id!(/** The id of a subscription. */ SubscriptionId);
uuid_id!(/** The id of a store: of one database with one log. */ StoreId);
uuid_id!(/** What makes a write safe to repeat (AIP-155). */ RequestId);

fn parse_uuid(text: &str) -> Result<Uuid, Malformed> {
    if text.is_empty() {
        return Err(Malformed::Empty);
    }
    // The hyphenated lower-case form alone: an id has one spelling, so that clients may compare the strings.
    if text.len() != 36 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(Malformed::Uuid);
    }
    Uuid::try_parse(text).map_err(|_| Malformed::Uuid)
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $max:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The most characters that it can have.
            pub const MAX: usize = $max;

            /// The name itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Malformed;

            fn from_str(text: &str) -> Result<Self, Malformed> {
                if text.is_empty() {
                    return Err(Malformed::Empty);
                }
                if text.chars().nth(Self::MAX).is_some() {
                    return Err(Malformed::TooLong { max: Self::MAX });
                }
                let check: fn(&str) -> Result<(), Malformed> = $check;
                check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_name!(
    /// The name of an app: a DNS label (RFC 1123), so that it also fits where names of services go.
    AppName,
    63,
    check_label
);
text_name!(
    /// The name of a calling workload.
    CallerName,
    63,
    check_label
);
impl AppName {
    /// Under this name the service's own replicas follow the log. It has no workspaces.
    pub const SERVICE: &str = "rollcall";

    /// Whether it is the service's own.
    pub fn is_of_the_service(&self) -> bool {
        self.0 == Self::SERVICE
    }
}
impl CallerName {
    /// The service itself, in what time brings (R55, R56). Nobody who calls may have this name.
    pub const SYSTEM: &str = "system";

    /// The service itself.
    pub fn system() -> Self {
        Self(Self::SYSTEM.to_owned())
    }
}

text_name!(
    /// The name of a running process of an app, as a Kubernetes pod name.
    InstanceName,
    128,
    |text| if text.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(()) } else { Err(Malformed::Printable) }
);
text_name!(
    /// A name shown to people.
    DisplayName,
    200,
    shown::check
);

fn check_label(text: &str) -> Result<(), Malformed> {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
    let rest = bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if first && rest { Ok(()) } else { Err(Malformed::Name) }
}

/// An e-mail address, as given and as compared.
///
/// Two addresses are the same when their `key`s are: the local part in lower case (RFC 5321 lets a host tell cases
/// apart, none that people use does) and the domain in its lower-case ASCII form (RFC 5891).
#[derive(Clone, PartialEq, Eq)]
pub struct Email {
    address: String,
    key: String,
}

impl Email {
    /// The most characters of an address that mail can be sent to (RFC 3696, erratum 1690).
    pub const MAX: usize = 254;

    /// The address as it was given.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The form in which addresses are compared.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Debug for Email {
    /// Shows nothing: an address is personal data, and a derived `Debug` would end up in a log line one day.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(..)")
    }
}

impl FromStr for Email {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.is_empty() {
            return Err(Malformed::Empty);
        }
        if text.chars().nth(Self::MAX).is_some() {
            return Err(Malformed::TooLong { max: Self::MAX });
        }
        // A quoted local part could spell an address that others have without quotes, and so could one with characters
        // that nobody sees.
        let misleads = |character: char| {
            character.is_control()
                || character.is_whitespace()
                || matches!(character, '"' | '\u{200c}' | '\u{200d}')
                || shown::is_deceptive(character)
        };
        if text.chars().any(misleads) {
            return Err(Malformed::Email);
        }
        let options = Options::default().without_display_text().without_domain_literal().with_required_tld();
        let parsed = EmailAddress::parse_with_options(text, options).map_err(|_| Malformed::Email)?;
        let domain = idna::domain_to_ascii_strict(parsed.domain()).map_err(|_| Malformed::Email)?;
        Ok(Self { key: format!("{}@{domain}", fold(parsed.local_part())), address: text.to_owned() })
    }
}

/// One spelling for all cases of a text, whatever stands beside a letter: by way of upper case, since a small sigma has
/// two forms and a capital one.
fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// The id under which an identity provider knows a person. Compared as it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExternalId {
    issuer: String,
    subject: String,
}

impl ExternalId {
    /// The most characters of an issuer.
    pub const MAX_ISSUER: usize = 200;
    /// The most characters of a subject (OpenID Connect Core 1.0, section 2).
    pub const MAX_SUBJECT: usize = 255;

    /// Reads one. The error names the part at fault.
    pub fn parse(issuer: &str, subject: &str) -> Result<Self, (&'static str, Malformed)> {
        let parts = [("issuer", issuer, Self::MAX_ISSUER), ("subject", subject, Self::MAX_SUBJECT)];
        for (part, text, max) in parts {
            if text.is_empty() {
                return Err((part, Malformed::Empty));
            }
            if text.chars().nth(max).is_some() {
                return Err((part, Malformed::TooLong { max }));
            }
            shown::check(text).map_err(|error| (part, error))?;
        }
        Ok(Self { issuer: issuer.to_owned(), subject: subject.to_owned() })
    }

    /// The identity provider.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The person there.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

impl fmt::Debug for ExternalId {
    /// Shows nothing: it is personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExternalId(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<String, Malformed> {
        text.parse::<Email>().map(|email| email.key().to_owned())
    }

    #[test]
    fn one_address_in_many_spellings_has_one_key() {
        assert_eq!(key("ada@example.com"), key("ADA@Example.COM"));
        assert_eq!(key("jörg@bücher.example"), key("JÖRG@xn--bcher-kva.example"));
        assert_eq!(key("νικος@example.com"), key("ΝΙΚΟΣ@example.com"));
        assert_eq!(key("xσ@example.com"), key("xΣ@example.com"));
        assert_ne!(key("ada@example.com"), key("ada@example.org"));
        assert_ne!(key("ada@example.com"), key("ida@example.com"));
        assert_eq!(key("JÖRG@Bücher.example").as_deref(), Ok("jörg@xn--bcher-kva.example"));
    }

    #[test]
    fn what_was_given_is_kept_as_it_was() {
        let email: Email = "Ada@Example.COM".parse().expect("well-formed");
        assert_eq!(email.address(), "Ada@Example.COM");
        let id = ExternalId::parse("https://login.example.com", "8f14e45f").expect("well-formed");
        assert_eq!((id.issuer(), id.subject()), ("https://login.example.com", "8f14e45f"));
    }

    #[test]
    fn malformed_addresses_are_refused() {
        for text in [
            "ada",
            "ada@",
            "@example.com",
            "a b@example.com",
            "ada@example..com",
            "a\0@example.com",
            "Ada <ada@example.com>",
            "\"ada\"@example.com",
            "a\u{200b}da@example.com",
            "a\u{202e}da@example.com",
            // One that is a control and no space, and one that is a space and no control.
            "a\u{80}da@example.com",
            "a\u{3000}da@example.com",
        ] {
            assert_eq!(key(text), Err(Malformed::Email), "{text:?}");
        }
        assert_eq!(key(""), Err(Malformed::Empty));
        assert_eq!(key(&format!("{}@example.com", "a".repeat(300))), Err(Malformed::TooLong { max: 254 }));
    }

    #[test]
    fn names_are_bounded() {
        assert!("chat".parse::<AppName>().is_ok());
        assert_eq!("Chat".parse::<AppName>(), Err(Malformed::Name));
        assert_eq!("9chat".parse::<AppName>(), Err(Malformed::Name));
        assert!("chat-2".parse::<AppName>().is_ok());
        for name in ["chat_2", "chaT", "chat ", "chät"] {
            assert_eq!(name.parse::<AppName>(), Err(Malformed::Name), "{name}");
        }
        assert_eq!("a".repeat(64).parse::<AppName>(), Err(Malformed::TooLong { max: 63 }));
        assert_eq!("a\u{0}b".parse::<DisplayName>(), Err(Malformed::ControlCharacter));
        assert_eq!(" a".parse::<DisplayName>(), Err(Malformed::SurroundingSpace));
        assert_eq!("\u{202e}عربى".parse::<DisplayName>(), Err(Malformed::Invisible));
        assert_eq!("\u{200b}".repeat(10_000).parse::<DisplayName>(), Err(Malformed::TooLong { max: 200 }));
        assert_eq!("a b".parse::<InstanceName>(), Err(Malformed::Printable));
    }

    #[test]
    fn ids_have_one_spelling() {
        assert!("0190b7a4-1111-7000-8000-000000000001".parse::<MemberId>().is_ok());
        assert_eq!("0190b7a4111170008000000000000001".parse::<MemberId>(), Err(Malformed::Uuid));
        assert_eq!("0190B7A4-1111-7000-8000-000000000001".parse::<MemberId>(), Err(Malformed::Uuid));
        assert_eq!("".parse::<MemberId>(), Err(Malformed::Empty));
    }

    #[test]
    fn debug_shows_no_address() {
        let email: Email = "ada@example.com".parse().expect("well-formed");
        assert_eq!(format!("{email:?}"), "Email(..)");
        let id = ExternalId::parse("https://login.example.com", "8f14e45f").expect("well-formed");
        assert_eq!(format!("{id:?}"), "ExternalId(..)");
    }

    #[test]
    fn entries_of_a_ledger_begin_with_their_kind_and_are_random_else() {
        for kind in [LedgerKind::Member, LedgerKind::Organization, LedgerKind::Account] {
            let firsts: std::collections::BTreeSet<u8> =
                (0..1000).map(|_| ErasureId::in_ledger(kind).0.as_bytes()[0]).collect();
            assert!(firsts.iter().all(|first| first & 0xc0 == kind as u8), "{kind:?}: {firsts:x?}");
            // Of 64 possible ones: that a given one is missing after so many has a chance of 1 in 7 million.
            assert!(firsts.len() > 60, "{kind:?}: {firsts:x?}");
        }
    }

    #[test]
    fn nothing_stands_unseen_in_an_address() {
        // A control that is no space, a space that is no control, and both at once.
        for hidden in ["\u{80}", "\u{a0}", "\u{3000}", "\u{85}", "\u{200c}", "\u{202e}"] {
            assert_eq!(key(&format!("a{hidden}da@example.com")), Err(Malformed::Email), "{hidden:?}");
        }
    }

    #[test]
    fn one_name_is_the_services_own() {
        let is_own = |name: &str| name.parse::<AppName>().expect("well-formed").is_of_the_service();
        assert!(is_own("rollcall"));
        assert!(!is_own("rollcall-2"));
        assert!(!is_own("chat"));
    }

    #[test]
    fn external_ids_are_bounded() {
        let long = "ä".repeat(256);
        for (issuer, subject, at) in [
            ("", "a", ("issuer", Malformed::Empty)),
            ("a", "", ("subject", Malformed::Empty)),
            (&long, "a", ("issuer", Malformed::TooLong { max: 200 })),
            ("a", &long, ("subject", Malformed::TooLong { max: 255 })),
            ("a\nb", "a", ("issuer", Malformed::ControlCharacter)),
            ("a", "a\u{200b}", ("subject", Malformed::Invisible)),
        ] {
            assert_eq!(ExternalId::parse(issuer, subject), Err(at));
        }
        assert!(ExternalId::parse(&long[..400], &long[..510]).is_ok());
    }
}
