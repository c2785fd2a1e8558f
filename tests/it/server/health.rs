//! `grpc.health.v1` and reflection, which probes and tools find by their well-known names.

use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{soon, until};
use crate::{proto::services, support::Server};

#[tokio::test]
async fn health_is_told_overall_and_of_every_service() {
    let server = Server::checking().await;
    let mut health = HealthClient::new(server.channel());
    let mut names = services();
    names.push(String::new());
    for service in names {
        until("SERVING", async || {
            let answer = health.check(HealthCheckRequest { service: service.clone() }).await;
            answer.expect("a known service").into_inner().status() == ServingStatus::Serving
        })
        .await;
    }
    let request = HealthCheckRequest { service: "rollcall.v1.NoService".to_owned() };
    assert_eq!(health.check(request).await.expect_err("unknown").code(), Code::NotFound);
    server.stop().await;
}

/// The two versions of reflection differ in their names alone.
macro_rules! reflected {
    ($version:ident, $server:expr, $request:expr) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let request = ServerReflectionRequest { host: String::new(), message_request: Some($request) };
        let mut client = ServerReflectionClient::new($server.channel());
        let answers = client.server_reflection_info(tokio_stream::iter([request])).await.expect("reflection");
        let answer = soon("an answer of reflection", answers.into_inner().message()).await;
        let answer = answer.expect("an answer").expect("an answer").message_response.expect("something");
        let _: fn(String) -> MessageRequest = MessageRequest::ListServices;
        match answer {
            MessageResponse::ListServicesResponse(list) => {
                list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
            }
            MessageResponse::FileDescriptorResponse(files) => {
                let files = files.file_descriptor_proto.iter();
                files.map(|file| String::from_utf8_lossy(file).into_owned()).collect()
            }
            other => panic!("{other:?}"),
        }
    }};
}

#[tokio::test]
async fn both_versions_of_reflection_describe_every_service() {
    use tonic_reflection::pb::{v1, v1alpha};

    let server = Server::start().await;
    let list = String::new;
    let now = v1::server_reflection_request::MessageRequest::ListServices(list());
    let then = v1alpha::server_reflection_request::MessageRequest::ListServices(list());
    let listed = [reflected!(v1, server, now), reflected!(v1alpha, server, then)];
    for listed in listed {
        for service in services().iter().map(String::as_str).chain(["grpc.health.v1.Health"]) {
            assert!(listed.iter().any(|name| name == service), "{service} is not in {listed:?}");
        }
    }
    for service in services() {
        let now = v1::server_reflection_request::MessageRequest::FileContainingSymbol(service.clone());
        let then = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(service.clone());
        let name = service.rsplit('.').next().expect("a name");
        for described in [reflected!(v1, server, now), reflected!(v1alpha, server, then)] {
            assert!(described.iter().any(|file| file.contains(name)), "{service}");
        }
    }
    server.stop().await;
}
