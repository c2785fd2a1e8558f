//! T21: a hundred calls with one request id at once, at two replicas: one effect and one answer. Once of calls that wait
//! for each other's locks, and once of calls each of which would make something new.

use std::{collections::BTreeSet, time::Duration};

use rollcall_client::v1::{
    UpdateOrganizationRequest, organization_service_client::OrganizationServiceClient,
};
use tokio::{task::JoinSet, time::sleep};
use tonic::{Code, Status};

use super::{
    founding::Founding,
    scene::{Scene, soon},
    size,
};
use crate::{
    fixtures::refused,
    support::{Channel, Replica},
};

/// So many at once.
const CALLS: usize = 100;

async fn write(channel: Channel, request: UpdateOrganizationRequest) -> Result<i64, Status> {
    let answer = OrganizationServiceClient::new(channel).update_organization(request).await?.into_inner();
    Ok(answer.organization.expect("the organization").version)
}

/// Calls so often at once, half of them at each replica, each again until it is answered. Gives the different answers.
async fn at_once<T, F>(
    channels: &[Channel; 2],
    call: impl Fn(Channel) -> F + Clone + Send + 'static,
) -> BTreeSet<T>
where
    T: Ord + Send + 'static,
    F: Future<Output = Result<T, Status>> + Send,
{
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let (channel, call) = (channels[number % 2].clone(), call.clone());
        calls.spawn(async move {
            loop {
                match call(channel.clone()).await {
                    Ok(answer) => return answer,
                    Err(status) => {
                        let again = [Code::ResourceExhausted, Code::Unavailable, Code::Aborted];
                        assert!(again.contains(&status.code()), "{status:?}");
                        sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        });
    }
    soon("the answers", calls.join_all()).await.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn t21_a_hundred_calls_with_one_request_id_have_one_effect() {
    let scene = Scene::start(&[]).await;
    let other = Replica::start(&scene.database.url, &["--log", "warn"]).await;
    let channels: [Channel; 2] = [scene.replica.client().channel().into(), other.client().channel().into()];
    let (rounds, mut effects) = (size(3, 100), BTreeSet::new());
    for round in 0..rounds {
        let before = scene.small.get().await.expect("the organization").version;
        let request = UpdateOrganizationRequest {
            request_id: uuid::Uuid::new_v4().to_string(),
            ..scene.small.renaming(&format!("round {round}"))
        };
        let renaming = request.clone();
        let answers = at_once(&channels, move |channel| write(channel, renaming.clone())).await;
        assert_eq!(answers, BTreeSet::from([before + 1]), "one answer");
        assert_eq!(scene.small.get().await.expect("the organization").version, before + 1);
        let another = UpdateOrganizationRequest {
            request_id: request.request_id.clone(),
            ..scene.small.renaming("another")
        };
        let founding = Founding::new(channels[0].clone()).await;
        let founded = founding.clone();
        let answers = at_once(&channels, move |channel| founded.clone().send(channel)).await;
        assert_eq!(answers.len(), 1, "one answer");
        effects.insert(founding.done(&scene.database).await);
        for channel in &channels {
            refused(
                write(channel.clone(), another.clone()).await,
                Code::InvalidArgument,
                "REQUEST_ID_REUSED",
            );
            let otherwise = founding.otherwise().send(channel.clone()).await;
            refused(otherwise, Code::InvalidArgument, "REQUEST_ID_REUSED");
        }
    }
    println!("t21_rounds = {rounds}");
    println!("t21_effects_of_each = {effects:?}");
    assert_eq!(effects, BTreeSet::from([1]));
    // What this finds: calls with a request id each.
    let founding = Founding::new(channels[0].clone()).await;
    let each = founding.clone();
    let answers = at_once(&channels, move |channel| each.another().send(channel)).await;
    assert_eq!(answers.len(), CALLS);
    assert!(founding.done(&scene.database).await >= i64::try_from(CALLS).expect("small"));
}
