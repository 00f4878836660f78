//! Where the client's callbacks leave what has finished, for one driver that takes it in batches: one wake-up per batch.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use slotkv::{Answer, Error};
use tokio::sync::Notify;

/// An answer for the operation in a place.
pub(crate) struct Finished {
    pub place: usize,
    pub answer: Result<Answer, Error>,
    pub at: Instant,
}

/// Bounded by the operations in flight.
#[derive(Default)]
pub(crate) struct Inbox {
    finished: Mutex<Vec<Finished>>,
    news: Notify,
}

impl Inbox {
    /// The operation in `place` has finished now.
    pub fn put(&self, place: usize, answer: Result<Answer, Error>) {
        let finished = Finished { place, answer, at: Instant::now() };
        let mut queue = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push(finished);
        if queue.len() == 1 {
            drop(queue);
            self.wake();
        }
    }

    /// Wakes the driver.
    pub fn wake(&self) {
        self.news.notify_one();
    }

    /// Takes everything; waits for a wake-up if there is nothing. May take nothing.
    pub async fn take(&self, batch: &mut Vec<Finished>) {
        batch.clear();
        self.swap(batch);
        if batch.is_empty() {
            self.news.notified().await;
            self.swap(batch);
        }
    }

    fn swap(&self, batch: &mut Vec<Finished>) {
        std::mem::swap(&mut *self.finished.lock().unwrap_or_else(PoisonError::into_inner), batch);
    }
}
