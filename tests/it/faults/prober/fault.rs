//! What goes wrong in a round.

/// One of the faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// Nothing passes between an app and the service, and neither is told.
    Partition,
    /// The process of an app is stopped, and goes on some time later.
    Freeze,
    /// The process of an app is killed and started again under its name.
    Kill,
    /// The handler of an app never ends.
    StuckHandler,
    /// The connections of an app are cut in the moment of the departure, and it comes back to another replica of the
    /// service.
    OtherReplica,
    /// The database is killed before or right after the departure, and started again.
    Postgres,
}

impl Fault {
    pub(super) const ALL: [Self; 7] = [
        Self::None,
        Self::Partition,
        Self::Freeze,
        Self::Kill,
        Self::StuckHandler,
        Self::OtherReplica,
        Self::Postgres,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Partition => "partition",
            Self::Freeze => "freeze",
            Self::Kill => "kill",
            Self::StuckHandler => "stuck_handler",
            Self::OtherReplica => "other_replica",
            Self::Postgres => "postgres",
        }
    }
}
