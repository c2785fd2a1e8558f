//! Filters of lists: the text of `filter`, parsed once into what storage understands. docs/filters.md has the grammar, a
//! part of AIP-160.
//!
//! A refusal names the column of the text and what was expected there. It never repeats the text: a filter may hold an
//! e-mail address.

use std::{fmt, iter::Peekable, str::CharIndices};

use chrono::{DateTime, Duration, Timelike as _, Utc};
use tonic::Status;

use super::status;
use crate::{
    rules::{
        ids::{AppName, Email},
        roles::{MembershipState, OrganizationRole, OrganizationState, WorkspaceRole},
    },
    storage::{MemberFilter, OrganizationFilter, WorkspaceFilter, WorkspaceMemberFilter},
};

/// Characters of a filter at most: all fields at once, with a long address, need half of them.
const MAX: usize = 1_000;
/// Words that stand for no value, so that a forgotten value does not swallow what follows it.
const KEYWORDS: [&str; 3] = ["AND", "OR", "NOT"];
/// The time resolution of the database.
const TICK: Duration = Duration::microseconds(1);

/// Where a range of times begins or ends. None: nowhere.
type Bound = Option<DateTime<Utc>>;

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// One comparison, with the columns of its parts. The value may be personal data, so outside of tests nothing prints it.
#[derive(Clone)]
#[cfg_attr(test, derive(Debug))]
struct Restriction {
    name: String,
    operator: Operator,
    value: String,
    columns: [usize; 3],
}

impl fmt::Display for Restriction {
    /// As it is parsed again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, operator, value, columns: _ } = self;
        let bare = !value.is_empty() && value.chars().all(is_bare) && !KEYWORDS.contains(&value.as_str());
        if bare {
            write!(f, "{name} {} {value}", operator.as_str())
        } else {
            let value = value.replace('\\', r"\\").replace('"', r#"\""#);
            write!(f, "{name} {} \"{value}\"", operator.as_str())
        }
    }
}

/// What is wrong with a filter.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    /// The character, counted from 1.
    column: usize,
    expected: String,
}

impl Fault {
    fn new(column: usize, expected: impl Into<String>) -> Self {
        Self { column, expected: expected.into() }
    }
}

impl From<Fault> for Status {
    fn from(Fault { column, expected }: Fault) -> Self {
        status::invalid_field("filter", format!("column {column}: expected {expected}"))
    }
}

/// Whether a character may stand in a value without quotes.
fn is_bare(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.' | ':' | '+' | '@')
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// The text of a filter, read from the left.
struct Scanner<'a> {
    characters: Peekable<CharIndices<'a>>,
    column: usize,
}

impl Scanner<'_> {
    fn new(text: &str) -> Scanner<'_> {
        Scanner { characters: text.char_indices().peekable(), column: 1 }
    }

    fn peek(&mut self) -> Option<char> {
        self.characters.peek().map(|(_, character)| *character)
    }

    fn next(&mut self) -> Option<char> {
        let (_, character) = self.characters.next()?;
        self.column += 1;
        Some(character)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.next();
        }
        found
    }

    fn skip_space(&mut self) {
        while self.peek() == Some(' ') {
            self.next();
        }
    }

    fn word(&mut self, of: fn(char) -> bool) -> String {
        let mut word = String::new();
        while let Some(character) = self.peek().filter(|character| of(*character)) {
            word.push(character);
            self.next();
        }
        word
    }

    fn operator(&mut self) -> Result<Operator, Fault> {
        let column = self.column;
        match self.next() {
            Some('=') => Ok(Operator::Equal),
            Some('<') if self.take('=') => Ok(Operator::LessOrEqual),
            Some('<') => Ok(Operator::Less),
            Some('>') if self.take('=') => Ok(Operator::GreaterOrEqual),
            Some('>') => Ok(Operator::Greater),
            _ => Err(Fault::new(column, "one of =, <, <=, >, >=")),
        }
    }

    fn value(&mut self) -> Result<String, Fault> {
        let column = self.column;
        if !self.take('"') {
            let word = self.word(is_bare);
            return if word.is_empty() || KEYWORDS.contains(&word.as_str()) {
                Err(Fault::new(column, "a value"))
            } else {
                Ok(word)
            };
        }
        let mut value = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(value),
                Some('\\') => match self.peek().filter(|next| matches!(next, '"' | '\\')) {
                    Some(escaped) => {
                        value.push(escaped);
                        self.next();
                    }
                    None => return Err(Fault::new(self.column, r#"a " or a \ after the \"#)),
                },
                Some(character) => value.push(character),
                None => return Err(Fault::new(self.column, r#"the closing ""#)),
            }
        }
    }

    fn restriction(&mut self, fields: &[&str]) -> Result<Restriction, Fault> {
        let of_name = self.column;
        let name = self.word(is_name);
        if !fields.contains(&name.as_str()) {
            return Err(Fault::new(of_name, format!("one of the fields {}", fields.join(", "))));
        }
        self.skip_space();
        let of_operator = self.column;
        let operator = self.operator()?;
        self.skip_space();
        let of_value = self.column;
        let value = self.value()?;
        Ok(Restriction { name, operator, value, columns: [of_name, of_operator, of_value] })
    }
}

/// Reads comparisons of these fields, joined by AND.
fn parse(text: &str, fields: &[&str]) -> Result<Vec<Restriction>, Fault> {
    if text.chars().nth(MAX).is_some() {
        return Err(Fault::new(MAX + 1, format!("the end: a filter has at most {MAX} characters")));
    }
    let mut scanner = Scanner::new(text);
    let mut restrictions = Vec::new();
    scanner.skip_space();
    while scanner.peek().is_some() {
        if !restrictions.is_empty() {
            let column = scanner.column;
            if scanner.word(is_bare) != "AND" {
                return Err(Fault::new(column, "AND or the end"));
            }
            scanner.skip_space();
        }
        restrictions.push(scanner.restriction(fields)?);
        scanner.skip_space();
    }
    Ok(restrictions)
}

/// Reads comparisons of these fields, each compared once, except the times of `ranges`.
fn restrictions(text: &str, fields: &[&str], ranges: &[&str]) -> Result<Vec<Restriction>, Fault> {
    let restrictions = parse(text, fields)?;
    for (index, one) in restrictions.iter().enumerate() {
        let [of_name, of_operator, _] = one.columns;
        let is_range = ranges.contains(&one.name.as_str());
        if !is_range && one.operator != Operator::Equal {
            return Err(Fault::new(of_operator, "="));
        }
        if !is_range && restrictions[..index].iter().any(|earlier| earlier.name == one.name) {
            return Err(Fault::new(of_name, "a field that was not compared before"));
        }
    }
    Ok(restrictions)
}

impl Restriction {
    /// The value, if it is one.
    fn value<T>(&self, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, Fault> {
        read(&self.value).ok_or_else(|| Fault::new(self.columns[2], expected))
    }

    fn truth(&self) -> Result<bool, Fault> {
        self.value("true or false", |word| match word {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })
    }

    /// The state of who is in lists (R25 to R27).
    fn state(&self) -> Result<MembershipState, Fault> {
        let belongs =
            |state: &MembershipState| matches!(state, MembershipState::Active | MembershipState::Deactivated);
        self.value("ACTIVE or DEACTIVATED: whoever is REMOVED or ERASED is in no list", |word| {
            MembershipState::from_word(word).filter(belongs)
        })
    }

    /// The first moment, in ticks of the database, that the comparison allows, and the first after those that it allows.
    fn moments(&self) -> Result<(Bound, Bound), Fault> {
        let time = self.value("a time, as in 2026-01-31T09:00:00Z", |text| {
            DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc))
        })?;
        let finer = Duration::nanoseconds(i64::from(time.nanosecond() % 1_000));
        let at = time - finer;
        let next = at + TICK;
        let not_before = if finer.is_zero() { at } else { next };
        Ok(match self.operator {
            Operator::Equal => (Some(not_before), Some(next)),
            Operator::Less => (None, Some(not_before)),
            Operator::LessOrEqual => (None, Some(next)),
            Operator::Greater => (Some(next), None),
            Operator::GreaterOrEqual => (Some(not_before), None),
        })
    }
}

/// The filter of ListMembers.
pub(super) fn members(text: &str) -> Result<MemberFilter, Status> {
    let mut filter = MemberFilter::default();
    let fields = ["state", "role", "leaving", "return_time", "email"];
    for one in restrictions(text, &fields, &["return_time"])? {
        match one.name.as_str() {
            "state" => filter.state = Some(one.state()?),
            "role" => {
                filter.role = Some(one.value("OWNER, ADMIN, MEMBER or GUEST", OrganizationRole::from_word)?);
            }
            "leaving" => filter.leaving = Some(one.truth()?),
            "return_time" => {
                let (from, until) = one.moments()?;
                filter.return_from = filter.return_from.max(from);
                filter.return_until = filter.return_until.into_iter().chain(until).min();
            }
            _ => {
                let email = |text: &str| text.parse::<Email>().ok();
                filter.email = Some(one.value("an e-mail address", email)?);
            }
        }
    }
    Ok(filter)
}

/// Refuses a filter where invitees are asked for too: it compares what only members have.
pub(super) fn without_invitees(text: &str, include_invited: bool) -> Result<(), Status> {
    if include_invited && !text.is_empty() {
        return Err(status::invalid_field("filter", "must not be given together with include_invited"));
    }
    Ok(())
}

/// The filter of ListWorkspaceMembers.
pub(super) fn workspace_members(text: &str) -> Result<WorkspaceMemberFilter, Status> {
    let mut filter = WorkspaceMemberFilter::default();
    for one in restrictions(text, &["state", "role"], &[])? {
        if one.name == "state" {
            filter.state = Some(one.state()?);
        } else {
            filter.role = Some(one.value("ADMIN, MEMBER or GUEST", WorkspaceRole::from_word)?);
        }
    }
    Ok(filter)
}

/// The filter of ListWorkspaces.
pub(super) fn workspaces(text: &str) -> Result<WorkspaceFilter, Status> {
    let mut filter = WorkspaceFilter::default();
    for one in restrictions(text, &["app", "without_admin"], &[])? {
        if one.name == "app" {
            filter.app = Some(one.value("the name of an app", |text| text.parse::<AppName>().ok())?);
        } else {
            filter.without_admin = Some(one.truth()?);
        }
    }
    Ok(filter)
}

/// The filter of ListOrganizations.
pub(super) fn organizations(text: &str) -> Result<OrganizationFilter, Status> {
    let mut filter = OrganizationFilter::default();
    for one in restrictions(text, &["state", "contract_id", "without_owner"], &[])? {
        if one.name == "state" {
            filter.state = Some(one.value("ACTIVE or DELETED", OrganizationState::from_word)?);
        } else if one.name == "without_owner" {
            filter.without_owner = Some(one.truth()?);
        } else {
            filter.contract = Some(one.value("the id of a contract", |text| text.parse().ok())?);
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIELDS: [&str; 3] = ["state", "return_time", "email"];

    fn print(restrictions: &[Restriction]) -> String {
        restrictions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" AND ")
    }

    fn parts(restrictions: &[Restriction]) -> Vec<(&str, Operator, &str)> {
        restrictions.iter().map(|one| (one.name.as_str(), one.operator, one.value.as_str())).collect()
    }

    fn any_restriction() -> impl Strategy<Value = Restriction> {
        use Operator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
        let operator = prop::sample::select(vec![Equal, Less, LessOrEqual, Greater, GreaterOrEqual]);
        let value = prop_oneof![".{0,30}", r#"[\\" =<>A-Za-z]{0,30}"#, "AND|OR|NOT|[a-z0-9.:@+-]{1,30}"];
        (prop::sample::select(FIELDS.to_vec()), operator, value).prop_map(|(name, operator, value)| {
            Restriction { name: name.to_owned(), operator, value, columns: [0; 3] }
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_is_parsed_as_it_was(
            restrictions in prop::collection::vec(any_restriction(), 0..8)
        ) {
            let parsed = parse(&print(&restrictions), &FIELDS).expect("as printed");
            prop_assert_eq!(parts(&parsed), parts(&restrictions));
        }

        #[test]
        fn no_text_makes_it_panic_and_a_fault_lies_within(
            text in r#"([\\"=<> ()!]|AND|OR|state|email|return_time|[a-z@.0-9:]{1,5}|\PC){0,40}"#
        ) {
            match parse(&text, &FIELDS) {
                Ok(parsed) => {
                    let again = parse(&print(&parsed), &FIELDS).expect("as printed");
                    prop_assert_eq!(parts(&again), parts(&parsed));
                }
                Err(fault) => prop_assert!((1..=text.chars().count() + 1).contains(&fault.column)),
            }
            for read in [
                |text: &str| members(text).is_ok(),
                |text: &str| workspace_members(text).is_ok(),
                |text: &str| workspaces(text).is_ok(),
                |text: &str| organizations(text).is_ok(),
            ] {
                read(&text);
            }
        }
    }

    #[test]
    fn faults_name_the_column() {
        let list = "one of the fields state, return_time, email";
        for (text, column, expected) in [
            ("nonsense", 1, list),
            ("STATE=ACTIVE", 1, list),
            ("  (state = ACTIVE)", 3, list),
            ("state", 6, "one of =, <, <=, >, >="),
            ("state != ACTIVE", 7, "one of =, <, <=, >, >="),
            ("state = ", 9, "a value"),
            ("state = AND email = a", 9, "a value"),
            ("état = a", 1, list),
            ("state = é", 9, "a value"),
            ("state = \"é\" é", 13, "AND or the end"),
            ("state = a OR email = b", 11, "AND or the end"),
            ("state = a and email = b", 11, "AND or the end"),
            ("state = a AND", 14, list),
            ("email = \"a", 11, r#"the closing ""#),
            (r#"email = "a\b""#, 12, r#"a " or a \ after the \"#),
            ("state = \"a\"\tAND email = b", 12, "AND or the end"),
        ] {
            assert_eq!(parse(text, &FIELDS).err(), Some(Fault::new(column, expected)), "{text}");
        }
        let long = format!("email = \"{}\"", "a".repeat(MAX));
        assert_eq!(parse(&long, &FIELDS).err().map(|fault| fault.column), Some(MAX + 1));
    }

    #[test]
    fn spaces_do_not_count() {
        for text in ["state=a AND email<=b", " state = a  AND  email <= b ", "state= \"a\"AND email <=\"b\""]
        {
            let parsed = parse(text, &FIELDS).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
            let expected = [("state", Operator::Equal, "a"), ("email", Operator::LessOrEqual, "b")];
            assert_eq!(parts(&parsed), expected, "{text}");
        }
        for text in ["", "   "] {
            assert_eq!(parse(text, &FIELDS).map(|parsed| parsed.len()), Ok(0));
        }
    }

    fn range(text: &str) -> (Option<i64>, Option<i64>) {
        let filter = members(text).expect("a filter");
        let micros = |time: Option<DateTime<Utc>>| time.map(|time| time.timestamp_micros());
        (micros(filter.return_from), micros(filter.return_until))
    }

    #[test]
    fn times_are_compared_in_ticks_of_the_database() {
        for (text, expected) in [
            ("return_time = 1970-01-01T00:00:01Z", (Some(1_000_000), Some(1_000_001))),
            ("return_time < 1970-01-01T00:00:01Z", (None, Some(1_000_000))),
            ("return_time <= 1970-01-01T00:00:01Z", (None, Some(1_000_001))),
            ("return_time > 1970-01-01T01:00:01+01:00", (Some(1_000_001), None)),
            ("return_time >= 1970-01-01T00:00:01Z", (Some(1_000_000), None)),
            // Between two ticks: none is equal.
            ("return_time = 1970-01-01T00:00:00.0000015Z", (Some(2), Some(2))),
            ("return_time < 1970-01-01T00:00:00.0000015Z", (None, Some(2))),
            ("return_time <= 1970-01-01T00:00:00.0000015Z", (None, Some(2))),
            ("return_time > 1970-01-01T00:00:00.0000015Z", (Some(2), None)),
            ("return_time >= 1970-01-01T00:00:00.0000015Z", (Some(2), None)),
            (
                "return_time > 1970-01-01T00:00:01Z AND return_time >= 1970-01-01T00:00:02Z",
                (Some(2_000_000), None),
            ),
            (
                "return_time >= 1970-01-01T00:00:01Z AND return_time < 1970-01-01T00:00:03Z \
                 AND return_time < 1970-01-01T00:00:02Z",
                (Some(1_000_000), Some(2_000_000)),
            ),
        ] {
            assert_eq!(range(text), expected, "{text}");
        }
    }
}
