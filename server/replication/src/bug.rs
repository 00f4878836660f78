//! Bug: mistakes that others shipped or that earlier wordings of the rules allowed. With the feature `bugs` one can be
//! switched on, to see that the tests find it; without it none is made.

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// A record of an earlier epoch is committed because w hold it (rule 3; Raft's figure 8).
    CommitsOlderByCount,
    /// While a change is under way, w of the union of both configurations is enough (rule 3).
    UnionQuorum,
    /// A changed configuration counts from when the change is sent (rule 3).
    CountsPendingOnly,
    /// A restarted process goes on as the primary that it was (rule 1).
    ResumesEpoch,
    /// Serves before its barrier is committed (rule 7).
    SkipsBarrier,
    /// A grant does not bind the process that is started next (rule 5).
    ForgetsLease,
    /// The lease counts from when its grant arrives (rule 5).
    LeaseFromReceipt,
    /// A lease holds until its holder looks at it again (rule 5; etcd #20418).
    LeaseUntilLook,
    /// A backup promises a higher epoch while its grant holds (rule 5).
    IgnoresOwnGrant,
    /// A read of the version before the change is taken as proof that it failed (rule 4).
    ReadProvesFailure,
    /// A change that was lost to an operator's edit is repeated on the old version for ever (rule 1; KAFKA-2729).
    RepeatsVersion,
    /// The ISR shrinks although the rest does not hold what is committed (rule 4).
    ShrinksUnguarded,
    /// The ISR grows by a replica that lacks committed records (rule 4).
    GrowsUnguarded,
    /// One report too few is enough for an election (rule 6).
    ReportsMissing,
    /// The lowest log wins (rule 6; Hazelcast, Elasticsearch).
    LowestElected,
    /// The new ISR is who reported (rule 6).
    IsrOfReporters,
    /// Reports without writing the promise (rule 2).
    ReportsUnpromised,
    /// Takes records of a lower epoch than it has promised (rule 2).
    ObeysLower,
    /// Acks what is written and not synced (rule 3).
    AcksUnsynced,
    /// Applies up to the commit index it heard, matched or not (rule 3).
    AppliesUnmatched,
    /// Cuts to what it knows to be committed, and not where the logs part (rule 8; KIP-101).
    CutsToCommit,
    /// Streams without matching (rule 8).
    StreamsUnmatched,
    /// An answer to an old question about epochs is taken for the new one's (rule 8).
    TakesOldEnd,
    /// Names count whatever data they have (KIP-903).
    BareNames,
    /// Goes on reading while it hands the lead back (rule 9).
    ReadsWhileLeaving,
    /// Hands the lead over before the other holds the whole log (rule 9).
    LeavesEarly,
    /// Takes parts of another snapshot for those of the one that it has begun (rule 8).
    MixesSnapshots,
    /// After unclean stops any n - w + 1 reports decide, whole or not (rule 6).
    LosesByQuorum,
    /// An election by what unclean stops left keeps the ISR (rule 6).
    LosesWithIsr,
    /// The ISR shrinks to copies that hold what is committed, and have not synced it (rule 4).
    ShrinksUnsynced,
    /// An election by what unclean stops left is won by a log that is not synced (rule 6).
    WinsUnsynced,
    /// A primary tells backups how fresh they are without holding its lease (rule 5).
    EchoesUnleased,
    /// An unclean stop that may have taken a tail makes no new incarnation. The host's mistake (KIP-966).
    KeepsInc,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 33] = [
        Bug::CommitsOlderByCount,
        Bug::UnionQuorum,
        Bug::CountsPendingOnly,
        Bug::ResumesEpoch,
        Bug::SkipsBarrier,
        Bug::ForgetsLease,
        Bug::LeaseFromReceipt,
        Bug::LeaseUntilLook,
        Bug::IgnoresOwnGrant,
        Bug::ReadProvesFailure,
        Bug::RepeatsVersion,
        Bug::ShrinksUnguarded,
        Bug::GrowsUnguarded,
        Bug::ReportsMissing,
        Bug::LowestElected,
        Bug::IsrOfReporters,
        Bug::ReportsUnpromised,
        Bug::ObeysLower,
        Bug::AcksUnsynced,
        Bug::AppliesUnmatched,
        Bug::CutsToCommit,
        Bug::StreamsUnmatched,
        Bug::TakesOldEnd,
        Bug::BareNames,
        Bug::ReadsWhileLeaving,
        Bug::LeavesEarly,
        Bug::MixesSnapshots,
        Bug::LosesByQuorum,
        Bug::LosesWithIsr,
        Bug::ShrinksUnsynced,
        Bug::WinsUnsynced,
        Bug::EchoesUnleased,
        Bug::KeepsInc,
    ];
}
