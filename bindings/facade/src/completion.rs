//! Completions on their way to the host: a queue that its event loop drains, with one wake-up per batch.
//!
//! Invariants:
//! - A queue that is not empty has a wake-up under way: given, or due at the runtime's next flush.
//! - `wakeups` never exceeds `completions`, and a host that drains on every wake-up sees every completion.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::lock::Mutex;
use crate::signal::Wake;

/// Something with wake-ups to give when the runtime has done all that is ready.
pub trait Flush: Send + Sync + 'static {
    /// Gives the wake-up that is due.
    fn flush(&self);
}

/// What a queue has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompletionCounters {
    /// Completions put in.
    pub completions: u64,
    /// Wake-ups given to the host.
    pub wakeups: u64,
    /// Batches the host has taken.
    pub drains: u64,
}

/// Finished calls of one host event loop. Its length is bounded by the calls that the host has under way.
pub struct CompletionQueue<T> {
    entries: Mutex<Vec<T>>,
    wake: Box<dyn Wake>,
    completions: AtomicU64,
    wakeups: AtomicU64,
    drains: AtomicU64,
}

impl<T: Send + 'static> CompletionQueue<T> {
    /// An empty queue that wakes its host by `wake`.
    pub fn new(wake: impl Wake) -> Arc<Self> {
        Arc::new(Self {
            entries: Mutex::new(Vec::new()),
            wake: Box::new(wake),
            completions: AtomicU64::new(0),
            wakeups: AtomicU64::new(0),
            drains: AtomicU64::new(0),
        })
    }

    /// Puts a completion in. True if the queue was empty: then the caller sees to a [`Flush::flush`].
    #[must_use]
    pub fn push(&self, entry: T) -> bool {
        let mut entries = self.entries.lock();
        entries.push(entry);
        let is_first = entries.len() == 1;
        drop(entries);
        self.completions.fetch_add(1, Ordering::Relaxed);
        is_first
    }

    /// Swaps everything that is in with `batch`, which must be empty: the host keeps two buffers and never allocates.
    pub fn drain(&self, batch: &mut Vec<T>) {
        debug_assert!(batch.is_empty());
        // Cleared before the swap: a completion that comes in between is taken now and wakes once in vain, where the
        // other order would lose it.
        self.wake.clear();
        std::mem::swap(&mut *self.entries.lock(), batch);
        self.drains.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether nothing is in.
    pub fn is_empty(&self) -> bool {
        self.entries.lock().is_empty()
    }

    /// Calls `look` with what is in. The queue is locked meanwhile.
    pub fn look(&self, look: impl FnOnce(&[T])) {
        look(&self.entries.lock());
    }

    /// What the queue has done so far.
    pub fn counters(&self) -> CompletionCounters {
        CompletionCounters {
            completions: self.completions.load(Ordering::Relaxed),
            wakeups: self.wakeups.load(Ordering::Relaxed),
            drains: self.drains.load(Ordering::Relaxed),
        }
    }
}

impl<T: Send + 'static> Flush for CompletionQueue<T> {
    fn flush(&self) {
        if !self.is_empty() {
            self.wakeups.fetch_add(1, Ordering::Relaxed);
            self.wake.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::signal::Callback;

    #[test]
    fn a_batch_costs_one_wake_up_and_the_next_one_another() {
        let woken = Arc::new(AtomicUsize::new(0));
        let queue = CompletionQueue::new({
            let woken = woken.clone();
            Callback(move || {
                woken.fetch_add(1, Ordering::SeqCst);
            })
        });
        let mut batch = Vec::new();
        for round in 1..=3 {
            for entry in 0..100 {
                if queue.push(entry) {
                    queue.flush();
                }
            }
            assert_eq!(woken.load(Ordering::SeqCst), round);
            queue.drain(&mut batch);
            assert_eq!(batch, (0..100).collect::<Vec<_>>());
            batch.clear();
        }
        assert_eq!(queue.counters(), CompletionCounters { completions: 300, wakeups: 3, drains: 3 });
    }

    #[test]
    fn a_batch_that_was_drained_before_its_flush_wakes_nobody() {
        let queue = CompletionQueue::new(Callback(|| panic!("nothing to tell")));
        assert!(queue.push(1));
        let mut batch = Vec::new();
        queue.drain(&mut batch);
        queue.flush();
        assert_eq!(batch, [1]);
    }
}
