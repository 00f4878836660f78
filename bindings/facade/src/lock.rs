//! The lock that everything here uses: std's, without poisoning.
//!
//! Not parking_lot's: its parked threads stand in one table per process, by their stacks. In a forked child the stacks
//! are gone and the table is not, so that it is damaged however carefully the parent's locks are left alone. A lock of
//! std's is a word of memory, at least where there is fork.

use std::sync::{Mutex as StdMutex, MutexGuard, PoisonError, TryLockError};

/// See the module.
#[derive(Debug, Default)]
pub struct Mutex<T>(StdMutex<T>);

impl<T> Mutex<T> {
    /// A lock around `value`.
    pub const fn new(value: T) -> Self {
        Self(StdMutex::new(value))
    }

    /// Locks. A thread that panicked with the lock held has not made the value unusable.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks if that needs no waiting.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The value, without locking.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}
