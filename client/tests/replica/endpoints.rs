//! Several replicas of the service, of which one does not answer.

use rollcall_client::{ClientOptions, RetryPolicy, connect_with, retry, v1::*};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::{script::*, *};

/// An address at which nobody listens.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    format!("http://{}", listener.local_addr().expect("its address"))
}

fn acknowledgement() -> AcknowledgeRequest {
    AcknowledgeRequest { subscription_id: "s1".into(), ..AcknowledgeRequest::default() }
}

#[tokio::test]
async fn a_call_that_is_repeated_goes_to_the_next_where_nobody_answers() {
    let (script, _streams, live) = listen().await;
    let endpoints = [nobody().await, nobody().await, live];
    let endpoints = endpoints.each_ref().map(String::as_str);
    let client = connect_with(&endpoints, &ClientOptions::default()).unwrap();
    // A client that was made before goes on with the others.
    let mut before = client.feed();
    let begun = Instant::now();
    let (policy, mut attempts) = (RetryPolicy::default(), 0);
    let answered = retry(&policy, || {
        attempts += 1;
        let mut feed = client.feed();
        async move { feed.acknowledge(acknowledgement()).await }
    });
    answered.await.expect("the third one answers");
    assert_eq!(attempts, 3);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    before.acknowledge(acknowledgement()).await.expect("the one that answers");
    assert_eq!(script.acknowledged.borrow().len(), 2);
}

#[tokio::test]
async fn one_that_says_that_it_is_away_is_left_and_one_that_refuses_is_not() {
    let (ending, _ending_streams, first) = listen().await;
    let (other, _other_streams, second) = listen().await;
    let client = connect_with(&[&first, &second], &ClientOptions::default()).unwrap();
    let acknowledge =
        async || client.feed().acknowledge(acknowledgement()).await.map_err(|error| error.code());
    ending.on_acknowledge(|_| Err(Status::failed_precondition("not so")));
    for _ in 0..2 {
        assert_eq!(acknowledge().await.unwrap_err(), Code::FailedPrecondition);
    }
    assert_eq!(other.acknowledged.borrow().len(), 0);
    ending.on_acknowledge(|_| Err(Status::unavailable("shutting down")));
    assert_eq!(acknowledge().await.unwrap_err(), Code::Unavailable);
    acknowledge().await.expect("the other one");
    assert_eq!((ending.acknowledged.borrow().len(), other.acknowledged.borrow().len()), (3, 1));
}
