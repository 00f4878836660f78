//! A replica's log: records in the order of their index. The first record has index 1.

use std::fmt;

/// The reign of one primary. Epoch 0 is before the first.
pub type Epoch = u8;

/// The position of a record, and the length of a log that ends with it.
pub type Index = u8;

/// One more than the highest epoch a log can name.
pub const EPOCHS: usize = 8;

/// One more than the highest number of a write.
pub const WRITES: usize = 4;

/// The most records of a log: a BARRIER of each epoch, and the writes, fit.
pub const RECORDS_MAX: Index = 12;

/// What one index of a log holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The epoch of the primary that appended it.
    pub epoch: Epoch,
    /// A client's write by its number, from 1; the BARRIER of its epoch has none.
    pub write: Option<u8>,
}

/// Records packed into one word, for states are kept by the million: four bits of length, then five per record.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Log(u64);

const LENGTH_BITS: u32 = 4;
const RECORD_BITS: u32 = 5;
const WRITE_BITS: u32 = 2;

impl Log {
    /// How many records it has: the index of the last one.
    pub fn len(self) -> Index {
        (self.0 & ((1 << LENGTH_BITS) - 1)) as Index
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The record at `index`, which it must have.
    pub fn at(self, index: Index) -> Record {
        debug_assert!(1 <= index && index <= self.len());
        let bits = self.0 >> (LENGTH_BITS + RECORD_BITS * u32::from(index - 1));
        let write = (bits & ((1 << WRITE_BITS) - 1)) as u8;
        let epoch = ((bits >> WRITE_BITS) & (EPOCHS as u64 - 1)) as Epoch;
        Record { epoch, write: (write != 0).then_some(write) }
    }

    /// This log and one record more.
    pub fn with(self, record: Record) -> Log {
        assert!(self.len() < RECORDS_MAX, "a bound lets logs grow beyond what they can hold");
        let bits = u64::from(record.epoch) << WRITE_BITS | u64::from(record.write.unwrap_or(0));
        Log((self.0 + 1) | bits << (LENGTH_BITS + RECORD_BITS * u32::from(self.len())))
    }

    /// Its first `len` records.
    pub fn cut_to(self, len: Index) -> Log {
        if len >= self.len() {
            return self;
        }
        let kept = (1u64 << (LENGTH_BITS + RECORD_BITS * u32::from(len))) - 1;
        Log(self.0 & kept & !((1 << LENGTH_BITS) - 1) | u64::from(len))
    }

    /// The epoch of its last record.
    pub fn last_epoch(self) -> Epoch {
        if self.is_empty() { 0 } else { self.at(self.len()).epoch }
    }

    /// The index of the first record of `epoch`, which a primary makes its BARRIER.
    pub fn start_of(self, epoch: Epoch) -> Option<Index> {
        (1..=self.len()).find(|index| self.at(*index).epoch == epoch)
    }

    /// The index of the last record of `epoch`.
    pub fn end_of(self, epoch: Epoch) -> Option<Index> {
        (1..=self.len()).rev().find(|index| self.at(*index).epoch == epoch)
    }

    /// How many records from the first on are the same in both: what the two logs really share.
    pub fn shared_with(self, other: Log) -> Index {
        let differ = (self.0 ^ other.0) >> LENGTH_BITS;
        let alike = (differ.trailing_zeros() / RECORD_BITS) as Index;
        alike.min(self.len()).min(other.len())
    }

    /// Whether `other` begins with all of this.
    pub fn is_prefix_of(self, other: Log) -> bool {
        self.shared_with(other) == self.len()
    }

    /// Everything up to the last client's write.
    pub fn up_to_last_write(self) -> Log {
        let last = (1..=self.len()).rev().find(|index| self.at(*index).write.is_some());
        self.cut_to(last.unwrap_or(0))
    }

    /// Rule 1: (epoch, index) names at most one record, and who agrees on it agrees on everything before.
    pub fn matches(self, other: Log) -> bool {
        let both = self.len().min(other.len());
        let first = self.shared_with(other) + 1;
        (first..=both).all(|index| self.at(index).epoch != other.at(index).epoch)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.write {
            Some(write) => write!(f, "{}:w{write}", self.epoch),
            None => write!(f, "{}:BARRIER", self.epoch),
        }
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records: Vec<_> = (1..=self.len()).map(|index| self.at(index).to_string()).collect();
        write!(f, "[{}]", records.join(" "))
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(records: &[(Epoch, u8)]) -> Log {
        records.iter().fold(Log::default(), |log, (epoch, write)| {
            log.with(Record { epoch: *epoch, write: (*write != 0).then_some(*write) })
        })
    }

    #[test]
    fn records_come_back_as_they_went_in() {
        let log = log(&[(1, 0), (1, 3), (7, 0)]);
        assert_eq!(log.to_string(), "[1:BARRIER 1:w3 7:BARRIER]");
        assert_eq!(log.cut_to(2).to_string(), "[1:BARRIER 1:w3]");
        assert_eq!(log.cut_to(0), Log::default());
        assert_eq!(log.up_to_last_write(), log.cut_to(2));
    }

    #[test]
    fn logs_with_two_records_of_one_epoch_and_index_do_not_match() {
        assert!(!log(&[(1, 0), (1, 1)]).matches(log(&[(1, 0), (1, 2)])));
        assert!(!log(&[(1, 0), (1, 1), (3, 0)]).matches(log(&[(1, 0), (2, 0), (3, 0)])));
        assert!(log(&[(1, 0), (1, 1)]).matches(log(&[(1, 0), (2, 0), (2, 2)])));
        assert!(log(&[(1, 0)]).matches(log(&[(1, 0), (1, 1)])));
    }
}
