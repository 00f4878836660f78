//! Bug: mistakes that others shipped or that another wording of rule 16 would allow. With the feature `bugs` one can be switched
//! on, to see that the tests find it; without it none is made. The machines are told in their options. What a host does for them
//! is wrong, too, on the threads where one is planted: in the simulation of whole clusters, which has but one.

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// The source deletes once the target has everything, before the switch.
    DeletesBeforeSwitch,
    /// An item that was read before the records that were sent is staged over them.
    ItemOverNewer,
    /// A seal is lifted when the hand-over takes long.
    UnsealsByTimer,
    /// A shard serves what the table gives it, whatever its log says (Valkey #2724).
    ServesByTable,
    /// Cleaning up goes by its id, whatever has come to the slots since, and the next plan does not wait for it.
    CleansLate,
    /// The results of writes do not come along (MongoDB SERVER-67492).
    ForgetsResults,
    /// The next hand-over is planned while one is decided and not closed, and its staging begins over what is there.
    PlansWhileOpen,
    /// What is staged is served before the switch.
    ServesStaged,
    /// SEAL counts before it is committed.
    SealUncommitted,
    /// IMPORTED is reported before it is committed.
    ImportedUncommitted,
    /// Cleaning up forgets the seal.
    CleanErasesSeal,
    /// A seal is lifted by a table that is not newer.
    UnsealsByOlderTable,
    /// A new primary of the target drops its staging.
    DropsStaging,
    /// The target's counters stay where they are: logged time goes back, and so do the indexes that clients know.
    KeepsLevels,
    /// A part counts from wherever the target stands.
    TakesAnyPart,
}

#[cfg(feature = "bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Hosts on this thread make this mistake from now on; without the feature they make none.
pub fn plant(bug: Option<Bug>) {
    #[cfg(feature = "bugs")]
    PLANTED.set(bug);
    #[cfg(not(feature = "bugs"))]
    let _ = bug;
}

/// The mistake that hosts on this thread make.
pub fn planted() -> Option<Bug> {
    #[cfg(feature = "bugs")]
    return PLANTED.get();
    #[cfg(not(feature = "bugs"))]
    None
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 15] = [
        Bug::DeletesBeforeSwitch,
        Bug::ItemOverNewer,
        Bug::UnsealsByTimer,
        Bug::ServesByTable,
        Bug::CleansLate,
        Bug::ForgetsResults,
        Bug::PlansWhileOpen,
        Bug::ServesStaged,
        Bug::SealUncommitted,
        Bug::ImportedUncommitted,
        Bug::CleanErasesSeal,
        Bug::UnsealsByOlderTable,
        Bug::DropsStaging,
        Bug::KeepsLevels,
        Bug::TakesAnyPart,
    ];
}
