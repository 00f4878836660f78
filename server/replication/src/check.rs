//! Check: do the replicas hold the same data? The primary logs a CHECK now and then, and each replica takes a hash of its
//! data when it has applied that record and nothing behind it; so all of them are of one state. Backups answer heartbeats
//! with theirs, the primary compares. A difference is damage on some side, and who has it is decided by whole copies: the
//! side with most votes is right, and where no side has more, whoever's rows turn out not to be what it says they are.
//! Whoever is wrong gets a full copy. Nothing is ever repaired piece by piece.
//!
//! What the primary makes of it is in `health.rs`.

use crate::{history::Position, member::Inc};

/// What a replica's data amounted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// When exactly this record had been applied.
    pub at: Position,
    /// The same on every replica that holds the same.
    pub hash: u64,
}

/// What a backup says of its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Its last check.
    pub checked: Option<Check>,
    /// The reading that was asked for last and found every row to be what it should be; 0: none did.
    pub read: u64,
    /// Rows were found that are not what was written.
    pub rotten: bool,
}

/// What a primary asks of a backup for the sake of its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Names a reading of all rows that the receiver shall make; 0: none.
    pub read: u64,
    /// This data is to be given up, and copied anew. By its name, since a late message must not reach the data in its place.
    pub give_up: Option<Inc>,
}

/// Who is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All who have said anything agree.
    Same,
    /// Some differ, and others may have a say yet.
    Waiting,
    /// The primary and those that agree with it; whoever differs is wrong.
    Own,
    /// Those with this hash; the primary is wrong.
    Theirs(u64),
    /// There is no majority.
    Open,
}

/// Judges what the members in sync say of one check, the primary by `own`. `None`: one has not said anything yet; once it
/// `is_late` it is not waited for. Two copies at least are a majority, and more than on any other side.
pub(crate) fn judge(own: u64, others: &[Option<u64>], is_late: bool) -> Verdict {
    let said = || others.iter().flatten().copied();
    if said().all(|hash| hash == own) {
        return Verdict::Same;
    }
    if !is_late && others.contains(&None) {
        return Verdict::Waiting;
    }
    let votes = |side: u64| said().filter(|hash| *hash == side).count() + usize::from(side == own);
    let most = said().map(votes).max().unwrap_or(0).max(votes(own));
    let mut best: Vec<u64> = said().chain([own]).filter(|side| votes(*side) == most).collect();
    best.sort_unstable();
    best.dedup();
    match best[..] {
        _ if most < 2 => Verdict::Open,
        [side] if side == own => Verdict::Own,
        [side] => Verdict::Theirs(side),
        _ => Verdict::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majority_of_whole_copies_is_right_and_a_tie_decides_nothing() {
        let cases: [(&[u64], Verdict); 12] = [
            (&[], Verdict::Same),
            (&[1], Verdict::Same),
            (&[1, 1], Verdict::Same),
            (&[2], Verdict::Open),
            (&[1, 2], Verdict::Own),
            (&[2, 2], Verdict::Theirs(2)),
            (&[2, 3], Verdict::Open),
            (&[1, 2, 2], Verdict::Open),
            (&[2, 2, 3], Verdict::Theirs(2)),
            (&[1, 2, 3], Verdict::Own),
            (&[2, 2, 3, 3], Verdict::Open),
            (&[1, 2, 2, 2], Verdict::Theirs(2)),
        ];
        for (others, verdict) in cases {
            let others: Vec<_> = others.iter().copied().map(Some).collect();
            assert_eq!(judge(1, &others, false), verdict, "{others:?}");
        }
    }

    #[test]
    fn one_that_has_not_spoken_is_waited_for_until_it_is_late() {
        assert_eq!(judge(1, &[None, Some(1)], false), Verdict::Same);
        assert_eq!(judge(1, &[Some(2), None], false), Verdict::Waiting);
        assert_eq!(judge(1, &[Some(2), None], true), Verdict::Open);
        assert_eq!(judge(1, &[Some(2), None, Some(2)], true), Verdict::Theirs(2));
    }
}
