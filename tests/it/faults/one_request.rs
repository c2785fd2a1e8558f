//! T21: a hundred calls with one request id at once, at two replicas: one effect and one answer.

use std::{collections::BTreeSet, time::Duration};

use rollcall_client::v1::{
    UpdateOrganizationRequest, organization_service_client::OrganizationServiceClient,
};
use tokio::{task::JoinSet, time::sleep};
use tonic::{Code, Status};

use super::{
    scene::{Scene, soon},
    size,
};
use crate::{
    fixtures::refused,
    support::{Channel, Replica},
};

async fn write(channel: &Channel, request: &UpdateOrganizationRequest) -> Result<i64, Status> {
    let mut client = OrganizationServiceClient::new(channel.clone());
    let answer = client.update_organization(request.clone()).await?.into_inner();
    Ok(answer.organization.expect("the organization").version)
}

#[tokio::test(flavor = "multi_thread")]
async fn t21_a_hundred_calls_with_one_request_id_have_one_effect() {
    let scene = Scene::start(&[]).await;
    let other = Replica::start(&scene.database.url, &["--log", "warn"]).await;
    let channels: [Channel; 2] = [scene.replica.client().channel().into(), other.client().channel().into()];
    for round in 0..size(3, 100) {
        let before = scene.small.get().await.expect("the organization").version;
        let request = UpdateOrganizationRequest {
            request_id: uuid::Uuid::new_v4().to_string(),
            ..scene.small.renaming(&format!("round {round}"))
        };
        let mut calls = JoinSet::new();
        for number in 0..100 {
            let (channel, request) = (channels[number % 2].clone(), request.clone());
            calls.spawn(async move {
                loop {
                    match write(&channel, &request).await {
                        Ok(version) => return version,
                        Err(status) => {
                            let again = [Code::ResourceExhausted, Code::Unavailable, Code::Aborted];
                            assert!(again.contains(&status.code()), "{status:?}");
                            sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
            });
        }
        let answers: BTreeSet<i64> = soon("the answers", calls.join_all()).await.into_iter().collect();
        assert_eq!(answers, BTreeSet::from([before + 1]), "one answer");
        assert_eq!(scene.small.get().await.expect("the organization").version, before + 1, "one effect");
        let another = UpdateOrganizationRequest {
            request_id: request.request_id.clone(),
            ..scene.small.renaming("another")
        };
        for channel in &channels {
            refused(write(channel, &another).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
        }
    }
    println!("t21_rounds = {}", size(3, 100));
    println!("t21_effects_of_each = 1");
}
