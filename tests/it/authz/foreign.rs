//! Another tenant's ids in every field of every request: answered exactly as ids that do not exist, and nothing changes. The
//! fields are those of the descriptors.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, MethodDescriptor};
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder},
    codegen::http::uri::PathAndQuery,
};
use tonic_prost::ProstCodec;

use super::{
    GATEWAY, Tenant,
    matrix::{Row, matrix, request},
    tenant,
};
use crate::{
    fixtures::{World, made_up_id, reason, requests::methods, requests::set},
    support::{Channel, Server},
};
use prost::bytes::{Buf as _, Bytes};

/// How deep a field may lie: `departure.workspace_successors[].member_id`.
const DEPTH: usize = 3;

/// The fields of a request that hold ids of things, by their paths.
fn id_fields(message: &MessageDescriptor, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for field in message.fields() {
        let brackets = if field.is_list() { "[]" } else { "" };
        let path = format!("{}{brackets}", field.name());
        match field.kind() {
            Kind::String if thing(field.name()).is_some() => found.push(path),
            Kind::Message(inner) if depth > 1 && !field.is_map() => {
                let within = id_fields(&inner, depth - 1);
                found.extend(within.into_iter().map(|rest| format!("{path}.{rest}")));
            }
            _ => {}
        }
    }
    found
}

/// What a field of this name holds the id of, by what a tenant calls it. `request_id` is the caller's own.
fn thing(field: &str) -> Option<&'static str> {
    let name = field.trim_end_matches('s');
    Some(match name {
        "organization_id" => "ORG",
        "workspace_id" => "WORKSPACE",
        "invitation_id" => "INVITATION",
        "contract_id" => "CONTRACT",
        "subscription_id" => "SUBSCRIPTION",
        "change_id" | "erasure_id" | "tombstone_id" => "CHANGE",
        "command_id" => "COMMAND",
        name if name.ends_with("account_id") => "BOB_ACCOUNT",
        name if name.ends_with("member_id") => "BOB",
        name => {
            assert!(!name.ends_with("_id") || name == "request_id", "{name}: the id of what?");
            return None;
        }
    })
}

/// Takes the answer as it is.
#[derive(Default)]
struct Raw(ProstCodec<DynamicMessage, ()>);

struct RawDecoder;

impl Decoder for RawDecoder {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}

impl Codec for Raw {
    type Encode = DynamicMessage;
    type Decode = Bytes;
    type Encoder = <ProstCodec<DynamicMessage, ()> as Codec>::Encoder;
    type Decoder = RawDecoder;

    fn encoder(&mut self) -> Self::Encoder {
        self.0.encoder()
    }

    fn decoder(&mut self) -> RawDecoder {
        RawDecoder
    }
}

/// All that a caller learns from an answer, without the ids that it said itself.
async fn learnt(
    channel: &Channel,
    method: &MethodDescriptor,
    message: DynamicMessage,
    said: &str,
) -> (bool, String) {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.expect("a connection");
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path: PathAndQuery = path.parse().expect("a path");
    let request = Request::new(message);
    let answer = if method.is_server_streaming() {
        match grpc.server_streaming(request, path, Raw::default()).await {
            Ok(answer) => answer.into_inner().message().await.map(Option::unwrap_or_default),
            Err(status) => Err(status),
        }
    } else {
        grpc.unary(request, path, Raw::default()).await.map(tonic::Response::into_inner)
    };
    let (refused, text) = match answer {
        Ok(bytes) => {
            let answer = DynamicMessage::decode(method.output(), bytes).expect("an answer");
            (false, format!("{answer:?}"))
        }
        Err(status) => (true, format!("{:?} {} {}", status.code(), reason(&status), status.message())),
    };
    (refused, text.replace(said, "IT"))
}

/// A field of a request of one caller.
struct Case<'a> {
    channel: &'a Channel,
    acting: Option<&'a str>,
    who: &'static str,
    row: &'a Row,
    method: &'a MethodDescriptor,
    path: String,
}

/// Whether it was refused, and what told the two apart. What differs by chance, such as how far the log has got, is the
/// same when it is asked again.
async fn told_apart(case: &Case<'_>, own: &Tenant, foreign: &Tenant) -> (bool, Option<String>) {
    let Case { row, method, .. } = case;
    let field = case.path.rsplit('.').next().unwrap_or_default().trim_end_matches("[]");
    let name = thing(field).expect("an id of something");
    let ask = async |id: &str| {
        let mut message = request(method, row, own, case.acting);
        set(&mut message, &case.path, id);
        learnt(case.channel, method, message, id).await
    };
    let mut leak = None;
    for _ in 0..3 {
        let (refused, of_nothing) = ask(made_up_id().as_str()).await;
        let (_, of_theirs) = ask(foreign.names[name].as_str()).await;
        if of_nothing == of_theirs {
            return (refused, None);
        }
        let (method, path, who) = (row.method, &case.path, case.who);
        leak = Some(format!(
            "{method} {path} by {who}:\n    theirs: {of_theirs:.500}\n    nothing: {of_nothing:.500}"
        ));
    }
    (false, leak)
}

#[tokio::test]
async fn ids_of_another_tenant_are_like_ids_of_nothing() {
    let world = World::on(Server::checking_and_telling_apart().await).await;
    let (theirs, own) = (tenant(&world, "chat", "theirs").await, tenant(&world, "boards", "own").await);
    let mark = world.mark().await;
    let channel = world.server().channel();
    let (app, gateway) = (channel.clone().calling_as("boards"), channel.calling_as(GATEWAY));
    let callers = [("the app", &app, None), ("an owner", &gateway, Some(own.owner.account.as_str()))];
    let (rows, methods) = (matrix(), methods());
    let mut cases = Vec::new();
    for row in &rows {
        let method = &methods[row.method];
        for path in id_fields(&method.input(), DEPTH) {
            for &(who, channel, acting) in &callers {
                // For whom the gateway acts, and about whose access it asks, is for the gateway to say: that is its right.
                let its_right = path == "acting_account_id" || row.method.starts_with("AccessService/");
                if its_right && acting.is_some() {
                    continue;
                }
                cases.push(Case { channel, acting, who, row, method, path: path.clone() });
            }
        }
    }
    let total = cases.len();
    let asked = cases.iter().map(|case| told_apart(case, &own, &theirs));
    let answers: Vec<(bool, Option<String>)> = stream::iter(asked).buffered(8).collect().await;
    let refused = answers.iter().filter(|(refused, _)| *refused).count();
    let leaks: Vec<String> = answers.into_iter().filter_map(|(_, leak)| leak).collect();
    let fields: BTreeMap<&str, usize> = cases.iter().fold(BTreeMap::new(), |mut fields, case| {
        *fields.entry(case.row.method).or_default() += 1;
        fields
    });
    println!(
        "{total} requests with an id of another tenant in {} methods: {refused} refused, {} told apart from nothing",
        fields.len(),
        leaks.len()
    );
    assert!(leaks.is_empty(), "{} of {total}:\n{}", leaks.len(), leaks.join("\n"));
    assert!(total > 300 && refused > 200, "{total} {refused}");
    assert_eq!(world.changes_since(mark).await, 0, "nothing changed");
}
