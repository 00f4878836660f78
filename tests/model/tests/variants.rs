//! Every mistake is found, and the path that shows it is short enough to be read.

use std::time::Duration;

use slotkv_model::bounds::Bounds;
use slotkv_model::check::{Effort, explore};
use slotkv_model::shard::Shard;
use slotkv_model::variant::Variant;

/// The longest that a counter-example may be. Committing records of earlier epochs by count needs three
/// elections.
const PATH_MAX: usize = 17;

const EFFORT: Effort =
    Effort { threads: 1, time_max: Duration::from_secs(120), progress: false, frugal: false };

fn is_refuted(variant: Variant) {
    let refutation = variant.refutation();
    let verdict = explore(Shard::wrong(variant, refutation.bounds), &EFFORT);
    println!("{}: {}\n{verdict}", refutation.name, refutation.about);
    let example = verdict.refuted.expect("it is wrong, and no state shows it");
    assert!(
        refutation.breaks.contains(&example.property),
        "it breaks another property: {}",
        example.property
    );
    assert!(example.steps() <= PATH_MAX, "{} steps", example.steps());
}

/// The bounds in which a variant goes wrong hold for the right rules: what is refuted is the mistake, not the
/// bounds.
fn is_right_within_the_same_bounds(variant: Variant) {
    let bounds = Bounds { symmetry: true, ..variant.refutation().bounds };
    let verdict = explore(Shard::right(bounds), &EFFORT);
    assert!(verdict.complete, "{verdict}");
}

macro_rules! variants {
    ($($name:ident: $variant:ident)*) => {
        $(
            mod $name {
                use super::*;

                #[test]
                fn is_refuted() {
                    super::is_refuted(Variant::$variant);
                }

                #[test]
                fn is_right_without_the_mistake() {
                    is_right_within_the_same_bounds(Variant::$variant);
                }
            }
        )*

        #[test]
        fn every_variant_is_tested() {
            let tested = [$(Variant::$variant),*];
            assert!(Variant::ALL.iter().all(|variant| tested.contains(variant)));
        }
    };
}

variants! {
    reporters_become_isr: ReportersBecomeIsr
    too_few_reports: TooFewReports
    lowest_log: LowestLog
    union: Union
    leaves_early: LeavesEarly
    older_by_count: OlderByCount
    reread_proves: RereadProves
    unguarded_change: UnguardedChange
    guard_without_barrier: GuardWithoutBarrier
    removes_one_by_one: RemovesOneByOne
    resumes_epoch: ResumesEpoch
    reports_before_promise: ReportsBeforePromise
    forgets_lease: ForgetsLease
    lease_of_one_configuration: LeaseOfOneConfiguration
    checks_lease_first: ChecksLeaseFirst
    old_acks_confirm: OldAcksConfirm
    no_barrier: NoBarrier
    fail_back_reads: FailBackReads
    heir_by_name: HeirByName
    ignores_min_isr: IgnoresMinIsr
    bare_names: BareNames
}
