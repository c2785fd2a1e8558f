//! The rules of the protocol. Each can be switched off, and then a promise breaks: that is what it is there for.

use crate::{
    protocol::{BOUND, VERDICT},
    world::{Failover, World},
};

/// A rule of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    SequencedAfterCommit,
    MarkSequences,
    MarkCountedFromBefore,
    MarkFromPrimary,
    ClockOfReplicaCountsSleep,
    HeadNotPastCursor,
    AppliedAcknowledged,
    LeaseCountedFromBefore,
    ClockOfProcessCountsSleep,
    RestartForgetsLease,
    RestartOpensAnew,
    FirstLeaseAfterRegistration,
    RegistrationCommitted,
    GrantRecorded,
    LiveChecked,
    TtlOfRegistration,
    VerdictOnFreshRows,
    VerdictByTimeWaits,
    SilenceLongerThanTtl,
    SilenceOfSameGrants,
    SilenceCountedFromAfter,
    HolderStopsFirst,
    ClosedByOthersLikeSilence,
    FormerPrimaryFenced,
    CursorCompared,
    WindowDroppedAtFork,
    MarksDroppedAtReconnect,
    StandbySynchronous,
}

/// What a rule says, what happens without it, where to look, and which promise breaks.
pub(crate) struct Case {
    pub(crate) rule: Rule,
    pub(crate) says: &'static str,
    pub(crate) without: &'static str,
    pub(crate) promise: &'static str,
    world: World,
}

impl Case {
    /// The world in which the rule is off.
    pub(crate) fn world(&self) -> World {
        World { off: Some(self.rule), ..self.world }
    }
}

const fn case(
    rule: Rule,
    promise: &'static str,
    world: World,
    says: &'static str,
    without: &'static str,
) -> Case {
    Case { rule, says, without, promise, world }
}

const SMALL: World = World::SMALL;
const FAILOVER: World = World { failover: Failover::Lossless, ..SMALL };
const LOSS: World =
    World { failover: Failover::Lossy, changes: 2, verdicts: false, grants_at_once: true, ..SMALL };

/// All of them.
pub(crate) const CASES: [Case; 28] = [
    case(
        Rule::SequencedAfterCommit,
        BOUND,
        World { changes: 2, ..SMALL },
        "A change gets its position after its commit, never in the transaction that writes it.",
        "Positions are drawn by the writing transactions, and the head is the highest that is committed.",
    ),
    case(
        Rule::MarkSequences,
        BOUND,
        SMALL,
        "The call that makes a mark first gives all that is committed its positions, and then reads the head.",
        "A mark is made by reading the head alone (also when another replica holds the lock of sequencing).",
    ),
    case(
        Rule::MarkCountedFromBefore,
        BOUND,
        World { calls_in_steps: true, ..SMALL },
        "The time of a mark is taken before its call is sent.",
        "The time of a mark is taken when its answer comes.",
    ),
    case(
        Rule::MarkFromPrimary,
        BOUND,
        SMALL,
        "Only the primary makes marks.",
        "A standby answers the call for a mark, with what it has replayed.",
    ),
    case(
        Rule::ClockOfReplicaCountsSleep,
        BOUND,
        SMALL,
        "The clock by which a replica knows how old a mark is goes on while its machine is suspended.",
        "That clock stands still meanwhile, as CLOCK_MONOTONIC of Linux does.",
    ),
    case(
        Rule::HeadNotPastCursor,
        BOUND,
        SMALL,
        "A lease rests on a mark whose head the process has applied.",
        "It rests on the newest mark, whatever the process has applied.",
    ),
    case(
        Rule::AppliedAcknowledged,
        BOUND,
        SMALL,
        "A process acknowledges what it has applied.",
        "It acknowledges what it has received.",
    ),
    case(
        Rule::LeaseCountedFromBefore,
        BOUND,
        SMALL,
        "A process counts its lease from before it sent the call.",
        "It counts the lease from the answer.",
    ),
    case(
        Rule::ClockOfProcessCountsSleep,
        BOUND,
        SMALL,
        "The clock by which a process counts its lease goes on while its machine is suspended.",
        "That clock stands still meanwhile.",
    ),
    case(
        Rule::RestartForgetsLease,
        BOUND,
        SMALL,
        "A process that restarts has no lease.",
        "It keeps its lease on disk, beside an older copy of the data.",
    ),
    case(
        Rule::RestartOpensAnew,
        VERDICT,
        SMALL,
        "A process that restarts opens a new subscription.",
        "It goes on with its old subscription, whose row says what the process had applied before.",
    ),
    case(
        Rule::FirstLeaseAfterRegistration,
        VERDICT,
        SMALL,
        "For a subscription only those marks count that a replica began after it knew the registration committed.",
        "Older marks count too.",
    ),
    case(
        Rule::RegistrationCommitted,
        VERDICT,
        SMALL,
        "What counts is the commit of the registration, not a moment within its transaction.",
        "The registering transaction notes the head that it sees, and marks with that head or a later one count.",
    ),
    case(
        Rule::GrantRecorded,
        VERDICT,
        SMALL,
        "A grant is recorded in the row before it is answered.",
        "It is answered from memory alone.",
    ),
    case(
        Rule::LiveChecked,
        VERDICT,
        SMALL,
        "A grant is answered only if the row was LIVE when it took the grant.",
        "It is answered although no row took it.",
    ),
    case(
        Rule::TtlOfRegistration,
        VERDICT,
        World { ttl_is_set: true, ..SMALL },
        "The longest lease of a subscription is fixed when it registers.",
        "It is that of the app at the moment of the grant. The row keeps the longest that it was granted under, and \
         verdicts wait for that.",
    ),
    case(
        Rule::VerdictOnFreshRows,
        VERDICT,
        SMALL,
        "A verdict reads the rows in a statement that begins after the change was sequenced.",
        "It takes rows that were read before.",
    ),
    case(
        Rule::VerdictByTimeWaits,
        VERDICT,
        SMALL,
        "A verdict by time waits for longer than the longest lease of all who lag.",
        "It waits for one tick.",
    ),
    case(
        Rule::SilenceLongerThanTtl,
        VERDICT,
        SMALL,
        "A subscription counts as silent after longer than its longest lease.",
        "It counts as silent after one tick.",
    ),
    case(
        Rule::SilenceOfSameGrants,
        VERDICT,
        SMALL,
        "The update that ends a silent subscription requires the number of grants that was watched.",
        "It asks for no number.",
    ),
    case(
        Rule::SilenceCountedFromAfter,
        VERDICT,
        SMALL,
        "Silence counts from the moment at which the number of grants had been read.",
        "It counts from the moment at which the reading was begun.",
    ),
    case(
        Rule::HolderStopsFirst,
        VERDICT,
        SMALL,
        "A process stops answering before it closes its subscription.",
        "It closes first.",
    ),
    case(
        Rule::ClosedByOthersLikeSilence,
        VERDICT,
        SMALL,
        "A subscription that is replaced or closed by others stays part of every verdict until it was silent long enough.",
        "It ends at once.",
    ),
    case(
        Rule::FormerPrimaryFenced,
        BOUND,
        FAILOVER,
        "A primary is stopped for good before another server takes its place.",
        "It goes on answering the replicas that are connected to it. What writes it cannot commit; a mark writes nothing.",
    ),
    case(
        Rule::CursorCompared,
        BOUND,
        LOSS,
        "The change at the end of an acknowledged cursor is compared, not the position alone.",
        "The position alone is looked at, and the failover loses something.",
    ),
    case(
        Rule::WindowDroppedAtFork,
        BOUND,
        LOSS,
        "A replica that reconnects and finds another history drops what it has read.",
        "It keeps that, compares cursors with it, and makes new marks beside.",
    ),
    case(
        Rule::MarksDroppedAtReconnect,
        BOUND,
        LOSS,
        "A replica that reconnects drops the marks that it had.",
        "It keeps them. The failover loses that a change was sequenced, not the change, and another one gets its position.",
    ),
    case(
        Rule::StandbySynchronous,
        VERDICT,
        World { changes: 1, verdicts: true, ..LOSS },
        "Verdicts need a standby that is synchronous.",
        "The failover loses the row of a subscription, or that it got a grant.",
    ),
];
