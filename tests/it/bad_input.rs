//! What the API does with input that is wrong: it says which field or thing is at fault, and changes nothing.

use rollcall_client::v1::{Member, Workspace, WorkspaceMember};

use crate::fixtures::{Org, Person, World};

mod choices;
mod conflicts;
mod fields;
mod invitations;
mod organizations;
mod reasons;
mod repetitions;
mod table;
mod unknown_things;

/// A small organization, as it is before anything wrong arrives.
struct Scene {
    world: World,
    org: Org,
    /// A MEMBER in `general`.
    bob: Person,
    before: Picture,
    mark: i64,
}

/// All that is listed of an organization.
#[derive(Debug, PartialEq)]
struct Picture {
    members: Vec<Member>,
    workspaces: Vec<Workspace>,
    general: Vec<WorkspaceMember>,
    email: String,
}

impl Scene {
    async fn begin() -> Self {
        let world = World::checking().await;
        let org = world.organization("ada").await;
        let bob = world.member_in(&org, "bob", &[&org.general]).await;
        let mut scene = Self {
            before: Picture { members: vec![], workspaces: vec![], general: vec![], email: String::new() },
            mark: 0,
            world,
            org,
            bob,
        };
        scene.remember().await;
        scene
    }

    /// What is so from here on is how it should stay.
    async fn remember(&mut self) {
        self.before = self.picture().await;
        self.mark = self.world.mark().await;
    }

    async fn picture(&self) -> Picture {
        Picture {
            members: self.world.list(&self.org).await,
            workspaces: self.world.workspaces(&self.org).await,
            general: self.world.list_in(&self.org, &self.org.general).await,
            email: self.world.get_account(&self.bob.account).await.email,
        }
    }

    async fn is_unchanged(&self) {
        assert_eq!(self.world.changes_since(self.mark).await, 0, "the log has grown");
        assert_eq!(self.picture().await, self.before);
    }
}
