//! Numbers of writes, so that a worker can tell a write that comes twice.
//!
//! Invariants: a sequence is given once in the life of a client; `oldest_open` never goes back, and every sequence below
//! it has ended: the client will not send it again.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

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
}

impl Default for Sequences {
    fn default() -> Self {
        Self { state: Mutex::new(State { first: 0, next: 1, ended: VecDeque::from([1]) }) }
    }
}

impl Sequences {
    /// The next sequence.
    pub fn begin(&self) -> u64 {
        let mut state = self.lock();
        let sequence = state.next;
        state.next += 1;
        if sequence - state.first == state.ended.len() as u64 * 64 {
            state.ended.push_back(0);
        }
        sequence
    }

    /// The client will not send this sequence again.
    pub fn end(&self, sequence: u64) {
        let mut state = self.lock();
        let Some(bit) = sequence.checked_sub(state.first).filter(|_| sequence < state.next) else { return };
        if let Some(word) = state.ended.get_mut((bit / 64) as usize) {
            *word |= 1 << (bit % 64);
        }
        while state.ended.front() == Some(&u64::MAX) {
            state.ended.pop_front();
            state.first += 64;
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
