//! Roles and states, with the words that the database and the log store for them.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word that is stored for it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value that a stored word stands for.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
pub(crate) use words;

words!(
    /// What a member may do in the organization. Ordered by power: a greater role may do more.
    OrganizationRole {
        /// An outsider invited to some workspaces.
        Guest = "GUEST",
        /// Works in the workspaces that they were added to.
        Member = "MEMBER",
        /// Administers members and workspaces.
        Admin = "ADMIN",
        /// Owns the organization.
        Owner = "OWNER",
    }
);

words!(
    /// What a member may do in one workspace. Ordered by power.
    WorkspaceRole {
        /// Takes part as a guest.
        Guest = "GUEST",
        /// Works in the workspace.
        Member = "MEMBER",
        /// Administers the workspace.
        Admin = "ADMIN",
    }
);

words!(
    /// The state of an account.
    AccountState {
        /// Live, whether it has any access or not.
        Active = "ACTIVE",
        /// Gone for good.
        Deleted = "DELETED",
    }
);

words!(
    /// The state of an organization.
    OrganizationState {
        /// Live.
        Active = "ACTIVE",
        /// Deleted for good.
        Deleted = "DELETED",
    }
);

words!(
    /// The state of a membership, in an organization or in a workspace.
    MembershipState {
        /// Has access.
        Active = "ACTIVE",
        /// Belongs, without access. Reversible.
        Deactivated = "DEACTIVATED",
        /// Belongs no longer.
        Removed = "REMOVED",
        /// Personal data is gone for good (R42). Of members alone, never of a membership in a workspace.
        Erased = "ERASED",
    }
);

words!(
    /// Who had a member erased.
    ErasedBy {
        /// An owner of the organization (R42).
        Owner = "OWNER",
        /// The person, by deleting the account (R45).
        Account = "ACCOUNT",
    }
);

words!(
    /// What becomes of what is assigned to somebody who leaves (R46). Apps carry it out.
    Assignments {
        /// They stay (R28).
        Keep = "KEEP",
        /// They are cleared (R45).
        Clear = "CLEAR",
        /// They go to the one who takes over (R58).
        HandOver = "HAND_OVER",
    }
);

words!(
    /// What became of an invitation.
    InvitationState {
        /// Waits for an answer.
        Pending = "PENDING",
        /// Whoever came of it is a member.
        Accepted = "ACCEPTED",
        /// The invited person does not want to.
        Declined = "DECLINED",
        /// It was taken back (R52).
        Revoked = "REVOKED",
        /// Nobody answered in time.
        Expired = "EXPIRED",
    }
);

words!(
    /// The languages of mail.
    Language {
        /// English.
        En = "en",
        /// German.
        De = "de",
    }
);

words!(
    /// The state of a workspace.
    WorkspaceState {
        /// Live.
        Active = "ACTIVE",
        /// Deleted for good.
        Deleted = "DELETED",
    }
);
