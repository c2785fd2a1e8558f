//! Authorization: who may call a method, for whom, and what of the store they may know of.
//!
//! What a method says of its callers (`options.proto`) is enforced before its handler; the handler asks [`acting`] for whom
//! it is called, or [`reach`] what may be seen, and hears there what could not be known before the request was read.

use std::{collections::HashMap, sync::Arc};

use http::Request as HttpRequest;
use prost::Message;
use tonic::{Request, Status, body::Body};
use uuid::Uuid;

use super::{Services, parse, status};
use crate::{
    engine::CallingApp,
    identity::{Caller, Kind},
    proto::{Authorization, Caller as Admits, DESCRIPTORS},
    rules::ids::{AccountId, AppName, OrganizationId},
    storage::{Named, Reach},
};

/// What the descriptors say of methods, as far as it matters here: the types of the crate leave our option out.
mod described {
    use prost::Message;

    use crate::proto::Authorization;

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Set {
        #[prost(message, repeated, tag = "1")]
        pub(super) file: Vec<File>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct File {
        #[prost(string, tag = "2")]
        pub(super) package: String,
        #[prost(message, repeated, tag = "6")]
        pub(super) service: Vec<Service>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Service {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(message, repeated, tag = "2")]
        pub(super) method: Vec<Method>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Method {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(message, optional, tag = "4")]
        pub(super) options: Option<Options>,
        #[prost(bool, optional, tag = "6")]
        pub(super) server_streaming: Option<bool>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Options {
        #[prost(message, optional, tag = "50101")]
        pub(super) authorization: Option<Authorization>,
    }
}

/// What everybody may call: methods that others described.
const COMMON: [&str; 5] = [
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/List",
    "grpc.health.v1.Health/Watch",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
/// How the log names a method that there is not.
const UNKNOWN: &str = "unknown";

/// What a method says.
#[derive(Debug, Default)]
struct Said {
    /// The kinds of callers that it admits.
    callers: Vec<i32>,
    /// Whether it answers with a stream.
    streams: bool,
}

/// What each method says, by its path. One that is not in it admits nobody.
#[derive(Debug, Clone)]
pub(super) struct Methods(Arc<HashMap<String, Said>>);

impl Methods {
    pub(super) fn declared() -> Self {
        let set = described::Set::decode(DESCRIPTORS).expect("the descriptors come from our own build");
        let services = set.file.into_iter().flat_map(|file| {
            let package = file.package;
            file.service
                .into_iter()
                .map(move |service| (format!("{package}.{}", service.name), service.method))
        });
        let methods = services.flat_map(|(service, methods)| {
            methods.into_iter().map(move |method| {
                let Authorization { callers } =
                    method.options.and_then(|options| options.authorization).unwrap_or_default();
                let said = Said { callers, streams: method.server_streaming.unwrap_or_default() };
                (format!("{service}/{}", method.name), said)
            })
        });
        Self(Arc::new(methods.collect()))
    }

    /// Whether a method answers with a stream.
    pub(super) fn streams(&self, method: &str) -> bool {
        self.0.get(method).is_some_and(|said| said.streams)
    }

    /// How the log names a method. Whoever calls one that there is not chose the name of it, and must not choose what is in
    /// the log.
    pub(super) fn shown<'a>(&self, method: &'a str) -> &'a str {
        if self.0.contains_key(method) || COMMON.contains(&method) { method } else { UNKNOWN }
    }

    /// Lets who calls through to the method, or refuses. Whether who calls for a person alone does so shows when the request
    /// is read.
    pub(super) fn admit(&self, method: &str, request: &mut HttpRequest<Body>) -> Result<(), Status> {
        let caller = request.extensions().get::<Caller>().ok_or_else(status::unknown_caller)?;
        let admits = self.0.get(method).map(|said| said.callers.as_slice()).unwrap_or_default();
        let names = |kind: Admits| admits.contains(&i32::from(kind));
        let as_itself = match caller.kind {
            Kind::Anyone | Kind::Operator => !admits.is_empty(),
            Kind::App(_) => names(Admits::App) || names(Admits::Workload),
            Kind::Workload => names(Admits::Workload),
        };
        let for_somebody = names(Admits::Person) && (caller.person.is_some() || caller.may_impersonate);
        if !as_itself && !for_somebody {
            return Err(status::caller_not_allowed());
        }
        request.extensions_mut().insert(Admitted { as_itself });
        Ok(())
    }
}

/// How a caller was let through to a method.
#[derive(Debug, Clone, Copy)]
struct Admitted {
    /// Else it must be for a person.
    as_itself: bool,
}

/// For whom a request is made: for the person who was proven, or for whom the caller says, where it may say so.
pub(super) fn acting<M>(request: &Request<M>, said: &str) -> Result<Option<AccountId>, Status> {
    let caller = parse::who(request)?;
    let said: Option<AccountId> = parse::optional("acting_account_id", said)?;
    let person = match (caller.person, said) {
        (Some(proven), Some(said)) if proven != said => return Err(status::impersonation_not_allowed()),
        (Some(proven), _) => Some(proven),
        (None, Some(_)) if !may_say(caller) => return Err(status::impersonation_not_allowed()),
        (None, said) => said,
    };
    let admitted = request.extensions().get::<Admitted>().ok_or_else(status::unknown_caller)?;
    if person.is_none() && !admitted.as_itself {
        return Err(status::caller_not_allowed());
    }
    Ok(person)
}

/// Whether the caller may say for whom it acts without proving it. Who may do everything may do less.
fn may_say(caller: &Caller) -> bool {
    caller.may_impersonate || matches!(caller.kind, Kind::Anyone | Kind::Operator)
}

/// How far whoever makes a request sees. A workload that is nothing by itself sees what the person sees for whom it acts.
pub(super) fn reach<M>(request: &Request<M>, said: &str) -> Result<Reach, Status> {
    let person = acting(request, said)?;
    let app = match &parse::who(request)?.kind {
        Kind::App(app) => Some(app.clone()),
        Kind::Workload if person.is_none() => return Err(status::caller_not_allowed()),
        Kind::Workload | Kind::Anyone | Kind::Operator => None,
    };
    Ok(Reach { app, person })
}

/// The app whose own things alone are for the caller. None: not only those of an app.
pub(super) fn own_app<M>(request: &Request<M>) -> Result<Option<AppName>, Status> {
    match &parse::who(request)?.kind {
        Kind::App(app) => Ok(Some(app.clone())),
        _ => Ok(None),
    }
}

/// Whether the caller is an app, and how far it sees when it writes: who may do everything is bound by no reach, and the rules
/// say what the person may for whom they act.
pub(super) fn writing(caller: &Caller, acting: Option<AccountId>) -> (CallingApp, Reach) {
    match &caller.kind {
        Kind::Anyone => (CallingApp::IfNamedSo, Reach::ALL),
        Kind::Operator => (CallingApp::No, Reach::ALL),
        Kind::App(app) => (CallingApp::Yes, Reach { app: Some(app.clone()), person: acting }),
        Kind::Workload => (CallingApp::No, Reach { app: None, person: acting }),
    }
}

/// An organization, as a read names it.
pub(super) fn organization(id: OrganizationId) -> Named {
    Named { organization: Some(id), ..Named::default() }
}

impl Services {
    /// Refuses what is out of reach as what does not exist.
    pub(super) async fn reached(&self, reach: &Reach, named: Named) -> Result<(), Status> {
        self.engine.check_reach(reach, Some(named)).await.map_err(status::engine)
    }

    /// Those of some organizations that whoever asked may know of.
    pub(super) async fn known_of(
        &self,
        reach: &Reach,
        organizations: Vec<Uuid>,
    ) -> Result<Vec<Uuid>, Status> {
        if reach.is_all() || organizations.is_empty() {
            return Ok(organizations);
        }
        self.engine.database().reached_among(reach, &organizations).await.map_err(status::storage)
    }

    /// Those of some workspaces of an organization that whoever asked may know of.
    pub(super) async fn own_workspaces(
        &self,
        reach: &Reach,
        organization: OrganizationId,
        workspaces: Vec<Uuid>,
    ) -> Result<Vec<Uuid>, Status> {
        let Some(app) = reach.app.as_ref().filter(|_| !workspaces.is_empty()) else { return Ok(workspaces) };
        let own = self.engine.database().own_among(app, organization, &workspaces).await;
        own.map_err(status::storage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_admits_somebody() {
        let Methods(methods) = Methods::declared();
        let ours: Vec<_> = methods.iter().filter(|(path, _)| path.starts_with("rollcall.")).collect();
        assert!(ours.len() > 60, "{}", ours.len());
        for (path, Said { callers, .. }) in &ours {
            assert!(!callers.is_empty() && !callers.contains(&0), "{path}");
        }
        let mut streams: Vec<_> =
            ours.iter().filter(|(_, said)| said.streams).map(|(path, _)| path.as_str()).collect();
        streams.sort_unstable();
        assert_eq!(streams, ["rollcall.v1.FeedService/AwaitEnforcement", "rollcall.v1.FeedService/Watch"]);
    }

    fn request(caller: Caller) -> HttpRequest<Body> {
        let mut request = HttpRequest::new(Body::empty());
        request.extensions_mut().insert(caller);
        request
    }

    fn caller(kind: Kind) -> Caller {
        Caller { name: "chat".parse().expect("a name"), kind, may_impersonate: false, person: None }
    }

    #[test]
    fn a_method_without_an_option_admits_nobody() {
        let methods = Methods(Arc::new(HashMap::from([("s/Silent".to_owned(), Said::default())])));
        for path in ["s/Silent", "s/Unknown"] {
            for kind in
                [Kind::Anyone, Kind::Operator, Kind::App("chat".parse().expect("an app")), Kind::Workload]
            {
                let refused = methods.admit(path, &mut request(caller(kind.clone())));
                assert_eq!(
                    refused.map_err(|status| status.code()),
                    Err(tonic::Code::PermissionDenied),
                    "{kind:?}"
                );
            }
        }
    }

    #[test]
    fn each_kind_is_admitted_where_it_is_named() {
        let of = |kind: Admits| {
            let said = Said { callers: vec![i32::from(kind)], streams: false };
            Methods(Arc::new(HashMap::from([("s/M".to_owned(), said)])))
        };
        let app = || Kind::App("chat".parse().expect("an app"));
        let table = [
            (Admits::Operator, [true, false, false]),
            (Admits::App, [true, true, false]),
            (Admits::Workload, [true, true, true]),
            (Admits::Person, [true, false, false]),
        ];
        for (admits, expected) in table {
            for (kind, expected) in [Kind::Operator, app(), Kind::Workload].into_iter().zip(expected) {
                let admitted = of(admits).admit("s/M", &mut request(caller(kind.clone()))).is_ok();
                assert_eq!(admitted, expected, "{kind:?} where {admits:?} is named");
            }
        }
        let impersonating = Caller { may_impersonate: true, ..caller(Kind::Workload) };
        let proven = Caller { person: Some(AccountId::generate()), ..caller(Kind::Workload) };
        for caller in [impersonating, proven] {
            assert!(of(Admits::Person).admit("s/M", &mut request(caller.clone())).is_ok());
            assert!(of(Admits::App).admit("s/M", &mut request(caller)).is_err());
        }
    }

    /// For whom a request is made that says this, by a caller that the method admits as itself or not.
    fn acted(caller: Caller, as_itself: bool, said: &str) -> Result<Option<AccountId>, tonic::Code> {
        let mut request = Request::new(());
        request.extensions_mut().insert(caller);
        request.extensions_mut().insert(Admitted { as_itself });
        acting(&request, said).map_err(|status| status.code())
    }

    #[test]
    fn a_person_who_is_proven_is_the_one_and_no_other() {
        let (ada, eve) = (AccountId::generate(), AccountId::generate());
        let denied = Err(tonic::Code::PermissionDenied);
        for may_impersonate in [false, true] {
            let proven = Caller { person: Some(ada), may_impersonate, ..caller(Kind::Workload) };
            for said in [String::new(), ada.to_string()] {
                assert_eq!(acted(proven.clone(), false, &said), Ok(Some(ada)));
            }
            assert_eq!(acted(proven, false, &eve.to_string()), denied);
        }
        let trusted = Caller { may_impersonate: true, ..caller(Kind::Workload) };
        assert_eq!(acted(trusted.clone(), false, &eve.to_string()), Ok(Some(eve)));
        assert_eq!(acted(trusted, false, ""), denied, "as itself it is not admitted");
        assert_eq!(acted(caller(Kind::Workload), true, &eve.to_string()), denied);
        assert_eq!(acted(caller(Kind::Workload), true, ""), Ok(None));
    }

    #[test]
    fn what_is_read_for_a_person_who_is_proven_is_what_that_person_sees() {
        let ada = AccountId::generate();
        let app: AppName = "chat".parse().expect("an app");
        let table = [
            (Kind::Workload, None),
            (Kind::Operator, None),
            (Kind::Anyone, None),
            (Kind::App(app.clone()), Some(app)),
        ];
        for (kind, app) in table {
            let mut request = Request::new(());
            request.extensions_mut().insert(Caller { person: Some(ada), ..caller(kind) });
            request.extensions_mut().insert(Admitted { as_itself: false });
            let seen = reach(&request, "").expect("a reach");
            assert_eq!(seen, Reach { app, person: Some(ada) });
        }
    }
}
