//! Messages, headers and texts that nobody expects: a clean answer, and the next call goes well.

use rollcall_client::v1::{
    CreateAccountRequest, GetAppResponse, ListAppsRequest, RegisterAppRequest,
    account_service_client::AccountServiceClient, app_service_client::AppServiceClient,
    organization_service_client::OrganizationServiceClient,
};
use tonic::{Code, Request, metadata::MetadataValue};

use super::soon;
use crate::{
    fixtures::{invalid, made_up_id, refused},
    small::Small,
    support::Server,
};

/// The same connection answers.
async fn goes_on(server: &Server) {
    let mut apps = AppServiceClient::new(server.channel());
    soon("the next answer", apps.list_apps(ListAppsRequest::default())).await.expect("the server goes on");
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused() {
    let server = Server::start().await;
    let mut apps = AppServiceClient::new(server.channel());
    for (bytes, at_fault) in [(200 << 10, "app"), (300 << 10, "request"), (8 << 20, "request")] {
        let request = RegisterAppRequest { app: "a".repeat(bytes), ..Default::default() };
        invalid(soon("a refusal", apps.register_app(request)).await, at_fault);
        goes_on(&server).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_header_that_is_too_large_is_refused() {
    let server = Server::start().await;
    let mut apps = AppServiceClient::new(server.channel());
    let mut request = Request::new(ListAppsRequest::default());
    let value = "x".repeat(20 << 10).parse().expect("a header");
    request.metadata_mut().insert("x-large", value);
    soon("a refusal", apps.list_apps(request)).await.expect_err("too large");
    goes_on(&server).await;
    let mut request = Request::new(ListAppsRequest::default());
    request.metadata_mut().insert("x-large", "x".repeat(8 << 10).parse().expect("a header"));
    soon("an answer", apps.list_apps(request)).await.expect("a token of an identity provider is no trouble");
    // Within the limit also where no token is that large.
    let mut request = Request::new(ListAppsRequest::default());
    request.metadata_mut().insert("x-large", "x".repeat(10 << 10).parse().expect("a header"));
    soon("an answer", apps.list_apps(request)).await.expect("10 kB are no trouble");
    goes_on(&server).await;
    server.stop().await;
}

/// A request whose first field, a text, is made of any bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct Untyped {
    #[prost(bytes = "vec", tag = "1")]
    first: Vec<u8>,
}

#[tokio::test]
async fn bytes_that_are_no_text_are_refused() {
    let server = Server::start().await;
    let ask = async |first: &[u8]| {
        let mut grpc = tonic::client::Grpc::new(server.channel());
        grpc.ready().await.expect("a connection");
        let path = "/rollcall.v1.AppService/GetApp".parse().expect("a path");
        let codec = tonic_prost::ProstCodec::<Untyped, GetAppResponse>::default();
        let request = Request::new(Untyped { first: first.to_vec() });
        soon("an answer", grpc.unary(request, path, codec)).await
    };
    refused(ask(b"chat").await, Code::NotFound, "APP_NOT_FOUND");
    for bytes in [&b"\xff"[..], b"\xc3\x28", b"chat\xed\xa0\x80", b"\xf0\x28\x8c\x28", b"\xc0\x80"] {
        invalid(ask(bytes).await, "request");
        goes_on(&server).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn names_are_kept_as_they_are_or_refused() {
    let server = Server::start().await;
    let small = Small::make(server.channel(), "ada@example.com").await;
    for name in ["עברית", "عربى ١٢٣", "👩‍👩‍👧‍👦", "می‌خواهم", "e\u{301}", "'; --", "%s {} \\"]
    {
        let renamed = small.rename(name).await.unwrap_or_else(|refusal| panic!("{name:?}: {refusal:?}"));
        assert_eq!(renamed.display_name, name, "as it was given");
        assert_eq!(small.get().await.expect("read").display_name, name);
    }
    for name in [
        "a\0b",
        "\0",
        "a\u{7f}",
        "a\u{85}b",
        "\u{3000}a",
        "a\u{200b}b",
        "\u{202e}עברית",
        "\u{10ffff}",
        "\u{2060}",
        "a\u{200d}",
    ] {
        invalid(small.rename(name).await, "organization.display_name");
    }
    server.stop().await;
}

#[tokio::test]
async fn addresses_are_kept_as_they_are_or_refused() {
    let server = Server::start().await;
    let mut accounts = AccountServiceClient::new(server.channel());
    for email in
        ["\u{202e}ada@example.com", "a\u{200b}da@example.com", "ada@exa\u{200b}mple.com", "\0@example.com"]
    {
        let request = CreateAccountRequest { email: email.to_owned(), ..Default::default() };
        match soon("an answer", accounts.create_account(request)).await {
            Ok(made) => assert_eq!(made.into_inner().account.expect("the account").email, email),
            refusal => invalid(refusal, "email"),
        }
    }
    goes_on(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_caller_is_a_name() {
    let server = Server::start().await;
    let small = Small::make(server.channel(), "ada@example.com").await;
    let long = "a".repeat(64);
    for caller in [&b"Bad"[..], b"two words", b"-a", b"", b"caf\xc3\xa9", b"\xff", long.as_bytes()] {
        let mut request = Request::new(small.renaming("New"));
        let value = MetadataValue::try_from(caller).expect("bytes that a header can have");
        request.metadata_mut().insert("rollcall-caller", value);
        let answer = OrganizationServiceClient::new(server.channel()).update_organization(request).await;
        invalid(answer, "rollcall-caller");
    }
    assert_eq!(small.get().await.expect("read").display_name, "Engines", "nothing was changed");
    server.stop().await;
}

#[tokio::test]
async fn nobody_acts_for_an_account_that_does_not_exist() {
    let server = Server::start().await;
    let small = Small::make(server.channel(), "ada@example.com").await;
    let mut renaming = small.renaming("New");
    renaming.acting_account_id = made_up_id();
    let answer = OrganizationServiceClient::new(server.channel()).update_organization(renaming).await;
    refused(answer, Code::PermissionDenied, "ROLE_INSUFFICIENT");
    assert_eq!(small.get().await.expect("read").display_name, "Engines", "nothing was changed");
    server.stop().await;
}
