//! Rule 16 made wrong, one sentence at a time.

use super::{
    properties::{ENDS, ONE_OWNER, TRUE},
    rules::Bounds,
};

/// One mistake.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mistake {
    /// c: records and SEAL are sent, and count, before they are committed at the source.
    SendsUncommitted,
    /// d: IMPORTED is used before it is committed at the target.
    ReportsUncommitted,
    /// f: cleaning up forgets the seal.
    CleanErasesSeal,
    /// UNSEAL by a table that is older than the SEAL.
    UnsealsOnOlderTable,
    /// UNSEAL by a timer.
    UnsealsByTimer,
    /// The target drops its staging after a fail-over of its own.
    DropsStagingAtFailOver,
    /// f: the source deletes when the target has everything, before the switch.
    DeletesBeforeSwitch,
    /// The next plan is made while one is open, and clean-up goes by its id only.
    PlansWhileOpen,
    /// What is staged can be read before the switch.
    ServesStaging,
    /// e: a compare-and-set that was sent is taken for done.
    TakesSentForDone,
    /// b: a row that is older than the records that were followed.
    OlderRow,
    /// The next plan is made while one is open. Not in [`Mistake::ALL`]: the shards' marks alone are enough.
    PlansEarly,
    /// The migration is closed before both sides are done. Not in [`Mistake::ALL`], for the same reason.
    ClosesEarly,
}

/// How a mistake shows.
pub struct Refutation {
    /// On the command line.
    pub name: &'static str,
    /// For people.
    pub about: &'static str,
    /// What breaks.
    pub breaks: &'static str,
    /// Within which bounds.
    pub bounds: Bounds,
}

impl Mistake {
    /// All that must be refuted.
    pub const ALL: [Mistake; 11] = [
        Mistake::SendsUncommitted,
        Mistake::ReportsUncommitted,
        Mistake::CleanErasesSeal,
        Mistake::UnsealsOnOlderTable,
        Mistake::UnsealsByTimer,
        Mistake::DropsStagingAtFailOver,
        Mistake::DeletesBeforeSwitch,
        Mistake::PlansWhileOpen,
        Mistake::ServesStaging,
        Mistake::TakesSentForDone,
        Mistake::OlderRow,
    ];

    /// By its name on the command line.
    pub fn named(name: &str) -> Option<Mistake> {
        let all = Mistake::ALL.into_iter().chain([Mistake::PlansEarly, Mistake::ClosesEarly]);
        all.into_iter().find(|mistake| mistake.refutation().name == name)
    }

    /// What it breaks.
    pub fn refutation(self) -> Refutation {
        let one = |fail_overs| Bounds { plans: 1, fail_overs, tail: 1, ends: false, ..Bounds::default() };
        let (name, about, breaks, bounds) = match self {
            Mistake::SendsUncommitted => (
                "sends-uncommitted",
                "SEAL and the records before it are sent, and count, uncommitted",
                TRUE,
                Bounds { tail: 2, ..one([1, 0]) },
            ),
            Mistake::ReportsUncommitted => (
                "reports-uncommitted",
                "IMPORTED is reported before it is committed",
                ENDS,
                ends(one([0, 1])),
            ),
            Mistake::CleanErasesSeal => {
                ("clean-erases-seal", "cleaning up forgets the seal", ONE_OWNER, one([1, 0]))
            }
            Mistake::UnsealsOnOlderTable => {
                ("unseals-on-older-table", "UNSEAL by a table older than the SEAL", ONE_OWNER, one([1, 0]))
            }
            Mistake::UnsealsByTimer => ("unseals-by-timer", "UNSEAL by a timer", ONE_OWNER, one([0, 0])),
            Mistake::DropsStagingAtFailOver => (
                "drops-staging-at-fail-over",
                "a new primary of the target drops its staging",
                ENDS,
                ends(one([0, 1])),
            ),
            Mistake::DeletesBeforeSwitch => (
                "deletes-before-switch",
                "the source deletes once the target has everything",
                ENDS,
                ends(one([0, 0])),
            ),
            Mistake::PlansWhileOpen => (
                "plans-while-open",
                "the next plan is made while one is open, and clean-up goes by its id only",
                TRUE,
                Bounds { writes: 1, plans: 2, ..one([0, 0]) },
            ),
            Mistake::ServesStaging => {
                ("serves-staging", "what is staged is served before the switch", ONE_OWNER, one([0, 0]))
            }
            Mistake::TakesSentForDone => (
                "takes-sent-for-done",
                "a compare-and-set that was sent is taken for done",
                TRUE,
                one([0, 0]),
            ),
            Mistake::OlderRow => {
                ("older-row", "a row older than the records that were followed is staged", TRUE, one([0, 0]))
            }
            Mistake::PlansEarly => {
                ("plans-early", "the next plan is made while one is open", "", Bounds::default())
            }
            Mistake::ClosesEarly => {
                ("closes-early", "closed before both sides are done", "", Bounds::default())
            }
        };
        Refutation { name, about, breaks, bounds }
    }
}

/// With the question after the end.
fn ends(bounds: Bounds) -> Bounds {
    Bounds { ends: true, ..bounds }
}
