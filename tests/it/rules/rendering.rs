//! How the authors of content are shown: R28, R44 to R46.

use rollcall_client::v1::*;
use uuid::Uuid;

use crate::fixtures::{Org, Person, World, made_up_id};

/// Makes a member ERASED as it is stored, by whom.
async fn erase(world: &World, org: &Org, person: &Person, by: &str) -> String {
    let tombstone = Uuid::new_v4();
    let database = world.server().database();
    let (organization, member): (Uuid, Uuid) =
        (org.id.parse().expect("an id"), person.member.parse().expect("an id"));
    let update = "UPDATE members SET account_id = NULL, state = 'ERASED', tombstone_id = $3, erased_by = $4,
                                      revoked_by = coalesce(revoked_by, gen_random_uuid())
                  WHERE organization_id = $1 AND member_id = $2";
    database.execute(update, &[&organization, &member, &tombstone, &by]).await.expect("erased");
    let delete = "DELETE FROM profiles WHERE organization_id = $1 AND member_id = $2";
    database.execute(delete, &[&organization, &member]).await.expect("erased");
    tombstone.to_string()
}

async fn render(world: &World, org: &Org, ids: Vec<String>) -> Vec<(String, Rendering, String)> {
    let request = BatchGetMembersRequest {
        organization_id: org.id.clone(),
        member_ids: ids.clone(),
        ..Default::default()
    };
    let members = world.members().batch_get_members(request).await.expect("rendered").into_inner().members;
    assert_eq!(members.iter().map(|member| member.member_id.clone()).collect::<Vec<_>>(), ids);
    members
        .into_iter()
        .map(|member| (member.display_name.clone(), member.rendering(), member.tombstone_id))
        .collect()
}

#[tokio::test]
async fn r28_r44_r45_r46_every_author_is_rendered() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let mut people = Vec::new();
    for name in ["plain", "out", "gone", "erased", "twin", "deleted"] {
        let person = world.member(&org, name).await;
        world.operator().set_name(&org, &person, name).await.expect("named");
        people.push(person);
    }
    let [plain, out, gone, erased, twin, deleted] = people.try_into().expect("six");
    world.operator().deactivate(&org, &out).await.expect("deactivated");
    world.operator().remove(&org, &gone).await.expect("removed");
    let tombstones = [
        erase(&world, &org, &erased, "OWNER").await,
        erase(&world, &org, &twin, "OWNER").await,
        erase(&world, &org, &deleted, "ACCOUNT").await,
    ];
    let nobody = made_up_id();
    let ids: Vec<String> = [&plain, &out, &gone, &erased, &twin, &deleted]
        .iter()
        .map(|person| person.member.clone())
        .chain([nobody, plain.member.clone()])
        .collect();
    let row = |name: &str, rendering, tombstone: &str| (name.to_owned(), rendering, tombstone.to_owned());
    let expected = |erased: &str, deleted: &str| {
        vec![
            row("plain", Rendering::Plain, ""),
            row("out", Rendering::Deactivated, ""),
            row("gone", Rendering::Struck, ""),
            row(erased, Rendering::Alias, &tombstones[0]),
            row(erased, Rendering::Alias, &tombstones[1]),
            row(deleted, Rendering::Alias, &tombstones[2]),
            row("", Rendering::Unknown, ""),
            row("plain", Rendering::Plain, ""),
        ]
    };
    assert_eq!(render(&world, &org, ids.clone()).await, expected("deleteduser", "UNKNOWN user"));

    // The aliases are the organization's own.
    let organization: Uuid = org.id.parse().expect("an id");
    let update =
        "UPDATE organizations SET erased_alias = 'a former colleague', deleted_account_alias = 'nobody'
                  WHERE organization_id = $1";
    world.server().database().execute(update, &[&organization]).await.expect("set");
    assert_eq!(render(&world, &org, ids).await, expected("a former colleague", "nobody"));
}

#[tokio::test]
async fn r42_r46_of_an_erased_member_a_tombstone_is_left() {
    let world = World::start().await;
    let org = world.organization("ada").await;
    let bob = world.member_in(&org, "bob", &[&org.general]).await;
    world.operator().deactivate(&org, &bob).await.expect("deactivated");
    let tombstone = erase(&world, &org, &bob, "OWNER").await;
    let left = world.get(&org, &bob).await;
    assert_eq!(left.state(), MemberState::Erased);
    assert_eq!(left.tombstone_id, tombstone);
    assert_eq!((left.account_id.as_str(), left.profile), ("", None));
    assert!(world.list(&org).await.iter().all(|member| member.member_id != bob.member));
    assert!(world.organizations_of(&bob.account).await.is_empty());
}
