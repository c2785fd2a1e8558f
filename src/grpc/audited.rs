//! Around every call to a method of Rollcall: what is refused goes to the audit, with who asked for what.
//!
//! It stands outside of everything else that may refuse. What the request names (the organization, the acting account, the
//! request id) is read from its bytes, and only once it was refused, so that no handler has to tell and none can forget to.
//! Of the rest of the request nothing is looked at.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use chrono::Utc;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use prost::{
    Message as _,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use super::{MAX_REQUEST, status};
use crate::{
    audit::Audit, engine::Context as EngineContext, identity::Caller, proto::DESCRIPTORS,
    rules::ids::OrganizationId, storage::Refusal,
};

/// What stands before a message of gRPC: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// The reason of what was refused before anything of ours could name one.
const NO_REASON: &str = "UNSPECIFIED";

/// Who calls, told by the layer that finds it out to this one, which is around it.
#[derive(Debug, Clone, Default)]
pub(super) struct WhoCalls(Arc<Mutex<Option<Caller>>>);

impl WhoCalls {
    /// Tells it. For which person is found out later, and then told once more.
    pub(super) fn tell(&self, caller: &Caller) {
        *self.lock() = Some(caller.clone());
    }

    fn lock(&self) -> MutexGuard<'_, Option<Caller>> {
        // It is set at once.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds [`Audited`] to a service.
#[derive(Clone)]
pub(super) struct AuditLayer {
    audit: Audit,
    methods: Arc<HashMap<String, Method>>,
}

impl AuditLayer {
    pub(super) fn new(audit: Audit) -> Self {
        Self { audit, methods: Arc::new(methods()) }
    }
}

impl<S> Layer<S> for AuditLayer {
    type Service = Audited<S>;

    fn layer(&self, inner: S) -> Audited<S> {
        let Self { audit, methods } = self.clone();
        Audited { inner, audit, methods }
    }
}

/// Hands refusals to the audit.
#[derive(Clone)]
pub(super) struct Audited<S> {
    inner: S,
    audit: Audit,
    methods: Arc<HashMap<String, Method>>,
}

impl<S> Service<Request<Body>> for Audited<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone that was polled ready is the one that must be called.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let Some(method) = self.methods.get(request.uri().path()).cloned() else {
            // Health, reflection, and what does not exist.
            return Box::pin(inner.call(request));
        };
        let audit = self.audit.clone();
        let (who, seen) = (WhoCalls::default(), Seen::default());
        let mut request = request.map(|body| Body::new(Tee { body, seen: seen.clone() }));
        request.extensions_mut().insert(who.clone());
        Box::pin(async move {
            let response = inner.call(request).await?;
            // A failed call has its code in the headers.
            if let Some(refused) = Status::from_header_map(response.headers())
                && let Some(reason) = method.refusal(&refused)
            {
                let who = who.lock().take();
                audit.refused(method.refused(reason, who.as_ref(), &seen.message()));
            }
            Ok(response)
        })
    }
}

/// What is to be known of a method: where its request names what the audit tells.
#[derive(Debug, Clone)]
struct Method {
    name: String,
    writes: bool,
    acting: Vec<u32>,
    request_id: Vec<u32>,
    organization: Vec<u32>,
}

impl Method {
    /// The reason, where a status is a decision against the caller. What merely failed (no database, no time left) decided
    /// nothing. A read that finds what it was asked with fault gives nothing away; one that looks for what is not there, or
    /// not for this caller, may be somebody who tries ids.
    fn refusal(&self, status: &Status) -> Option<String> {
        let refused = match status.code() {
            Code::Unauthenticated | Code::PermissionDenied | Code::NotFound | Code::ResourceExhausted => true,
            Code::InvalidArgument | Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => {
                self.writes
            }
            _ => false,
        };
        let reason = status::reason_of(status);
        let overloaded = reason == "OVERLOADED";
        (refused && !overloaded).then_some(if reason.is_empty() { NO_REASON.to_owned() } else { reason })
    }

    fn refused(&self, reason: String, caller: Option<&Caller>, message: &[u8]) -> Refusal {
        Refusal {
            time: Utc::now(),
            caller: caller.map(|caller| caller.name.clone()),
            acting: caller.and_then(|caller| caller.person).or_else(|| named(message, &self.acting)),
            method: self.name.clone(),
            request_id: named(message, &self.request_id),
            organization: named(message, &self.organization),
            reason,
            times: 1,
        }
    }
}

/// The refusal of one command of a batch, whose call is answered.
pub(super) fn of_one(context: &EngineContext, organization: OrganizationId, reason: String) -> Refusal {
    Refusal {
        time: Utc::now(),
        caller: Some(context.caller.clone()),
        acting: context.acting,
        method: context.method.unwrap_or(NO_REASON).to_owned(),
        request_id: context.request.as_ref().map(|request| request.id),
        organization: Some(organization),
        reason,
        times: 1,
    }
}

/// The methods of Rollcall, as calls name them.
fn methods() -> HashMap<String, Method> {
    let set = FileDescriptorSet::decode(DESCRIPTORS).expect("the descriptors come from our own build");
    let messages: HashMap<String, &DescriptorProto> = set
        .file
        .iter()
        .flat_map(|file| {
            file.message_type
                .iter()
                .map(move |message| (format!(".{}.{}", file.package(), message.name()), message))
        })
        .collect();
    let mut methods = HashMap::new();
    for (package, service) in
        set.file.iter().flat_map(|file| file.service.iter().map(move |service| (file.package(), service)))
    {
        for method in &service.method {
            let Some(input) = messages.get(method.input_type()) else { continue };
            let acting = text_field(input, "acting_account_id");
            let request_id = text_field(input, "request_id");
            let known = Method {
                name: method.name().to_owned(),
                writes: request_id.is_some(),
                acting: acting.into_iter().collect(),
                request_id: request_id.into_iter().collect(),
                organization: organization(input, &messages),
            };
            methods.insert(format!("/{package}.{}/{}", service.name(), method.name()), known);
        }
    }
    methods
}

/// The number of a field that is one text.
fn text_field(message: &DescriptorProto, name: &str) -> Option<u32> {
    let is_it = |field: &&FieldDescriptorProto| {
        field.name() == name && field.r#type() == Type::String && field.label() != Label::Repeated
    };
    let field = message.field.iter().find(is_it)?;
    u32::try_from(field.number()).ok()
}

/// Where a request names its organization: by itself, or in the thing that it is about.
fn organization(input: &DescriptorProto, messages: &HashMap<String, &DescriptorProto>) -> Vec<u32> {
    const NAME: &str = "organization_id";
    if let Some(number) = text_field(input, NAME) {
        return vec![number];
    }
    let within = input.field.iter().filter(|field| field.label() != Label::Repeated).find_map(|field| {
        let inner = text_field(messages.get(field.type_name())?, NAME)?;
        Some(vec![u32::try_from(field.number()).ok()?, inner])
    });
    within.unwrap_or_default()
}

/// The id that a message has at a path of field numbers. None: there is none, or it is no id.
fn named<T: FromStr>(message: &[u8], path: &[u32]) -> Option<T> {
    std::str::from_utf8(at(message, path)?).ok()?.parse().ok()
}

/// The last field of these numbers: that is the one which counts.
fn at<'a>(mut message: &'a [u8], path: &[u32]) -> Option<&'a [u8]> {
    let (number, rest) = path.split_first()?;
    let mut found = None;
    while !message.is_empty() {
        let (tag, wire) = decode_key(&mut message).ok()?;
        if wire == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut message).ok()?).ok()?;
            let (field, behind) = message.split_at_checked(length)?;
            message = behind;
            if tag == *number {
                found = Some(field);
            }
        } else {
            skip_field(wire, tag, &mut message, DecodeContext::default()).ok()?;
        }
    }
    if rest.is_empty() { found } else { at(found?, rest) }
}

/// What a request was, kept while it is answered. The bytes are shared with who reads them.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<Vec<Bytes>>>);

impl Seen {
    fn saw(&self, bytes: &Bytes) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What is larger is refused without being read.
        if seen.iter().map(Bytes::len).sum::<usize>() <= MAX_REQUEST + PREFIX {
            seen.push(bytes.clone());
        }
    }

    /// The message. Empty where it did not come, or compressed.
    fn message(&self) -> Vec<u8> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut message = seen.concat();
        let is_plain = message.first() == Some(&0) && message.len() >= PREFIX;
        if is_plain { message.split_off(PREFIX) } else { Vec::new() }
    }
}

/// A body that is kept as it passes.
struct Tee {
    body: Body,
    seen: Seen,
}

impl http_body::Body for Tee {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(bytes) = frame.data_ref()
        {
            self.seen.saw(bytes);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        proto::{DeactivateMemberRequest, GetMemberRequest, Organization, UpdateOrganizationRequest},
        rules::ids::{AccountId, RequestId},
    };

    fn method(path: &str) -> Method {
        methods().remove(&format!("/rollcall.v1.{path}")).expect("a method")
    }

    fn id() -> String {
        uuid::Uuid::now_v7().to_string()
    }

    #[test]
    fn what_a_request_names_is_found_in_its_bytes() {
        let request = DeactivateMemberRequest {
            organization_id: id(),
            member_id: id(),
            acting_account_id: id(),
            request_id: id(),
            ..Default::default()
        };
        let refusal =
            method("MemberService/DeactivateMember").refused("R".to_owned(), None, &request.encode_to_vec());
        assert_eq!(
            refusal.organization.map(|id: OrganizationId| id.to_string()),
            Some(request.organization_id)
        );
        assert_eq!(refusal.acting.map(|id: AccountId| id.to_string()), Some(request.acting_account_id));
        assert_eq!(refusal.request_id.map(|id: RequestId| id.to_string()), Some(request.request_id));
        // In the thing that it is about.
        let organization = Organization { organization_id: id(), ..Default::default() };
        let request =
            UpdateOrganizationRequest { organization: Some(organization.clone()), ..Default::default() };
        let update = method("OrganizationService/UpdateOrganization");
        let refusal = update.refused("R".to_owned(), None, &request.encode_to_vec());
        assert_eq!(refusal.organization.map(|id| id.to_string()), Some(organization.organization_id));
    }

    #[test]
    fn what_is_no_request_names_nothing_and_breaks_nothing() {
        let deactivate = method("MemberService/DeactivateMember");
        let request = DeactivateMemberRequest { organization_id: id(), ..Default::default() };
        let mut bytes = request.encode_to_vec();
        for length in 0..bytes.len() {
            assert_eq!(deactivate.refused("R".to_owned(), None, &bytes[..length]).organization, None);
        }
        bytes.splice(2..6, *b"\xff\xff\xff\xff");
        assert_eq!(deactivate.refused("R".to_owned(), None, &bytes).organization, None);
        let named =
            GetMemberRequest { organization_id: "Quillon Marchbanks".to_owned(), ..Default::default() };
        let get = method("MemberService/GetMember");
        assert_eq!(get.refused("R".to_owned(), None, &named.encode_to_vec()).organization, None);
    }

    #[test]
    fn what_failed_is_no_refusal() {
        let (write, read) = (method("MemberService/DeactivateMember"), method("MemberService/GetMember"));
        for code in
            [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled, Code::Internal, Code::Unknown]
        {
            assert_eq!(write.refusal(&Status::new(code, "")), None, "{code:?}");
        }
        assert!(write.refusal(&Status::new(Code::FailedPrecondition, "")).is_some());
        assert_eq!(read.refusal(&Status::new(Code::FailedPrecondition, "")), None);
        for code in [Code::Unauthenticated, Code::PermissionDenied, Code::NotFound] {
            assert!(read.refusal(&Status::new(code, "")).is_some(), "{code:?}");
        }
    }
}
