//! Failpoint: every step of a hand-over by name, once. With the feature `bugs` whoever simulates is told of each step that a
//! [`Party`](crate::Party) on its thread reaches; without it nothing is told, and nothing is paid. What a leader does is seen at
//! the coordinator, by the one table that is planned, decided and closed.

use crate::{Id, Outcome};

pub(crate) mod steps;

/// A step of a hand-over, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The table that plans it is written.
    Planned,
    /// The source asks the target what it holds.
    Offered,
    /// The target says what it holds.
    Answered,
    /// The source sends a part.
    PartSent,
    /// The target's log has a part.
    StageAppended,
    /// And it is committed.
    StageCommitted,
    /// The part behind which no item is missing is committed.
    LastStageCommitted,
    /// The source's log has SEAL.
    SealAppended,
    /// And it is committed.
    SealCommitted,
    /// The source tells the leader so.
    SealReported,
    /// The source tells the target what the slots amount to.
    TallySent,
    /// The target's log has IMPORTED.
    ImportedAppended,
    /// And it is committed.
    ImportedCommitted,
    /// The target tells the leader so.
    ImportedReported,
    /// The leader is about to ask for the switch.
    SwitchSent,
    /// The table has the switch.
    SwitchTaken,
    /// The source's primary has read it.
    SwitchReadBySource,
    /// The target's primary has read it.
    SwitchReadByTarget,
    /// The source's log has a piece of its clean-up.
    CleanAppended,
    /// A piece is committed that is not the last one.
    CleanHalfDone,
    /// The last piece is committed.
    CleanDone,
    /// The source tells the leader that it is done.
    SourceReleased,
    /// The target tells the leader that it is done.
    TargetReleased,
    /// The table is without it.
    Closed,
    /// The leader is about to ask for the abort.
    AbortSent,
    /// The table has the abort.
    AbortTaken,
    /// The source's primary has read it.
    AbortReadBySource,
    /// The target's primary has read it.
    AbortReadByTarget,
    /// The source's log has UNSEAL.
    UnsealAppended,
    /// And it is committed.
    UnsealCommitted,
    /// The target's log has a piece of the clean-up of what was staged.
    DiscardAppended,
    /// A piece is committed that is not the last one.
    DiscardHalfDone,
    /// The last piece is committed.
    DiscardDone,
    /// The source tells the leader that it is done with what was aborted.
    SourceAborted,
    /// The target tells the leader that it is.
    TargetAborted,
    /// The table is without what was aborted.
    AbortClosed,
}

impl Step {
    /// All of them.
    pub const ALL: [Step; 36] = [
        Step::Planned,
        Step::Offered,
        Step::Answered,
        Step::PartSent,
        Step::StageAppended,
        Step::StageCommitted,
        Step::LastStageCommitted,
        Step::SealAppended,
        Step::SealCommitted,
        Step::SealReported,
        Step::TallySent,
        Step::ImportedAppended,
        Step::ImportedCommitted,
        Step::ImportedReported,
        Step::SwitchSent,
        Step::SwitchTaken,
        Step::SwitchReadBySource,
        Step::SwitchReadByTarget,
        Step::CleanAppended,
        Step::CleanHalfDone,
        Step::CleanDone,
        Step::SourceReleased,
        Step::TargetReleased,
        Step::Closed,
        Step::AbortSent,
        Step::AbortTaken,
        Step::AbortReadBySource,
        Step::AbortReadByTarget,
        Step::UnsealAppended,
        Step::UnsealCommitted,
        Step::DiscardAppended,
        Step::DiscardHalfDone,
        Step::DiscardDone,
        Step::SourceAborted,
        Step::TargetAborted,
        Step::AbortClosed,
    ];

    /// What the hand-over comes to, if nothing goes wrong, in which this step is met.
    pub fn outcome(self) -> Outcome {
        if self < Step::AbortSent { Outcome::Moved } else { Outcome::Aborted }
    }
}

/// Who is told.
pub type Told = Box<dyn Fn(Step, Id)>;

#[cfg(feature = "bugs")]
thread_local! {
    static TOLD: std::cell::RefCell<Option<Told>> = const { std::cell::RefCell::new(None) };
}

/// Has every step that is reached on this thread told from now on, or none. Who is told must not reach a step itself. Without the
/// feature nobody is told.
pub fn tell(told: Option<Told>) {
    #[cfg(feature = "bugs")]
    TOLD.replace(told);
    #[cfg(not(feature = "bugs"))]
    drop(told);
}

/// A step is reached.
pub(crate) fn reached(step: Step, id: Id) {
    #[cfg(feature = "bugs")]
    TOLD.with_borrow(|told| told.iter().for_each(|told| told(step, id)));
    #[cfg(not(feature = "bugs"))]
    let _ = (step, id);
}
