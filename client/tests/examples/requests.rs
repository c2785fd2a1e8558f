//! What single requests are answered over HTTP and gRPC.

use tonic::{Code, Request, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

use super::*;

/// Longer than any of it takes.
const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_middleware_answers_403_with_the_reason_and_503_with_when_to_come_again() {
    let mut stage = begin!(axum_example);
    assert_eq!(stage.check(1).await.0, 503, "before there is a state");
    let mut stream = stage.fill(SHORT).await;
    let path = format!("/workspaces/{}/entries", workspace_id());
    let elsewhere = format!("/workspaces/{}/entries", Uuid::from_u128(99));
    let as_person = |number| format!("x-account-id: {}\r\n", account_id(number));
    let (status, answer) = stage.get(&path, &as_person(1)).await;
    assert!(status == 200 && answer.contains(&member_id(1).to_string()), "{answer}");
    assert_eq!(stage.get(&path, "").await.0, 401);
    let (status, answer) = stage.get(&elsewhere, &as_person(1)).await;
    assert!(status == 403 && answer.contains("WORKSPACE_UNKNOWN"), "{answer}");
    stream.batch("out", vec![deactivation(11, 1)]).await;
    stage.until(1, 403).await;
    assert_eq!(stage.get(&path, &as_person(1)).await.0, 403);
    assert_eq!(stage.get(&path, &as_person(2)).await.0, 200);
    stage.starve();
    stage.until(2, 503).await;
    let (status, answer) = stage.get(&path, &as_person(2)).await;
    assert!(status == 503 && answer.to_lowercase().contains("retry-after: 1"), "{answer}");
}

#[tokio::test]
async fn the_interceptor_answers_permission_denied_and_unavailable_with_what_a_client_decides_by() {
    let mut stage = begin!(tonic_example);
    let channel = Endpoint::from_shared(format!("http://{}", stage.address)).unwrap().connect_lazy();
    let ask = |number: u128| {
        let mut client = HealthClient::new(channel.clone());
        let mut request = Request::new(HealthCheckRequest::default());
        let metadata = request.metadata_mut();
        metadata.insert("account-id", account_id(number).to_string().parse().unwrap());
        metadata.insert("workspace-id", workspace_id().to_string().parse().unwrap());
        async move { client.check(request).await }
    };
    let until = async |number, code| {
        let asking = async {
            loop {
                let answer = ask(number).await;
                if answer.as_ref().err().map_or(Code::Ok, tonic::Status::code) == code {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), asking).await.expect("the answer changes")
    };
    let stale = until(1, Code::Unavailable).await.unwrap_err();
    assert_eq!(
        stale.get_details_retry_info().unwrap().retry_delay,
        Some(Duration::from_secs(1)),
        "before there is a state"
    );
    let mut stream = stage.open(SHORT).await;
    until(1, Code::Ok).await.unwrap();
    stream.batch("out", vec![deactivation(11, 1)]).await;
    let denied = until(1, Code::PermissionDenied).await.unwrap_err();
    assert_eq!(denied.get_details_error_info().unwrap().reason, "DENIAL_REASON_MEMBER_DEACTIVATED");
    stage.starve();
    until(2, Code::Unavailable).await.unwrap_err();
    let nobody = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
    assert_eq!(nobody.unwrap_err().code(), Code::Unauthenticated);
}

/// A process that is replaced never answers again: it ends, so that whoever started it notices.
#[tokio::test]
async fn an_example_whose_name_is_taken_ends_and_says_so() {
    for mut stage in [begin!(axum_example), begin!(tonic_example), begin!(chat_example)] {
        let stream = stage.open(LONG).await;
        stage.script.acknowledged("filled", &[]).await;
        stream.fail(script::refusal(Code::Aborted, "SUBSCRIPTION_REPLACED")).await;
        let ended = tokio::time::timeout(LONG, stage.served).await.expect("in time").expect("no panic");
        assert_eq!(ended.unwrap_err(), "another process follows under this instance name");
    }
}
