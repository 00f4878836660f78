//! History: what a replica knows of its log without reading it. Two logs that agree on (epoch, index) agree on
//! everything before it, so ends of epochs are enough to find where two logs part (rule 8).

use std::fmt;

/// Epoch and index of a record; ordered as logs are compared, epoch first.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Of the primary that made the record.
    pub epoch: u64,
    /// 1 for the first record of a shard.
    pub index: u64,
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.index)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A log's outline.
///
/// `starts` begins with the position before the first record, then holds the first record of each epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    starts: Vec<Position>,
    last: Position,
    durable: u64,
    synced: u64,
}

impl History {
    /// A log without records behind `begin`, which a snapshot holds.
    pub fn new(begin: Position) -> Self {
        Self { starts: vec![begin], last: begin, durable: begin.index, synced: begin.index }
    }

    /// A log as a start found it, all of it durable: the position before its first record, then the first record of
    /// each epoch; and the index of the last record.
    pub fn restore(starts: Vec<Position>, last_index: u64) -> Self {
        let last = starts.last().copied().unwrap_or_default();
        let starts = if starts.is_empty() { vec![last] } else { starts };
        let last = Position { epoch: last.epoch, index: last_index };
        Self { last, starts, durable: last_index, synced: last_index }
    }

    /// The position before the first record.
    pub fn begin(&self) -> Position {
        self.starts[0]
    }

    /// The last record, durable or not.
    pub fn last(&self) -> Position {
        self.last
    }

    /// Every record up to this index is durable.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Every record up to this index outlives an unclean stop of the machine, too: under `interval` durability fewer than
    /// are durable.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// The last durable record: what is reported in an election.
    pub fn durable_last(&self) -> Position {
        let epoch = self.epoch_at(self.durable).unwrap_or(self.last.epoch);
        Position { epoch, index: self.durable }
    }

    /// Epoch of a record, or of the one before the first; `None` if the log does not hold it.
    pub fn epoch_at(&self, index: u64) -> Option<u64> {
        if index > self.last.index {
            return None;
        }
        let after = self.starts.partition_point(|start| start.index <= index);
        after.checked_sub(1).map(|at| self.starts[at].epoch)
    }

    /// Whether the log holds this very record, or begins behind it.
    pub fn holds(&self, position: Position) -> bool {
        self.epoch_at(position.index) == Some(position.epoch)
    }

    /// The last record whose epoch is at most `epoch`; `None` if that is before the log's beginning.
    pub fn end_of_epoch(&self, epoch: u64) -> Option<Position> {
        let after = self.starts.partition_point(|start| start.epoch <= epoch);
        let start = self.starts.get(after.checked_sub(1)?)?;
        let index = self.starts.get(after).map_or(self.last.index, |next| next.index - 1);
        Some(Position { epoch: start.epoch, index })
    }

    /// Records are added behind the last.
    pub(crate) fn append(&mut self, epoch: u64, count: u64) {
        if epoch > self.last.epoch {
            self.starts.push(Position { epoch, index: self.last.index + 1 });
        }
        self.last = Position { epoch, index: self.last.index + count };
    }

    /// Everything behind `index` is cut off.
    pub(crate) fn cut(&mut self, index: u64) {
        let epoch = self.epoch_at(index).unwrap_or(self.begin().epoch);
        let begin = self.begin();
        self.starts.retain(|start| start.index <= index || *start == begin);
        self.last = Position { epoch, index };
        self.durable = self.durable.min(index);
        self.synced = self.synced.min(index);
    }

    /// The log's front was dropped: it begins behind `index` now.
    pub(crate) fn trim(&mut self, index: u64) {
        if index <= self.begin().index {
            return;
        }
        if let Some(epoch) = self.epoch_at(index) {
            self.starts.retain(|start| start.index > index);
            self.starts.insert(0, Position { epoch, index });
        }
    }

    pub(crate) fn set_durable(&mut self, index: u64) {
        self.durable = self.durable.max(index.min(self.last.index));
    }

    pub(crate) fn set_synced(&mut self, index: u64) {
        self.synced = self.synced.max(index.min(self.durable));
    }

    /// `log_is_in_order`: begin, synced, durable and last follow each other, epochs never go back.
    pub(crate) fn is_in_order(&self) -> bool {
        let ordered = |pair: &[Position]| pair[0].epoch < pair[1].epoch && pair[0].index < pair[1].index;
        self.begin().index <= self.durable
            && self.synced <= self.durable
            && self.durable <= self.last.index
            && self.starts.windows(2).all(ordered)
            && self.starts.last().is_some_and(|start| start.epoch == self.last.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, index: u64) -> Position {
        Position { epoch, index }
    }

    /// Epochs 1 (1 to 3), 3 (4), 4 (5 to 6).
    fn history() -> History {
        let mut history = History::new(Position::default());
        history.append(1, 3);
        history.append(3, 1);
        history.append(4, 2);
        history
    }

    #[test]
    fn end_of_an_epoch_is_that_of_the_one_before_if_it_has_no_records() {
        let history = history();
        let ends: Vec<_> = (0..=5).map(|epoch| history.end_of_epoch(epoch)).collect();
        let expected = [at(0, 0), at(1, 3), at(1, 3), at(3, 4), at(4, 6), at(4, 6)];
        assert_eq!(ends, expected.map(Some));
    }

    #[test]
    fn cut_forgets_the_epochs_behind_it() {
        let mut history = history();
        history.set_durable(6);
        history.cut(4);
        assert_eq!((history.last(), history.durable()), (at(3, 4), 4));
        assert_eq!(history.end_of_epoch(9), Some(at(3, 4)));
        history.append(9, 1);
        assert_eq!((history.epoch_at(4), history.epoch_at(5), history.epoch_at(6)), (Some(3), Some(9), None));
        assert!(history.is_in_order());
    }

    #[test]
    fn trimmed_front_is_known_by_its_last_record_only() {
        let mut history = history();
        history.trim(4);
        assert_eq!(history.begin(), at(3, 4));
        assert_eq!((history.end_of_epoch(1), history.end_of_epoch(3)), (None, Some(at(3, 4))));
        assert_eq!((history.epoch_at(3), history.epoch_at(4)), (None, Some(3)));
        history.cut(4);
        history.append(5, 1);
        assert_eq!(history.epoch_at(5), Some(5));
    }
}
