//! What a script says of an instance: what was expected, and what came instead.

use std::fmt;

use serde::Serialize;

/// Why an instance does not keep a clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// What the clause asks for.
    pub(super) expected: String,
    /// What the instance did.
    pub(super) came: String,
}

/// How a script ended.
pub(super) type Passed = Result<(), Failure>;

impl Failure {
    pub(super) fn new(expected: impl Into<String>, came: impl Into<String>) -> Self {
        Self { expected: expected.into(), came: came.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}; came: {}", self.expected, self.came)
    }
}

/// Fails unless the condition holds.
pub(super) fn ensure(condition: bool, expected: impl Into<String>, came: impl FnOnce() -> String) -> Passed {
    if condition { Ok(()) } else { Err(Failure::new(expected, came())) }
}

/// The result of a clause, as it is printed.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    pub(super) clause: &'static str,
    pub(super) title: &'static str,
    pub(super) passed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) came: Option<String>,
}

impl Line {
    pub(super) fn new(clause: &'static str, title: &'static str, outcome: Passed) -> Self {
        let (expected, came) = match outcome {
            Ok(()) => (None, None),
            Err(Failure { expected, came }) => (Some(expected), Some(came)),
        };
        Self { clause, title, passed: expected.is_none(), expected, came }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clause, title, passed: _, expected, came } = self;
        match (expected, came) {
            (Some(expected), Some(came)) => write!(f, "{clause} failed: expected {expected}; came: {came}"),
            _ => write!(f, "{clause} passed: {title}"),
        }
    }
}
