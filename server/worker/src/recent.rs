//! The log's last records, in memory. Backups are sent them, and the engine takes them, a moment after they were
//! appended; reading them back from the file costs two system calls and a checksum for each of that.
//!
//! Invariant: what is here is in the log, without a gap. Whoever cuts the log says so here.

use std::collections::VecDeque;

use bytes::Bytes;
use slotkv_storage::log::Record;

/// Payload bytes that are kept; of a group that is larger by itself the end.
const BYTES_MAX: usize = 4 << 20;
/// Records that are kept.
const COUNT_MAX: usize = 16_384;

/// The log's last records.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    records: VecDeque<Record>,
    bytes: usize,
}

impl Recent {
    /// The log has these records now, from `first` on, as its last ones: epoch and payload of each. They are copied, since what
    /// came with a message would keep all of it in memory.
    pub fn copy<'a>(&mut self, first: u64, records: impl Iterator<Item = (u64, &'a Bytes)> + Clone) {
        let mut all = Vec::with_capacity(records.clone().map(|(_, payload)| payload.len()).sum());
        records.clone().for_each(|(_, payload)| all.extend_from_slice(payload));
        let mut all = Bytes::from(all);
        for (index, (epoch, payload)) in (first..).zip(records) {
            self.push(Record { index, epoch, payload: all.split_to(payload.len()) });
        }
    }

    /// The log has this record now, as its last one.
    pub fn push(&mut self, record: Record) {
        if self.records.back().is_some_and(|last| last.index + 1 != record.index) {
            self.clear();
        }
        self.bytes += record.payload.len();
        self.records.push_back(record);
        while (self.bytes > BYTES_MAX || self.records.len() > COUNT_MAX)
            && let Some(dropped) = self.records.pop_front()
        {
            self.bytes -= dropped.payload.len();
        }
    }

    /// The log ends with this record now.
    pub fn cut(&mut self, index: u64) {
        while self.records.back().is_some_and(|last| last.index > index)
            && let Some(dropped) = self.records.pop_back()
        {
            self.bytes -= dropped.payload.len();
        }
    }

    /// The log is another.
    pub fn clear(&mut self) {
        self.records.clear();
        self.bytes = 0;
    }

    /// Records from `from_index` on, as [`Log::read`](slotkv_storage::Log::read) has them; `None` if that one is not here.
    pub fn read(&self, from_index: u64, bytes_max: usize) -> Option<Vec<Record>> {
        let first = self.records.front()?.index;
        let skipped = usize::try_from(from_index.checked_sub(first)?).ok()?;
        let mut bytes = 0_usize;
        let fits = |(at, record): &(usize, &Record)| {
            bytes += record.payload.len();
            *at == 0 || bytes <= bytes_max
        };
        let records = self.records.iter().skip(skipped).enumerate().take_while(fits);
        let records: Vec<Record> = records.map(|(_, record)| record.clone()).collect();
        (!records.is_empty()).then_some(records)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(index: u64, epoch: u64, bytes: usize) -> Record {
        Record { index, epoch, payload: Bytes::from(vec![epoch as u8; bytes]) }
    }

    fn found(recent: &Recent, from_index: u64, bytes_max: usize) -> Option<Vec<(u64, u64)>> {
        let records = recent.read(from_index, bytes_max)?;
        Some(records.iter().map(|record| (record.index, record.epoch)).collect())
    }

    #[test]
    fn a_read_begins_where_it_is_asked_to_and_ends_at_its_bound_or_with_the_log() {
        let mut recent = Recent::default();
        (5..=8).for_each(|index| recent.push(record(index, 1, 100)));
        assert_eq!(found(&recent, 4, 1000), None, "only the file has it");
        assert_eq!(found(&recent, 9, 1000), None, "the log does not go so far");
        assert_eq!(found(&recent, 7, 1000), Some(vec![(7, 1), (8, 1)]));
        assert_eq!(found(&recent, 5, 200), Some(vec![(5, 1), (6, 1)]));
        assert_eq!(found(&recent, 6, 1), Some(vec![(6, 1)]), "one, however large");
    }

    #[test]
    fn what_was_cut_off_the_log_is_not_read_any_more() {
        let mut recent = Recent::default();
        (1..=4).for_each(|index| recent.push(record(index, 1, 10)));
        recent.cut(2);
        recent.push(record(3, 2, 10));
        assert_eq!(found(&recent, 1, 1000), Some(vec![(1, 1), (2, 1), (3, 2)]));
        assert_eq!(recent.bytes, 30);
        recent.cut(0);
        assert_eq!((found(&recent, 1, 1000), recent.bytes), (None, 0));
    }

    #[test]
    fn a_gap_or_another_log_leaves_nothing_of_what_was_there() {
        let mut recent = Recent::default();
        recent.push(record(1, 1, 10));
        recent.push(record(7, 1, 10));
        assert_eq!((found(&recent, 1, 1000), found(&recent, 7, 1000)), (None, Some(vec![(7, 1)])));
        recent.clear();
        assert_eq!((found(&recent, 7, 1000), recent.bytes), (None, 0));
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_too_large_ones() {
        let mut recent = Recent::default();
        (1..=6).for_each(|index| recent.push(record(index, 1, BYTES_MAX / 4)));
        assert_eq!(found(&recent, 3, BYTES_MAX).map(|found| found.len()), Some(4));
        assert_eq!(found(&recent, 2, BYTES_MAX), None);
        recent.push(record(7, 1, BYTES_MAX + 1));
        assert_eq!((recent.records.len(), recent.bytes), (0, 0));
        (8..8 + COUNT_MAX as u64 + 3).for_each(|index| recent.push(record(index, 1, 1)));
        assert_eq!((recent.records.len(), recent.bytes), (COUNT_MAX, COUNT_MAX));
    }
}
