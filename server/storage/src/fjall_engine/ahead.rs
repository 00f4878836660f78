//! Ahead: syncs of fjall's journals before fjall asks for them. Whenever a table in memory is full, fjall syncs its journal under
//! the lock that writes need; with the whole of the table to be written that is a stall of a hundred milliseconds and more.
//! What is on the disk already does not hold anybody up.
//!
//! What such a sync comes to does not matter: fjall's own comes behind it, and the system tells it of a failure, too.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use super::journals;
use crate::threads;

/// Bytes of batches between two syncs.
const BYTES: u64 = 4 << 20;
/// The same when fjall's own is close.
const CLOSE_BYTES: u64 = 512 << 10;

/// What was written since the last sync began.
#[derive(Default)]
pub(super) struct Ahead {
    bytes: AtomicU64,
    runs: Arc<AtomicBool>,
}

impl Ahead {
    /// So much was written; begins a sync on another thread if it is much, and none is under way. `is_close`: fjall's own sync is.
    pub fn wrote(&self, bytes: u64, is_close: bool, rows_folder: impl FnOnce() -> PathBuf) {
        let enough = if is_close { CLOSE_BYTES } else { BYTES };
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes < enough
            || self.runs.swap(true, Ordering::AcqRel)
        {
            return;
        }
        self.bytes.store(0, Ordering::Relaxed);
        let (running, folder) = (Running(self.runs.clone()), rows_folder());
        // Without a thread fjall syncs as it always did.
        let _ = thread::Builder::new().name("engine:sync".into()).spawn(move || {
            threads::works();
            let _running = running;
            let _ = journals::sync(&folder);
        });
    }
}

/// Ends with its thread, or if there is none.
struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
