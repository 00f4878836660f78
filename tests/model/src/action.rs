//! What can happen in one step. A path of these is a counter-example's text.

use std::fmt;

use crate::bounds::Bounds;
use crate::log::{EPOCHS, Epoch};
use crate::replica::{Name, Names, all_names};

/// One step; the first name is who takes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A client's write is appended and sent to the followers.
    Append(Name),
    /// The primary's own disk has one record more.
    Sync(Name),
    /// The commit index moves as far as the acks allow.
    Commit(Name),
    /// A replica meets the primary of an epoch, promises, and matches its log.
    Follow(Name, Epoch),
    /// A follower syncs and acks the next record.
    Take(Name),
    /// The primary asks for a smaller ISR.
    Remove(Name, Names),
    /// The primary asks for a larger ISR.
    Add(Name, Name),
    /// The primary asks for the other `ack`.
    ChangeAck(Name),
    /// A compare-and-set reaches the register.
    Arrive(u8),
    /// A primary reads the register.
    Reread(Name),
    /// An operator changes another field of the register.
    Edit,
    /// A backup that hears its primary grants a lease.
    Grant(Name),
    /// Time passes, for everyone.
    Tick,
    /// A primary checks its lease, as a wrong variant does before it reads.
    CheckLease(Name),
    /// A primary reads the committed value and begins a round.
    BeginRound(Name),
    /// A backup confirms that it has promised nothing higher.
    Confirm(Name, Name),
    /// A replica promises the next epoch and joins the election.
    Report(Name),
    /// The first of these reporters takes the shard.
    Elect(Name, Names),
    /// The primary that the register names takes office.
    TakeOffice(Name),
    /// A primary stops for good and resigns to another.
    Resign(Name, Name),
    /// A process ends and starts again on its data.
    Restart(Name),
    /// A process ends and starts again without its data.
    Wipe(Name),
}

/// Every step that could be taken within the bounds, in a fixed order.
pub fn candidates(bounds: &Bounds) -> Vec<Action> {
    let names = all_names().take(usize::from(bounds.replicas));
    let pairs = names.clone().flat_map(|one| {
        let others = all_names().take(usize::from(bounds.replicas)).filter(move |other| *other != one);
        others.map(move |other| (one, other))
    });
    let mut all = Vec::new();
    for alone in [
        Action::Append,
        Action::Sync,
        Action::Commit,
        Action::Take,
        Action::ChangeAck,
        Action::Reread,
        Action::Grant,
        Action::CheckLease,
        Action::BeginRound,
        Action::Report,
        Action::TakeOffice,
        Action::Restart,
        Action::Wipe,
    ] {
        all.extend(names.clone().map(alone));
    }
    for together in [Action::Add, Action::Confirm, Action::Resign] {
        all.extend(pairs.clone().map(|(one, other)| together(one, other)));
    }
    let sets = Names::sets().filter(|set| set.iter().all(|name| name.0 < bounds.replicas));
    for name in names {
        all.extend((1..EPOCHS as Epoch).map(|epoch| Action::Follow(name, epoch)));
        all.extend(sets.clone().filter(|set| set.contains(name)).map(|set| Action::Elect(name, set)));
        all.extend(sets.clone().filter(|set| !set.contains(name)).map(|set| Action::Remove(name, set)));
    }
    all.extend([Action::Arrive(0), Action::Arrive(1), Action::Tick, Action::Edit]);
    all
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Append(a) => write!(f, "{a} appends a client's write and sends it"),
            Action::Sync(a) => write!(f, "{a} syncs its own next record"),
            Action::Commit(a) => write!(f, "{a} commits what enough members hold"),
            Action::Follow(b, epoch) => {
                write!(f, "{b} follows the primary of epoch {epoch} and matches its log")
            }
            Action::Take(b) => write!(f, "{b} syncs and acks the next record"),
            Action::Remove(a, b) => write!(f, "{a} sends the compare-and-set that removes {b}"),
            Action::Add(a, b) => write!(f, "{a} sends the compare-and-set that adds {b}"),
            Action::ChangeAck(a) => write!(f, "{a} sends the compare-and-set that changes ack"),
            Action::Arrive(_) => write!(f, "the compare-and-set reaches the register"),
            Action::Reread(a) => write!(f, "{a} reads the register"),
            Action::Edit => write!(f, "an operator edits another field of the register"),
            Action::Grant(b) => write!(f, "{b} grants its primary a lease"),
            Action::Tick => write!(f, "time passes"),
            Action::CheckLease(a) => write!(f, "{a} checks its lease, and will read later"),
            Action::BeginRound(a) => write!(f, "{a} reads its committed value and begins a round"),
            Action::Confirm(b, a) => write!(f, "{b} confirms {a} as primary"),
            Action::Report(b) => write!(f, "{b} promises the next epoch and reports the end of its log"),
            Action::Elect(a, set) => write!(f, "{a} takes the shard with the reports of {set}"),
            Action::TakeOffice(a) => write!(f, "{a} takes office and appends its BARRIER"),
            Action::Resign(a, b) => write!(f, "{a} stops and sends the compare-and-set that resigns to {b}"),
            Action::Restart(b) => write!(f, "{b} crashes and restarts"),
            Action::Wipe(b) => write!(f, "{b} loses its disk and starts empty"),
        }
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
