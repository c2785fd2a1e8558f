//! Whole tables through the API: who may call what (R61), and what accepts which call in which state (R62). They are
//! written by hand from `docs/rules.md`, not from the tables in `src/rules/`. Methods are read from the
//! descriptors that the service serves, so one without a row fails.
//!
//! A row is a request, and under it one cell for each column. Writes are only validated (`validate_only`), so all cells
//! are asked of one world, many at a time, and it is the same afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{SystemTime, UNIX_EPOCH},
};

use futures_util::{StreamExt as _, stream};
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, MethodDescriptor, ReflectMessage as _, Value};
use rollcall_client::v1::{BatchDeactivateMembersResponse, Erasure};
use tonic::{Request, metadata::MetadataValue};

use crate::fixtures::{
    World, made_up_id, reason,
    requests::{assignment, methods, send, set},
};

mod people;
mod roles;
mod things;

/// So many cells are asked at a time: as many as the service has connections.
const AT_ONCE: usize = 8;

/// Who asks, or about what.
#[derive(Clone)]
struct Column {
    /// The name of the calling app, where it is one.
    app: Option<&'static str>,
    /// What the `$NAMES` of the rows stand for. `ME` is for whom the caller acts, `ORG` the organization where a row
    /// names none.
    names: BTreeMap<&'static str, String>,
}

impl Column {
    fn new(names: &[(&'static str, &str)]) -> Self {
        Self { app: None, names: names.iter().map(|(name, value)| (*name, (*value).to_owned())).collect() }
    }

    /// With these names too.
    fn and(mut self, names: &[(&'static str, &str)]) -> Self {
        self.names.extend(Self::new(names).names);
        self
    }
}

/// A request with what is expected of it in each column.
struct Row {
    text: &'static str,
    cells: Vec<&'static str>,
}

impl Row {
    fn method(&self) -> &'static str {
        self.text.split(' ').next().expect("a method")
    }
}

fn rows(table: &'static str) -> Vec<Row> {
    let mut lines = table.lines().filter(|line| !line.is_empty()).peekable();
    let mut rows = Vec::new();
    while let Some(text) = lines.next() {
        let cells = lines.next().filter(|cells| cells.starts_with(' ')).unwrap_or_else(|| panic!("{text}"));
        rows.push(Row { text, cells: cells.split_whitespace().collect() });
    }
    rows
}

/// What a cell stands for; `-` is one that cannot be.
fn meaning(cell: &str) -> &str {
    match cell {
        "no" => "ROLE_INSUFFICIENT",
        "above" => "ROLE_ABOVE_OWN",
        "app" => "WORKSPACE_OF_OTHER_APP",
        reason => reason,
    }
}

/// Puts the organization of the column into the request and what it carries, where the row names none.
fn complete(message: &mut DynamicMessage, organization: &str) {
    let fields: Vec<_> = message.descriptor().fields().collect();
    for field in fields {
        let value = message.get_field(&field).into_owned();
        match value {
            Value::String(text) if field.name() == "organization_id" && text.is_empty() => {
                message.set_field(&field, Value::String(organization.to_owned()));
            }
            Value::Message(mut inner) if message.has_field(&field) => {
                complete(&mut inner, organization);
                message.set_field(&field, Value::Message(inner));
            }
            Value::List(mut list) => {
                for element in &mut list {
                    if let Value::Message(inner) = element {
                        complete(inner, organization);
                    }
                }
                message.set_field(&field, Value::List(list));
            }
            _ => {}
        }
    }
}

/// Has the ledger list the entry that the request is about, so that it is sealed.
async fn list(world: &World, message: &mut DynamicMessage) {
    let entry: Erasure = match message.get_field_by_name("erasure").as_deref() {
        Some(Value::Message(entry)) => entry.transcode_to().expect("an entry"),
        other => panic!("{other:?}"),
    };
    let id = made_up_id();
    let quoted = |text: &str| if text.is_empty() { "NULL".to_owned() } else { format!("'{text}'") };
    let (kind, by) = match entry.account_id.as_str() {
        "" => ("MEMBER", "OWNER"),
        _ => ("ACCOUNT", "ACCOUNT"),
    };
    let insert = format!(
        "INSERT INTO erasures (erasure_id, kind, organization_id, member_id, tombstone_id, account_id, erased_by, profiles,
                               addresses, external_ids, invitations, mails)
         VALUES ('{id}', '{kind}', {}, {}, {}, {}, '{by}', 0, 0, 0, 0, 0)",
        quoted(&entry.organization_id),
        quoted(&entry.member_id),
        quoted(&entry.tombstone_id),
        quoted(&entry.account_id)
    );
    world.server().database().batch_execute(&insert).await.expect(&insert);
    let listed = world.operator().erasures().await.into_iter().find(|entry| entry.erasure_id == id);
    let listed = listed.expect("it is listed");
    let day = listed.erase_time.expect("a day").seconds.to_string();
    for (field, value) in [("erasure_id", &id), ("erase_time.seconds", &day), ("seal", &listed.seal)] {
        set(message, &format!("erasure.{field}"), value);
    }
}

async fn ask(world: &World, method: &MethodDescriptor, row: &Row, column: &Column) -> String {
    let mut message = DynamicMessage::new(method.input());
    for word in row.text.split(' ').skip(1) {
        let (path, value) = assignment(word, &column.names);
        set(&mut message, &path, &value);
    }
    // An entry of the ledger of an account has no organization.
    if !row.text.contains("erasure.account_id") {
        complete(&mut message, &column.names["ORG"]);
    }
    if method.name() == "ReapplyErasure" {
        list(world, &mut message).await;
    }
    if let Some(person) = column.names.get("ME").filter(|_| has(method, "acting_account_id")) {
        set(&mut message, "acting_account_id", person);
    }
    if has(method, "validate_only") {
        set(&mut message, "validate_only", "true");
    }
    let mut request = Request::new(message);
    if let Some(app) = column.app {
        request.metadata_mut().insert("rollcall-caller", MetadataValue::from_static(app));
    }
    let channel = world.server().channel();
    let answer = if method.name() == "BatchDeactivateMembers" {
        let answer: Result<BatchDeactivateMembersResponse, _> = send(&channel, method, request).await;
        answer.map(|answer| answer.results[0].refusal.clone())
    } else {
        send::<()>(&channel, method, request).await.map(|()| String::new())
    };
    match answer {
        Ok(refusal) if refusal.is_empty() => "yes".to_owned(),
        Ok(refusal) => refusal,
        Err(status) => reason(&status),
    }
}

/// Tomorrow, in seconds, for a planned return.
fn soon() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    (now.as_secs() + 86_400).to_string()
}

fn has(method: &MethodDescriptor, field: &str) -> bool {
    method.input().get_field_by_name(field).is_some()
}

/// Asks every cell of a table, and names all that are answered otherwise.
async fn compare(world: &World, table: &'static str, columns: &[(&str, Column)]) {
    let (methods, rows) = (methods(), rows(table));
    let mut cells = Vec::new();
    for row in &rows {
        let method = methods.get(row.method()).unwrap_or_else(|| panic!("{} is no method", row.method()));
        assert_eq!(row.cells.len(), columns.len(), "{}", row.text);
        let row_of_cells = row.cells.iter().zip(columns).filter(|(cell, _)| **cell != "-");
        cells.extend(row_of_cells.map(|(cell, (name, column))| (row, method, meaning(cell), *name, column)));
    }
    let asking = cells.iter().map(|(row, method, wanted, name, column)| async move {
        let answered = ask(world, method, row, column).await;
        (answered != *wanted).then(|| format!("{}\n    {name}: {answered}, not {wanted}", row.text))
    });
    let wrong: Vec<Option<String>> = stream::iter(asking).buffered(AT_ONCE).collect().await;
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    println!("{} rows, {} cells", rows.len(), cells.len());
    assert!(wrong.is_empty(), "{} of {} cells:\n{}", wrong.len(), cells.len(), wrong.join("\n"));
}

/// Every method whose request, or what it carries, has one of these fields has a row, but for those that only carry it.
fn covers(table: &'static str, fields: &[&str], but: &[&str]) {
    let with_rows: BTreeSet<&str> = rows(table).iter().map(Row::method).collect();
    let mut found = 0;
    for (name, method) in methods() {
        if names_any(&method.input(), fields, true) && !but.contains(&name.as_str()) {
            found += 1;
            assert!(with_rows.contains(name.as_str()), "no row for {name}");
        }
    }
    assert!(found > 0, "nothing has {fields:?}");
}

fn names_any(message: &MessageDescriptor, fields: &[&str], inside_too: bool) -> bool {
    message.fields().any(|field| {
        let inside = match field.kind() {
            Kind::Message(inner) if inside_too => names_any(&inner, fields, false),
            _ => false,
        };
        inside || fields.contains(&field.name())
    })
}

/// The tables are read as they are written.
#[test]
fn a_table_has_a_request_and_its_cells() {
    let rows = rows("\nAppService/GetApp app=chat\n    yes  no APP_NOT_FOUND -\n");
    assert_eq!((rows.len(), rows[0].method()), (1, "AppService/GetApp"));
    assert_eq!(rows[0].cells, ["yes", "no", "APP_NOT_FOUND", "-"]);
}

#[test]
#[should_panic(expected = "no row for AppService/")]
fn a_method_without_a_row_is_found() {
    covers("\nFeedService/Watch app=chat\n    yes\n", &["app"], &[]);
}
