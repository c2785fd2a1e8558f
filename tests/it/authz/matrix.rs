//! Every method by everybody: `tests/authz_matrix.csv`, written by hand from the README and the rules, not from the options
//! of the methods. The requests are of one organization, whose workspaces are all of the app `chat`.

use std::{collections::BTreeSet, fs, path::Path, sync::OnceLock};

use futures_util::{StreamExt as _, stream};
use prost_reflect::{DynamicMessage, MethodDescriptor};
use rollcall_client::v1::BatchDeactivateMembersResponse;
use tonic::Request;

use super::{GATEWAY, Tenant, tenant};
use crate::{
    fixtures::{
        World, reason,
        requests::{assignment, methods, send, set},
    },
    support::{Channel, OPERATOR, Server},
};

/// Who asks, in the order of the file. Persons ask through a workload that may say for whom it acts, where the method can be
/// told; where it cannot, that workload asks as itself.
pub(super) const COLUMNS: [&str; 9] =
    ["none", "wrong", "other_app", "own_app", "member", "workspace_admin", "org_admin", "owner", "operator"];

/// A row: a method, what it is asked, and what is expected of each column.
pub(super) struct Row {
    pub(super) method: &'static str,
    pub(super) request: &'static str,
    pub(super) cells: Vec<&'static str>,
}

pub(super) fn rows(text: &'static str) -> Vec<Row> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
    assert_eq!(header[..2], ["method", "request"]);
    assert_eq!(header[2..], COLUMNS, "the columns");
    let rows = lines.map(|line| {
        let mut fields = line.split(',');
        let (method, request) = (fields.next().expect("a method"), fields.next().expect("a request"));
        let cells: Vec<&str> = fields.collect();
        assert_eq!(cells.len(), COLUMNS.len(), "{line}");
        assert!(cells.iter().all(|cell| *cell == "OK" || cell.contains('/')), "{line}");
        Row { method, request, cells }
    });
    rows.collect()
}

/// The rows of the file.
pub(super) fn matrix() -> Vec<Row> {
    static TEXT: OnceLock<String> = OnceLock::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/authz_matrix.csv");
    rows(TEXT.get_or_init(|| fs::read_to_string(file).expect("the matrix")))
}

/// The request of a row, for a person or for nobody. Writes are only validated.
pub(super) fn request(
    method: &MethodDescriptor,
    row: &Row,
    tenant: &Tenant,
    acting: Option<&str>,
) -> DynamicMessage {
    let mut message = DynamicMessage::new(method.input());
    for word in row.request.split(' ').filter(|word| !word.is_empty()) {
        let (path, value) = assignment(word, &tenant.names);
        set(&mut message, &path, &value);
    }
    let has = |field: &str| method.input().get_field_by_name(field).is_some();
    if let Some(person) = acting.filter(|_| has("acting_account_id")) {
        set(&mut message, "acting_account_id", person);
    }
    if has("validate_only") {
        set(&mut message, "validate_only", "true");
    }
    message
}

pub(super) async fn ask(channel: &Channel, method: &MethodDescriptor, message: DynamicMessage) -> String {
    let request = Request::new(message);
    let answer = if method.name() == "BatchDeactivateMembers" {
        let answer: Result<BatchDeactivateMembersResponse, _> = send(channel, method, request).await;
        answer.map(|answer| answer.results[0].refusal.clone())
    } else {
        send::<()>(channel, method, request).await.map(|()| String::new())
    };
    match answer {
        Ok(refusal) if refusal.is_empty() => "OK".to_owned(),
        // What is refused of one item of a batch has a reason and no code: all of these are about the role.
        Ok(refusal) => format!("PERMISSION_DENIED/{refusal}"),
        Err(status) => {
            let code = code_name(status.code());
            format!("{code}/{}", reason(&status))
        }
    }
}

/// A code as the file spells it: `NotFound` is `NOT_FOUND`.
fn code_name(code: tonic::Code) -> String {
    let mut name = String::new();
    for (at, letter) in format!("{code:?}").chars().enumerate() {
        if letter.is_ascii_uppercase() && at > 0 {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// What of the matrix is missing: methods without a row.
fn missing(rows: &[Row]) -> Vec<String> {
    let with_rows: BTreeSet<&str> = rows.iter().map(|row| row.method).collect();
    methods().into_keys().filter(|method| !with_rows.contains(method.as_str())).collect()
}

#[tokio::test]
async fn every_method_is_for_whom_the_matrix_says() {
    let rows = matrix();
    assert_eq!(missing(&rows), Vec::<String>::new(), "methods without a row");
    let world = World::on(Server::checking_and_telling_apart().await).await;
    let tenant = tenant(&world, "chat", "matrix").await;
    let mark = world.mark().await;
    let channel = world.server().channel();
    let persons = [&tenant.member, &tenant.workspace_admin, &tenant.org_admin, &tenant.owner];
    let mut callers: Vec<(Channel, Option<&str>)> = vec![
        (channel.clone().unnamed(), None),
        (channel.clone().calling_as("intruder"), None),
        (channel.clone().calling_as("boards"), None),
        (channel.clone().calling_as("chat"), None),
    ];
    callers
        .extend(persons.map(|person| (channel.clone().calling_as(GATEWAY), Some(person.account.as_str()))));
    callers.push((channel.calling_as(OPERATOR), None));
    let methods = methods();
    let cells = rows.iter().flat_map(|row| {
        let columns = COLUMNS.iter().zip(&row.cells).zip(&callers);
        columns.map(move |((column, wanted), (channel, acting))| (row, column, wanted, channel, acting))
    });
    // A subscription is closed last of all.
    let (closing, cells): (Vec<_>, Vec<_>) =
        cells.partition(|cell| cell.0.method.ends_with("/CloseSubscription"));
    let asked = cells.into_iter().chain(closing).map(|(row, column, wanted, channel, acting)| {
        let method = &methods[row.method];
        let message = request(method, row, &tenant, *acting);
        async move {
            let answered = ask(channel, method, message).await;
            (answered != **wanted)
                .then(|| format!("{} {}\n    {column}: {answered}, not {wanted}", row.method, row.request))
        }
    });
    let wrong: Vec<Option<String>> = stream::iter(asked).buffered(8).collect().await;
    let total = wrong.len();
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    println!(
        "{} methods, {} rows, {} columns, {total} cells, {} answered otherwise",
        methods.len(),
        rows.len(),
        COLUMNS.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{} of {total} cells:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(world.changes_since(mark).await, 0, "all of it was only asked");
}

#[test]
fn a_method_without_a_row_is_missed() {
    let mut rows = matrix();
    rows.retain(|row| row.method != "AppService/GetApp");
    assert_eq!(missing(&rows), ["AppService/GetApp"]);
}

#[test]
#[should_panic(expected = "the columns")]
fn a_column_that_is_left_out_is_missed() {
    rows("method,request,none,wrong,other_app,own_app,member,workspace_admin,org_admin,operator\n");
}
