//! Rules made wrong, one at a time. The exploration must refute each; if it cannot, it is blind to what the
//! right rule is there for.
//!
//! Each variant comes with bounds in which it goes wrong soon, and with the property that it breaks.

use crate::bounds::Bounds;
use crate::configuration::Ack;
use crate::properties::{DURABLE, LINEARIZABLE, MIN_ISR, NO_DEAD_END, ONE_RECORD};

/// One mistake.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Variant {
    /// Rule 6: the isr becomes those who reported.
    ReportersBecomeIsr,
    /// Rule 6: n - w reports are enough.
    TooFewReports,
    /// Rule 6: the lowest log wins.
    LowestLog,
    /// Rule 3: w of the union of both configurations.
    Union,
    /// Rule 3: a removed member counts no more as soon as the compare-and-set is sent.
    LeavesEarly,
    /// Rule 3: records of earlier epochs are committed by count.
    OlderByCount,
    /// Rule 4: a read of the old version is taken for a failure of the compare-and-set.
    RereadProves,
    /// Rule 4: a configuration is changed whatever its members hold.
    UnguardedChange,
    /// Rule 4: before the BARRIER is committed, the new configuration's members need hold no more than the
    /// commit index.
    GuardWithoutBarrier,
    /// Rules 4 and 6: of several absent members one is removed after the other.
    RemovesOneByOne,
    /// Rule 1: a primary resumes its epoch after a restart.
    ResumesEpoch,
    /// Rule 2: a report is given before the promise is synced.
    ReportsBeforePromise,
    /// Rule 5: a restart forgets the promise of a lease.
    ForgetsLease,
    /// Rule 5: the lease counts in the confirmed configuration only.
    LeaseOfOneConfiguration,
    /// Rule 5: the lease is checked before the value is read.
    ChecksLeaseFirst,
    /// Rule 5: acks from before a read's begin confirm it.
    OldAcksConfirm,
    /// Rule 7: a primary answers reads before its BARRIER is committed.
    NoBarrier,
    /// Rule 9: fail-back goes on reading.
    FailBackReads,
    /// Rule 9: the primary resigns to the process that has the heir's name now, whatever its data.
    HeirByName,
    /// Rule 10: a write is acknowledged though the ISR fell below `min_isr` after its append.
    IgnoresMinIsr,
    /// The isr, acks and reports go by bare names: an empty disk counts as the one that was lost.
    BareNames,
    /// Rule 7: the ISR grows before the BARRIER is committed. Not in [`Variant::ALL`], for nothing goes wrong
    /// in it.
    GrowsBeforeBarrier,
}

/// How a variant is shown to be wrong.
pub struct Refutation {
    /// What it is called on the command line.
    pub name: &'static str,
    /// The mistake, in words.
    pub about: &'static str,
    /// Bounds in which it goes wrong.
    pub bounds: Bounds,
    /// Any of these it breaks first.
    pub breaks: &'static [&'static str],
}

impl Variant {
    /// All of them.
    pub const ALL: [Variant; 21] = [
        Variant::ReportersBecomeIsr,
        Variant::TooFewReports,
        Variant::LowestLog,
        Variant::Union,
        Variant::LeavesEarly,
        Variant::OlderByCount,
        Variant::RereadProves,
        Variant::UnguardedChange,
        Variant::GuardWithoutBarrier,
        Variant::RemovesOneByOne,
        Variant::ResumesEpoch,
        Variant::ReportsBeforePromise,
        Variant::ForgetsLease,
        Variant::LeaseOfOneConfiguration,
        Variant::ChecksLeaseFirst,
        Variant::OldAcksConfirm,
        Variant::NoBarrier,
        Variant::FailBackReads,
        Variant::HeirByName,
        Variant::IgnoresMinIsr,
        Variant::BareNames,
    ];

    /// The one of this name.
    pub fn named(name: &str) -> Option<Variant> {
        let all = Variant::ALL.into_iter().chain([Variant::GrowsBeforeBarrier]);
        all.into_iter().find(|variant| variant.refutation().name == name)
    }

    /// How it is shown to be wrong.
    pub fn refutation(self) -> Refutation {
        let quiet = Bounds { restarts: 0, changes: 0, writes: 1, epochs: 2, ..Bounds::default() };
        let changing = Bounds { changes: 1, ..quiet.clone() };
        let leased = Bounds { leases: true, ..quiet.clone() };
        let of = |name, about, bounds, breaks| Refutation { name, about, bounds, breaks };
        match self {
            Variant::ReportersBecomeIsr => {
                let bounds = Bounds { epochs: 3, ..quiet };
                of("reporters-become-isr", "rule 6: the isr becomes those who reported", bounds, &[DURABLE])
            }
            Variant::TooFewReports => {
                of("too-few-reports", "rule 6: n - w reports are enough", quiet, &[DURABLE])
            }
            Variant::LowestLog => of("lowest-log", "rule 6: the lowest log is elected", quiet, &[DURABLE]),
            Variant::Union => {
                let bounds = Bounds { isr: 2, ..changing };
                of("union", "rule 3: w of the union of both configurations", bounds, &[DURABLE])
            }
            Variant::LeavesEarly => {
                let bounds = Bounds { ack: Ack::All, ..changing };
                of(
                    "leaves-early",
                    "rule 3: a removed member counts no more before the outcome is known",
                    bounds,
                    &[DURABLE],
                )
            }
            Variant::OlderByCount => {
                let bounds = Bounds { epochs: 4, ..quiet };
                of(
                    "older-by-count",
                    "rule 3: records of earlier epochs are committed by count",
                    bounds,
                    &[DURABLE],
                )
            }
            Variant::RereadProves => of(
                "reread-proves",
                "rule 4: a read of the old version is taken for a failure",
                changing,
                &[DURABLE],
            ),
            Variant::UnguardedChange => of(
                "unguarded-change",
                "rule 4: a configuration is changed whatever its members hold",
                changing,
                &[DURABLE],
            ),
            Variant::GuardWithoutBarrier => {
                let bounds = Bounds { epochs: 3, ..changing };
                let about =
                    "rule 4: before the BARRIER is committed, the commit index is enough for a change";
                of("guard-without-barrier", about, bounds, &[DURABLE])
            }
            Variant::RemovesOneByOne => {
                let bounds = Bounds { ack: Ack::All, dead_ends: true, ..quiet };
                let about = "rules 4 and 6: of several absent members one is removed after the other";
                of("removes-one-by-one", about, bounds, &[NO_DEAD_END])
            }
            Variant::GrowsBeforeBarrier => {
                let bounds = Bounds { changes: 2, epochs: 3, ..quiet };
                of(
                    "grows-before-barrier",
                    "rule 7: the ISR grows before the BARRIER is committed",
                    bounds,
                    &[],
                )
            }
            Variant::ResumesEpoch => {
                let bounds = Bounds { restarts: 1, writes: 2, ..quiet };
                of(
                    "resumes-epoch",
                    "rule 1: a primary resumes its epoch after a restart",
                    bounds,
                    &[DURABLE, ONE_RECORD],
                )
            }
            Variant::ReportsBeforePromise => {
                let bounds = Bounds { restarts: 1, ..quiet };
                of(
                    "reports-before-promise",
                    "rule 2: a report is given before the promise is synced",
                    bounds,
                    &[DURABLE],
                )
            }
            Variant::ForgetsLease => {
                let bounds = Bounds { restarts: 1, ..leased };
                of(
                    "forgets-lease",
                    "rule 5: a restart forgets the promise of a lease",
                    bounds,
                    &[LINEARIZABLE],
                )
            }
            Variant::LeaseOfOneConfiguration => {
                let bounds = Bounds { changes: 2, ..leased };
                let about = "rule 5: the lease counts in the confirmed configuration only";
                of("lease-of-one-configuration", about, bounds, &[LINEARIZABLE])
            }
            Variant::ChecksLeaseFirst => of(
                "checks-lease-first",
                "rule 5: the lease is checked before the value is read",
                leased,
                &[LINEARIZABLE],
            ),
            Variant::OldAcksConfirm => {
                let bounds = Bounds { rounds: true, ..quiet };
                of(
                    "old-acks-confirm",
                    "rule 5: acks from before a read's begin confirm it",
                    bounds,
                    &[LINEARIZABLE],
                )
            }
            Variant::NoBarrier => of(
                "no-barrier",
                "rule 7: reads are answered before the BARRIER is committed",
                leased,
                &[LINEARIZABLE],
            ),
            Variant::FailBackReads => {
                let bounds = Bounds { fail_backs: 1, ..leased };
                of("fail-back-reads", "rule 9: fail-back goes on reading", bounds, &[LINEARIZABLE])
            }
            Variant::HeirByName => {
                let bounds = Bounds { fail_backs: 1, wipes: 1, ..quiet };
                of(
                    "heir-by-name",
                    "rule 9: the heir is whatever process has its name now",
                    bounds,
                    &[DURABLE],
                )
            }
            Variant::IgnoresMinIsr => {
                let bounds = Bounds { changes: 2, min_isr: 2, ..quiet };
                of(
                    "ignores-min-isr",
                    "rule 10: acknowledged though the ISR fell below min_isr",
                    bounds,
                    &[MIN_ISR],
                )
            }
            Variant::BareNames => {
                let bounds = Bounds { wipes: 1, ..quiet };
                of("bare-names", "an empty disk counts as the one that was lost", bounds, &[DURABLE])
            }
        }
    }
}
