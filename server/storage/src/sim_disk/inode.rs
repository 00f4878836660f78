//! Inode: the contents of one file on both planes, and the changes between them.

use rand::{Rng, rngs::SmallRng};

/// What the medium writes whole when it writes over something.
const SECTOR: usize = 512;

/// A file's contents.
#[derive(Default)]
pub struct Inode {
    /// What the process sees.
    pub seen: Vec<u8>,
    /// What the medium holds.
    pub kept: Vec<u8>,
    pending: Vec<Change>,
    /// Changes that are pending no more, ever.
    settled: u64,
}

/// One change of a file.
pub enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

impl Inode {
    /// Changes what the process sees.
    pub fn change(&mut self, change: Change) {
        change.apply(&mut self.seen, usize::MAX);
        self.pending.push(change);
    }

    /// Number of changes ever made.
    pub fn changes_end(&self) -> u64 {
        self.settled + self.pending.len() as u64
    }

    /// Makes the changes before `upto` durable.
    pub fn keep(&mut self, upto: u64) {
        let count = (upto.saturating_sub(self.settled) as usize).min(self.pending.len());
        for change in self.pending.drain(..count) {
            change.apply(&mut self.kept, usize::MAX);
        }
        self.settled += count as u64;
    }

    /// Makes a random part of the pending changes durable and forgets the rest.
    pub fn keep_some(&mut self, chance: &mut SmallRng, reordering: bool) {
        let survivors = chance.random_range(0..=self.pending.len());
        self.settled += self.pending.len() as u64;
        let mut before = None;
        for (at, change) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            if at < survivors {
                if reordering && before.is_none() {
                    before = Some(self.kept.clone());
                }
                change.apply(&mut self.kept, usize::MAX);
            } else {
                if at == survivors {
                    change.tear(&mut self.kept, chance, reordering);
                }
                break;
            }
        }
        if let Some(before) = before {
            lose_sectors(&before, &mut self.kept, chance);
        }
    }
}

impl Change {
    /// Applies the change, of a write at most the first `count` bytes.
    fn apply(&self, plane: &mut Vec<u8>, count: usize) {
        match self {
            Self::Truncate(len) => plane.resize(*len, 0),
            Self::Write { offset, bytes } => {
                let bytes = &bytes[..count.min(bytes.len())];
                if plane.len() < offset + bytes.len() {
                    plane.resize(offset + bytes.len(), 0);
                }
                plane[*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
        }
    }

    /// Applies a part of the change, as a crash in its middle would.
    fn tear(&self, plane: &mut Vec<u8>, chance: &mut SmallRng, at_sectors: bool) {
        let Self::Write { offset, bytes } = self else { return };
        let mut count = chance.random_range(0..=bytes.len());
        if (at_sectors || *offset < plane.len()) && count < bytes.len() {
            count = ((offset + count) / SECTOR * SECTOR).saturating_sub(*offset);
        } else if chance.random_ratio(1, 4) && plane.len() < offset + bytes.len() {
            // The length reached the medium, the bytes did not.
            plane.resize(offset + bytes.len(), 0);
        }
        if count > 0 {
            self.apply(plane, count);
        }
    }
}

/// Takes back a random half of the sectors that differ.
fn lose_sectors(before: &[u8], after: &mut [u8], chance: &mut SmallRng) {
    for start in (0..after.len()).step_by(SECTOR) {
        let end = (start + SECTOR).min(after.len());
        let old = |at: usize| before.get(at).copied().unwrap_or(0);
        if (start..end).any(|at| after[at] != old(at)) && chance.random_ratio(1, 2) {
            (start..end).for_each(|at| after[at] = old(at));
        }
    }
}
