//! What the API definitions promise about every method and every reason, read from the descriptors that the service
//! serves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::OnceLock,
};

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, Value};
use rollcall::proto::{DESCRIPTORS, ErrorReason};

use crate::fixtures::declared_reasons;

/// Methods that change something begin with one of these, and no others do.
const WRITES: [&str; 18] = [
    "Create",
    "Update",
    "Delete",
    "Add",
    "Deactivate",
    "BatchDeactivate",
    "Reactivate",
    "Reapply",
    "Remove",
    "Erase",
    "Leave",
    "Register",
    "Unregister",
    "Accept",
    "Decline",
    "Resend",
    "Revoke",
    "Resolve",
];
/// The rest reads, or is about the caller's own subscription.
const OTHERS: [&str; 10] =
    ["Get", "BatchGet", "List", "Lookup", "Plan", "Watch", "Acknowledge", "Await", "Check", "BatchCheck"];
/// Ends a subscription: no change of the log, and harmless to repeat.
const CLOSE: &str = "CloseSubscription";
/// Reports activity: no change of the log, so nothing to wait for, and the latest time counts, however often it is said.
const REPORT: &str = "ReportActivity";
/// Reports what the log lost: each is stored once, however often it is said.
const LOST: &str = "ReportLostRevocations";

/// Reasons that every method, or every stream, can answer, REQUEST_ID_REUSED where it takes a request id; the others are
/// named by the methods that do.
const OF_ALL: [&str; 11] = [
    "CALLER_UNKNOWN",
    "CALLER_NOT_ALLOWED",
    "IMPERSONATION_NOT_ALLOWED",
    "REQUEST_ID_REUSED",
    "RATE_LIMITED",
    "CONTENTION",
    "DATABASE_UNAVAILABLE",
    "SHUTTING_DOWN",
    "OVERLOADED",
    "DEADLINE_EXCEEDED",
    "INTERNAL",
];

/// A method, with the comment above it.
pub(crate) struct Method {
    /// `rollcall.v1.AppService/GetApp`.
    pub(crate) path: String,
    pub(crate) streams: bool,
    pub(crate) comment: String,
    descriptor: MethodDescriptor,
}

impl Method {
    fn name(&self) -> &str {
        self.descriptor.name()
    }

    fn writes(&self) -> bool {
        WRITES.iter().any(|prefix| self.name().starts_with(prefix))
    }
}

fn pool() -> DescriptorPool {
    DescriptorPool::decode(DESCRIPTORS).expect("the descriptors of the service")
}

/// Every method of a service, in the order of the file.
pub(crate) fn methods_of(service: &str) -> Vec<Method> {
    let service = pool().get_service_by_name(service).expect("a service of the descriptors");
    let file = service.parent_file().file_descriptor_proto().clone();
    let locations = file.source_code_info.expect("the descriptors come with comments").location;
    let comment = |path: &[i32]| {
        let found = locations.iter().find(|location| location.path == path);
        found.map(|location| location.leading_comments().to_owned()).unwrap_or_default()
    };
    let number = |index: usize| i32::try_from(index).expect("few");
    let place = service.parent_file().services().position(|other| other == service).expect("of this file");
    let methods = service.methods().enumerate().map(|(index, descriptor)| Method {
        path: format!("{}/{}", service.full_name(), descriptor.name()),
        streams: descriptor.is_server_streaming(),
        // 6: services of a file; 2: methods of a service.
        comment: comment(&[6, number(place), 2, number(index)]),
        descriptor,
    });
    methods.collect()
}

/// Every service of the package.
pub(crate) fn services() -> Vec<String> {
    let services = pool();
    let services = services.services().map(|service| service.full_name().to_owned());
    let services: Vec<String> = services.filter(|name| name.starts_with("rollcall.")).collect();
    assert_eq!(services.len(), 8, "{services:?}");
    services
}

fn methods() -> Vec<Method> {
    services().iter().flat_map(|service| methods_of(service)).collect()
}

/// The reasons without the prefix of their enum.
fn reasons() -> BTreeSet<String> {
    let reasons = pool().get_enum_by_name("rollcall.v1.ErrorReason").expect("the reasons");
    let names = reasons
        .values()
        .filter(|value| value.number() != 0)
        .map(|value| value.name().strip_prefix("ERROR_REASON_").expect("the prefix of its enum").to_owned());
    names.collect()
}

/// `errors.proto` is read from top to bottom by whoever wonders what can go wrong.
#[test]
fn reasons_stand_together_by_code_and_in_order_of_their_numbers() {
    let reasons = pool().get_enum_by_name("rollcall.v1.ErrorReason").expect("the reasons");
    let (mut seen, mut last) = (BTreeSet::new(), (String::new(), 0));
    // In the order of the file, behind the one that is never sent.
    for value in reasons.enum_descriptor_proto().value.iter().skip(1) {
        let name = value.name().trim_start_matches("ERROR_REASON_");
        let next = (declared_reasons()[name].code.clone(), value.number());
        if next.0 != last.0 {
            assert!(seen.insert(next.0.clone()), "{name} stands apart from the others with {}", next.0);
        } else {
            assert!(next.1 > last.1, "{name} stands behind a higher number");
        }
        last = next;
    }
    assert!(seen.len() > 8, "{seen:?}");
}

#[test]
fn every_method_says_who_may_call_it() {
    let extension = pool().get_extension_by_name("rollcall.v1.authorization").expect("the option");
    for method in methods() {
        let options = method.descriptor.options();
        assert!(options.has_extension(&extension), "{} has no authorization", method.path);
        let Value::Message(authorization) = options.get_extension(&extension).into_owned() else {
            panic!("the option of {} is no message", method.path)
        };
        let callers = callers(&authorization);
        assert!(!callers.is_empty(), "{} admits nobody", method.path);
        for caller in callers {
            assert!(
                caller.starts_with("CALLER_") && caller != "CALLER_UNSPECIFIED",
                "{}: {caller}",
                method.path
            );
        }
    }
}

fn callers(authorization: &DynamicMessage) -> Vec<String> {
    let kinds = pool().get_enum_by_name("rollcall.v1.Caller").expect("the callers");
    let callers = authorization.get_field_by_name("callers").expect("a field of the option");
    let numbers = callers.as_list().expect("repeated").iter().map(|caller| caller.as_enum_number());
    let names = numbers.map(|number| {
        let kind = number.and_then(|number| kinds.get_value(number));
        kind.map_or_else(|| format!("{number:?}"), |kind| kind.name().to_owned())
    });
    names.collect()
}

#[test]
fn every_write_can_be_repeated_and_waited_for() {
    for method in methods() {
        let (input, output) = (method.descriptor.input(), method.descriptor.output());
        let is_text = |field: Option<prost_reflect::FieldDescriptor>| {
            field.is_some_and(|field| field.kind() == prost_reflect::Kind::String && !field.is_list())
        };
        let repeatable = is_text(input.get_field_by_name("request_id"));
        let token = is_text(output.get_field_by_name("token"));
        if method.writes() {
            assert!(repeatable, "{} has no request_id", method.path);
            assert!(token, "{} answers no token", method.path);
        } else {
            let known = [CLOSE, REPORT, LOST].contains(&method.name())
                || OTHERS.iter().any(|prefix| method.name().starts_with(prefix));
            assert!(known, "{}: does it change something? Say so in WRITES or OTHERS", method.path);
            assert!(!repeatable && !token, "{} looks like a write", method.path);
        }
    }
}

/// What puts somebody out can be waited for in the same call, and where waiting is explained it says so.
#[test]
fn every_command_that_puts_somebody_out_can_wait_until_it_is_enforced() {
    let ends = ["Deactivate", "BatchDeactivate", "Remove", "Erase", "Reapply", "Leave", "Delete"];
    // Belongs to nobody.
    let others = ["DeleteContract"];
    let methods = methods();
    let wait = methods.iter().find(|method| method.name() == "AwaitEnforcement").expect("the wait");
    let explained = wait.comment.split("Errors: ").next().unwrap_or_default();
    let mut number = 0;
    for method in &methods {
        let name = method.name();
        let puts_out = ends.iter().any(|prefix| name.starts_with(prefix)) && !others.contains(&name);
        let waits = method.descriptor.input().get_field_by_name("await_enforcement").is_some();
        let tells = method.descriptor.output().get_field_by_name("enforcement").is_some();
        assert_eq!(puts_out, waits && tells, "{}", method.path);
        let mut words = explained.split(|next: char| !next.is_ascii_alphanumeric());
        assert_eq!(puts_out, words.any(|word| word == name), "{name} where waiting is explained");
        number += usize::from(puts_out);
    }
    assert_eq!(number, 12);
}

/// Whoever has written can read at it, by the same words everywhere (C13).
#[test]
fn c13_every_read_takes_a_token() {
    let reads = ["Get", "BatchGet", "List", "Lookup", "Check", "BatchCheck"];
    let mut reading = 0;
    for method in methods().iter().filter(|method| reads.iter().any(|read| method.name().starts_with(read))) {
        reading += 1;
        let input = method.descriptor.input();
        // What is asked about a write names that one.
        let field = input.get_field_by_name(if method.name() == "GetEnforcement" {
            "token"
        } else {
            "at_least_as_fresh"
        });
        let field = field.unwrap_or_else(|| panic!("{} takes no token", method.path));
        assert_eq!(field.kind(), prost_reflect::Kind::String, "{}", method.path);
        for reason in ["TOKEN_INVALID", "TOKEN_WRONG_STORE", "TOKEN_FORKED", "TOKEN_NOT_REACHED"] {
            assert!(promised(&method.comment).contains(reason), "{} does not name {reason}", method.path);
        }
    }
    assert!(reading > 10);
}

/// Lists are read in pages, by names that are the same everywhere (AIP-158).
#[test]
fn every_list_has_pages() {
    let lists: Vec<Method> =
        methods().into_iter().filter(|method| method.name().starts_with("List")).collect();
    assert!(lists.len() > 3);
    for method in lists {
        for field in ["page_size", "page_token"] {
            assert!(method.descriptor.input().get_field_by_name(field).is_some(), "{}: {field}", method.path);
        }
        let next = method.descriptor.output().get_field_by_name("next_page_token");
        assert!(next.is_some(), "{}: next_page_token", method.path);
    }
}

#[test]
fn every_method_has_an_example_and_names_its_errors() {
    for method in methods() {
        let examples = method.comment.lines().filter(|line| line.trim().starts_with("Example request: {"));
        assert_eq!(examples.count(), 1, "{} has one example", method.path);
        assert!(method.comment.contains("Errors: "), "{} names its errors", method.path);
    }
}

/// The reasons that comments of methods name, and those that nobody else names, are the declared ones.
#[test]
fn methods_name_the_declared_reasons() {
    let reasons = reasons();
    let mut named: BTreeSet<String> = BTreeSet::new();
    for method in methods() {
        for reason in promised(&method.comment) {
            assert!(reasons.contains(&reason), "{} names {reason}, which is no reason", method.path);
            named.insert(reason);
        }
    }
    let never: Vec<&String> = reasons
        .iter()
        .filter(|reason| !named.contains(*reason) && !OF_ALL.contains(&reason.as_str()))
        .collect();
    assert!(never.is_empty(), "no method names {never:?}");
}

/// For each method, by its path, the reasons that it may answer with.
pub(crate) fn promises() -> &'static BTreeMap<String, BTreeSet<String>> {
    static PROMISES: OnceLock<BTreeMap<String, BTreeSet<String>>> = OnceLock::new();
    PROMISES.get_or_init(|| {
        let promises = methods().into_iter().map(|method| {
            let mut reasons = promised(&method.comment);
            let repeatable = method.descriptor.input().get_field_by_name("request_id").is_some();
            let of_all = OF_ALL.iter().filter(|reason| repeatable || **reason != "REQUEST_ID_REUSED");
            reasons.extend(of_all.map(|reason| (*reason).to_owned()));
            (method.path, reasons)
        });
        promises.collect()
    })
}

/// The reasons of the paragraph about errors: words in capitals that are no code and no state.
fn promised(comment: &str) -> BTreeSet<String> {
    const NO_REASONS: [&str; 14] = [
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "FAILED_PRECONDITION",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "DEADLINE_EXCEEDED",
        "UNAVAILABLE",
        "ABORTED",
        "ACTIVE",
        "DEACTIVATED",
        "REMOVED",
        "DELETED",
        "ADMIN",
    ];
    let errors = comment.split_once("Errors: ").map_or("", |(_, rest)| rest);
    let errors = errors.split("\n\n").next().unwrap_or_default();
    let errors = errors.split("Example").next().unwrap_or_default();
    let words = errors.split(|next: char| !next.is_ascii_alphanumeric() && next != '_');
    let capitals = words
        .filter(|word| word.len() > 3 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'));
    capitals.filter(|word| !NO_REASONS.contains(word)).map(str::to_owned).collect()
}

/// None is promised and never sent: each is named where statuses are made, as more than a word of `Opened`.
#[test]
fn every_reason_can_be_sent() {
    let directory =
        |path| fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the gRPC layer");
    let mut code = String::new();
    for entry in directory("src/grpc").chain(directory("src/grpc/status")) {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            continue;
        }
        code.push_str(&fs::read_to_string(path).expect("a source"));
    }
    // The words of `Opened.cursor_refusal`, which are no statuses.
    let begin = code.find("fn refusal_reason").expect("the words of a refusal");
    let end = begin + code[begin..].find("\n}\n").expect("its end");
    code.replace_range(begin..end, "");
    for reason in reasons() {
        let variant =
            ErrorReason::from_str_name(&format!("ERROR_REASON_{reason}")).expect("a reason of the server's");
        let name = format!("ErrorReason::{variant:?}");
        let sent = code
            .match_indices(&name)
            .any(|(at, _)| !code[at + name.len()..].starts_with(|next: char| next.is_alphanumeric()));
        assert!(sent, "{reason} is promised and never sent");
    }
}
