//! What `errors.proto` promises of its reasons. That the service sends no others is checked wherever a test looks at
//! a refusal.

use rollcall_client::v1::ErrorReason;

use crate::fixtures::declared_reasons;

const CODES: [&str; 11] = [
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "FAILED_PRECONDITION",
    "PERMISSION_DENIED",
    "ABORTED",
    "UNAVAILABLE",
    "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",
    "UNAUTHENTICATED",
    "INTERNAL",
];

#[test]
fn every_reason_says_its_code_and_has_an_example_of_its_metadata() {
    for (name, declared) in declared_reasons() {
        assert!(CODES.contains(&declared.code.as_str()), "{name} begins with its code: {declared:?}");
        let example = declared.example.as_ref().unwrap_or_else(|| panic!("{name} has no example"));
        let example: serde_json::Value = serde_json::from_str(example).expect("JSON");
        let keys = example.as_object().expect("an object").keys();
        assert_eq!(keys.len() == 0, declared.keys.is_empty(), "{name}: {example} and {:?}", declared.keys);
        for key in keys {
            assert!(declared.keys.contains(key), "{name} does not promise {key}");
        }
        assert!(
            example.as_object().expect("an object").values().all(serde_json::Value::is_string),
            "metadata is text: {name}"
        );
    }
}

#[test]
fn the_comments_were_read_of_every_reason() {
    let known = (1..1_000).filter_map(|number| ErrorReason::try_from(number).ok());
    let known: Vec<&str> =
        known.map(|reason| reason.as_str_name().strip_prefix("ERROR_REASON_").expect("the prefix")).collect();
    assert_eq!(known.len(), declared_reasons().len());
    for name in known {
        assert!(declared_reasons().contains_key(name), "{name}");
    }
}
