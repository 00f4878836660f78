//! Numbers of writes, so that a worker can tell a write that comes twice.
//!
//! Invariants: a sequence is given once in the life of a client; `oldest_open` never goes back, and every sequence below
//! it has ended: the client will not send it again.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long a write of unknown outcome can be asked for at least, in milliseconds, as long as its client lives.
pub(crate) const KEPT_MS: u64 = 60_000;
/// Writes of unknown outcome that are kept open for that; past it the oldest is not any more.
pub(crate) const KEPT_COUNT_MAX: usize = 4096;

/// See the module.
pub(crate) struct Sequences {
    state: Mutex<State>,
}

/// One bit for each sequence from `first` on: whether it has ended. Leading words that are full are dropped, so the length
/// is bounded by the calls that begin while one stays open.
struct State {
    first: u64,
    next: u64,
    ended: VecDeque<u64>,
    /// Those of unknown outcome with the time until which they stay open, oldest first.
    kept: VecDeque<(Instant, u64)>,
}

impl Default for Sequences {
    fn default() -> Self {
        Self {
            state: Mutex::new(State { first: 0, next: 1, ended: VecDeque::from([1]), kept: VecDeque::new() }),
        }
    }
}

impl Sequences {
    /// The next sequence.
    pub fn begin(&self) -> u64 {
        let mut state = self.lock();
        if !state.kept.is_empty() {
            state.end_kept(Instant::now());
        }
        let sequence = state.next;
        state.next += 1;
        if sequence - state.first == state.ended.len() as u64 * 64 {
            state.ended.push_back(0);
        }
        sequence
    }

    /// The client will not send this sequence again.
    pub fn end(&self, sequence: u64) {
        self.lock().end(sequence);
    }

    /// The client will not send this sequence again, but may ask what came of it: it stays open for [`KEPT_MS`], so that
    /// workers keep its result.
    pub fn keep(&self, sequence: u64, now: Instant) {
        let mut state = self.lock();
        state.kept.push_back((now + Duration::from_millis(KEPT_MS), sequence));
        if state.kept.len() > KEPT_COUNT_MAX
            && let Some((_, oldest)) = state.kept.pop_front()
        {
            state.end(oldest);
        }
    }

    /// Every sequence below this one has ended.
    pub fn oldest_open(&self) -> u64 {
        let state = self.lock();
        let ended = state.ended.front().map_or(0, |word| word.trailing_ones());
        (state.first + u64::from(ended)).min(state.next)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self, sequence: u64) {
        let Some(bit) = sequence.checked_sub(self.first).filter(|_| sequence < self.next) else { return };
        if let Some(word) = self.ended.get_mut((bit / 64) as usize) {
            *word |= 1 << (bit % 64);
        }
        while self.ended.front() == Some(&u64::MAX) {
            self.ended.pop_front();
            self.first += 64;
        }
    }

    /// Ends those that have been kept for long enough.
    fn end_kept(&mut self, now: Instant) {
        while let Some(&(until, sequence)) = self.kept.front()
            && until <= now
        {
            self.kept.pop_front();
            self.end(sequence);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_oldest_open_one_moves_when_it_ends() {
        let sequences = Sequences::default();
        assert_eq!(sequences.oldest_open(), 1);
        assert_eq!((sequences.begin(), sequences.begin(), sequences.begin()), (1, 2, 3));
        sequences.end(2);
        assert_eq!(sequences.oldest_open(), 1);
        sequences.end(1);
        assert_eq!(sequences.oldest_open(), 3);
        sequences.end(3);
        assert_eq!(sequences.oldest_open(), 4);
    }

    proptest::proptest! {
        #[test]
        fn it_is_that_of_a_plain_set(picks in proptest::collection::vec((0..3u8, 0..1000usize), 0..600)) {
            let sequences = Sequences::default();
            let mut open = BTreeSet::new();
            let mut next = 1;
            for (begin, pick) in picks {
                if begin > 0 || open.is_empty() {
                    proptest::prop_assert_eq!(sequences.begin(), next);
                    open.insert(next);
                    next += 1;
                } else {
                    let sequence = *open.iter().nth(pick % open.len()).unwrap();
                    open.remove(&sequence);
                    sequences.end(sequence);
                    sequences.end(sequence);
                }
                proptest::prop_assert_eq!(sequences.oldest_open(), open.first().copied().unwrap_or(next));
            }
        }
    }
}
