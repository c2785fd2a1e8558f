//! Who may call at all, and as what: a TOML file that names every caller, with the identities by which each is known. What is
//! not in it is nobody. A key that is not known is an error: a right that is misspelled must not be granted or withheld in
//! silence.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use serde::Deserialize;

use super::{
    Caller, Cause, Kind, SpiffeId,
    fetch::Source,
    keys::{Keys, Published},
    mesh::LinkerdId,
    spiffe::is_trust_domain,
    tokens::{Actor, Issuer, Purpose},
};
use crate::rules::ids::{AppName, CallerName};

/// What can be proven of a caller, whichever way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// An identity of SPIFFE, of a certificate.
    Spiffe(SpiffeId),
    /// An identity of Linkerd.
    Linkerd(LinkerdId),
    /// The subject of a token.
    Token {
        /// Who signed it.
        issuer: String,
        /// Of whom.
        subject: String,
    },
}

/// The callers.
#[derive(Debug, Default)]
pub struct Callers {
    trust_domains: HashSet<String>,
    issuers: HashMap<(Purpose, String), Arc<Issuer>>,
    callers: HashMap<Principal, Arc<Caller>>,
}

/// The file, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    trust_domains: Vec<String>,
    #[serde(default)]
    issuer: Vec<IssuerEntry>,
    #[serde(default)]
    caller: Vec<Entry>,
}

/// One issuer of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerEntry {
    issuer: String,
    audience: String,
    r#for: Purpose,
    jwks_uri: Option<String>,
    jwks_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
}

/// A subject whose tokens are a caller's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenEntry {
    issuer: String,
    subject: String,
}

/// One caller of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    app: bool,
    #[serde(default)]
    operator: bool,
    #[serde(default)]
    impersonates: bool,
    #[serde(default)]
    spiffe_ids: Vec<String>,
    #[serde(default)]
    linkerd_ids: Vec<String>,
    #[serde(default)]
    tokens: Vec<TokenEntry>,
}

impl Callers {
    /// Reads the file. An issuer that is as it was `before` keeps the keys that are known of it. The error says what is wrong and
    /// at which caller.
    pub(super) fn parse(content: &[u8], before: &Self) -> Result<Self, String> {
        let text = std::str::from_utf8(content).map_err(|_| "it is not UTF-8".to_owned())?;
        let File { trust_domains, issuer: issuers, caller } =
            toml::from_str(text).map_err(|error| error.to_string())?;
        let mut callers = Self::default();
        for domain in trust_domains {
            if !is_trust_domain(&domain) {
                return Err(format!("trust_domains: {domain:?} is no trust domain, as in \"example.org\""));
            }
            callers.trust_domains.insert(domain);
        }
        for entry in issuers {
            let name = entry.issuer.clone();
            callers.add_issuer(entry, before).map_err(|problem| format!("issuer {name:?}: {problem}"))?;
        }
        let mut names = HashSet::new();
        for entry in caller {
            let name = entry.name.clone();
            if !names.insert(name.clone()) {
                return Err(format!("caller {name:?} is there twice"));
            }
            callers.add(entry).map_err(|problem| format!("caller {name:?}: {problem}"))?;
        }
        Ok(callers)
    }

    /// Nobody, and an issuer whose keys are at hand.
    pub(super) fn knowing(purpose: Purpose, issuer: Issuer) -> Self {
        let issuers = HashMap::from([((purpose, issuer.name.clone()), Arc::new(issuer))]);
        Self { issuers, ..Self::default() }
    }

    fn add_issuer(&mut self, entry: IssuerEntry, before: &Self) -> Result<(), String> {
        let IssuerEntry { issuer: name, audience, r#for: purpose, jwks_uri, jwks_file, ca_file, token_file } =
            entry;
        if name.is_empty() || audience.is_empty() {
            return Err("needs a name and an audience".to_owned());
        }
        let published = match (jwks_uri, jwks_file) {
            (Some(uri), None) => Published::At(Source::parse(&uri, ca_file, token_file)?),
            (None, Some(path)) if ca_file.is_none() && token_file.is_none() => Published::File(path),
            (None, Some(_)) => return Err("ca_file and token_file are for a jwks_uri".to_owned()),
            _ => return Err("needs either a jwks_uri or a jwks_file".to_owned()),
        };
        let key = (purpose, name.clone());
        let known = before
            .issuers
            .get(&key)
            .filter(|known| (&known.audience, known.keys.published()) == (&audience, &published));
        let issuer = match known {
            Some(known) => Arc::clone(known),
            None => Arc::new(Issuer { name, audience, keys: Keys::open(published)? }),
        };
        if self.issuers.insert(key, issuer).is_some() {
            return Err("is there twice".to_owned());
        }
        Ok(())
    }

    fn add(&mut self, entry: Entry) -> Result<(), String> {
        let Entry { name, app, operator, impersonates, spiffe_ids, linkerd_ids, tokens } = entry;
        let parsed: CallerName = name.parse().map_err(|error| format!("its name {error}"))?;
        if name == CallerName::SYSTEM {
            return Err("that is the name of the service itself".to_owned());
        }
        let kind = match (app, operator) {
            (true, true) => return Err("is either an app or an operator".to_owned()),
            (true, false) => Kind::App(own_app(&name)?),
            (false, true) => Kind::Operator,
            (false, false) => Kind::Workload,
        };
        // Who may do everything as itself may do it for somebody too.
        let may_impersonate = impersonates || operator;
        let caller = Arc::new(Caller { name: parsed, kind, may_impersonate, person: None });
        let mut principals = Vec::new();
        for id in spiffe_ids {
            let parsed = SpiffeId::parse(&id).ok_or_else(|| format!("{id:?} is no SPIFFE id"))?;
            principals.push((id, Principal::Spiffe(parsed)));
        }
        for id in linkerd_ids {
            let parsed = LinkerdId::parse(&id).ok_or_else(|| format!("{id:?} is no identity of Linkerd"))?;
            principals.push((id, Principal::Linkerd(parsed)));
        }
        for TokenEntry { issuer, subject } in tokens {
            principals.push((subject.clone(), Principal::Token { issuer, subject }));
        }
        if principals.is_empty() {
            return Err("has no identity, so nobody can be it".to_owned());
        }
        for (id, principal) in principals {
            if !self.trusts(&principal) {
                return Err(format!("{id:?} is of none of the trust_domains, or of no issuer for workloads"));
            }
            if self.callers.insert(principal, Arc::clone(&caller)).is_some() {
                return Err(format!("{id:?} is there twice"));
            }
        }
        Ok(())
    }

    /// Whether somebody who is trusted says so.
    fn trusts(&self, principal: &Principal) -> bool {
        match principal {
            Principal::Spiffe(id) => self.trust_domains.contains(id.trust_domain()),
            Principal::Linkerd(id) => self.trust_domains.iter().any(|domain| id.is_of(domain)),
            Principal::Token { issuer, .. } => self.issuer(Purpose::Workloads, issuer).is_some(),
        }
    }

    /// Who that is.
    pub(super) fn find(&self, principal: &Principal) -> Result<&Arc<Caller>, Cause> {
        if !self.trusts(principal) {
            return Err(Cause::TrustDomainForeign);
        }
        self.callers.get(principal).ok_or(Cause::NotListed)
    }

    /// Who may use a token of a person, by its claim `act`. A subject of which is not said who signs for it may be a workload's
    /// SPIFFE id, or the subject of tokens that only one issuer gives.
    pub(super) fn actor(&self, Actor { sub, iss }: &Actor) -> Option<&Arc<Caller>> {
        if let Some(issuer) = iss {
            let principal = Principal::Token { issuer: issuer.clone(), subject: sub.clone() };
            return self.find(&principal).ok();
        }
        let known = SpiffeId::parse(sub)
            .map(Principal::Spiffe)
            .or_else(|| LinkerdId::parse(sub).map(Principal::Linkerd))
            .and_then(|principal| self.find(&principal).ok());
        let mut subjects = self.callers.iter().filter_map(|(principal, caller)| match principal {
            Principal::Token { subject, .. } if subject == sub => Some(caller),
            _ => None,
        });
        known.or_else(|| subjects.next().filter(|_| subjects.next().is_none()))
    }

    /// Who signs tokens of these, under this name.
    pub(super) fn issuer(&self, purpose: Purpose, name: &str) -> Option<&Arc<Issuer>> {
        self.issuers.get(&(purpose, name.to_owned()))
    }

    /// Everybody who signs tokens.
    pub(super) fn issuers(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.issuers.values()
    }

    /// How many there are, by their identities.
    pub(super) fn len(&self) -> usize {
        self.callers.len()
    }
}

fn own_app(name: &str) -> Result<AppName, String> {
    let app: AppName = name.parse().map_err(|error| format!("its name {error}"))?;
    if app.is_of_the_service() {
        return Err("that is the app of the service itself".to_owned());
    }
    Ok(app)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        trust_domains = ["example.org", "linkerd.cluster.local"]
        [[caller]]
        name = "chat"
        app = true
        spiffe_ids = ["spiffe://example.org/ns/chat/sa/chat"]
        linkerd_ids = ["chat.chat.serviceaccount.identity.linkerd.cluster.local"]
        [[caller]]
        name = "console"
        operator = true
        spiffe_ids = ["spiffe://example.org/ns/ops/sa/console"]
        [[caller]]
        name = "gateway"
        impersonates = true
        spiffe_ids = ["spiffe://example.org/ns/edge/sa/gateway"]
    "#;

    fn read(text: &str) -> Result<Callers, String> {
        Callers::parse(text.as_bytes(), &Callers::default())
    }

    fn spiffe(path: &str) -> Principal {
        Principal::Spiffe(SpiffeId::parse(&format!("spiffe://{path}")).expect("an id"))
    }

    #[test]
    fn callers_are_what_the_file_says() {
        let callers = read(GOOD).expect("the file is good");
        let kind = |path: &str| {
            let caller = callers.find(&spiffe(path)).expect("listed");
            (caller.kind.clone(), caller.may_impersonate)
        };
        let chat = Kind::App("chat".parse().expect("a name"));
        assert_eq!(kind("example.org/ns/chat/sa/chat"), (chat, false));
        assert_eq!(kind("example.org/ns/ops/sa/console"), (Kind::Operator, true));
        assert_eq!(kind("example.org/ns/edge/sa/gateway"), (Kind::Workload, true));
        assert_eq!(callers.find(&spiffe("example.org/ns/chat/sa/other")), Err(Cause::NotListed));
        assert_eq!(callers.find(&spiffe("example.com/ns/chat/sa/chat")), Err(Cause::TrustDomainForeign));
        let linkerd = LinkerdId::parse("chat.chat.serviceaccount.identity.linkerd.cluster.local");
        let found = callers.find(&Principal::Linkerd(linkerd.expect("an id"))).expect("listed");
        assert_eq!(found.name.as_str(), "chat");
    }

    #[test]
    fn what_is_wrong_with_the_file_is_named() {
        let caller = |lines: &str| format!("trust_domains = [\"example.org\"]\n[[caller]]\n{lines}");
        let chat = "spiffe_ids = [\"spiffe://example.org/ns/chat/sa/chat\"]";
        for (text, said) in [
            ("trust_domain = [\"example.org\"]".to_owned(), "unknown field `trust_domain`"),
            ("trust_domains = [\"Example.org\"]".to_owned(), "is no trust domain"),
            (caller(&format!("name = \"chat\"\nopertor = true\n{chat}")), "unknown field `opertor`"),
            (caller(&format!("name = \"Chat\"\n{chat}")), "caller \"Chat\": its name"),
            (caller(&format!("name = \"system\"\n{chat}")), "the name of the service itself"),
            (caller(&format!("name = \"rollcall\"\napp = true\n{chat}")), "the app of the service itself"),
            (caller(&format!("name = \"chat\"\napp = true\noperator = true\n{chat}")), "either an app or an"),
            (caller("name = \"chat\""), "has no identity"),
            (caller("name = \"chat\"\nspiffe_ids = [\"chat\"]"), "is no SPIFFE id"),
            (caller("name = \"chat\"\nlinkerd_ids = [\"chat\"]"), "is no identity of Linkerd"),
            (caller("name = \"chat\"\nspiffe_ids = [\"spiffe://other.org/a\"]"), "none of the trust_domains"),
            (
                caller(&format!("name = \"chat\"\n{chat}\n[[caller]]\nname = \"two\"\n{chat}")),
                "is there twice",
            ),
            (
                caller(&format!("name = \"chat\"\n{chat}\n[[caller]]\nname = \"chat\"\n{chat}")),
                "caller \"chat\" is there twice",
            ),
        ] {
            let error = read(&text).expect_err(&text);
            assert!(error.contains(said), "{error} does not say {said}");
        }
        assert!(Callers::parse(b"\xff", &Callers::default()).is_err());
    }
}
