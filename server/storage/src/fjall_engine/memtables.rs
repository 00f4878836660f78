//! Memtables: fjall's tables in memory, which are let go of here. fjall 3.1 frees a table that it has flushed under the lock that
//! writes and reads need, row by row; of a full one that takes a hundred milliseconds and more. So they are kept until nobody else
//! has them, and freed on a thread of their own.

use std::{any::Any, sync::Arc, thread};

use parking_lot::Mutex;

use crate::threads;

#[cfg(target_os = "linux")]
const LEAST_PRIORITY: i32 = 19;

type Memtable = Arc<dyn Any + Send + Sync>;

/// The table that is written to, and those before it that fjall still has.
#[derive(Default)]
pub(super) struct Memtables(Mutex<Vec<Memtable>>);

impl Memtables {
    /// This one is written to now. Returns whether it was not before.
    pub fn keep(&self, active: Memtable) -> bool {
        let mut kept = self.0.lock();
        let place = |table: &Memtable| Arc::as_ptr(table).cast::<()>();
        let is_new = kept.last().is_none_or(|last| place(last) != place(&active));
        if is_new {
            kept.push(active);
        }
        is_new
    }

    /// Frees what only this has.
    pub fn sweep(&self) {
        let mut kept = self.0.lock();
        if kept.len() < 2 {
            return;
        }
        let gone = kept.extract_if(.., |table| Arc::strong_count(table) == 1).collect();
        drop(kept);
        free(gone);
    }
}

fn free(tables: Vec<Memtable>) {
    if !tables.is_empty() {
        // Without a thread they are freed here.
        let _ = thread::Builder::new().name("engine:free".into()).spawn(move || {
            threads::works();
            // What is meant is this thread, which is so on Linux only.
            #[cfg(target_os = "linux")]
            threads::give_way(None, LEAST_PRIORITY);
            drop(tables);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_kept_until_nobody_else_has_it() {
        let (tables, first, second) = (Memtables::default(), Arc::new(1), Arc::new(2));
        for table in [&first, &first, &second] {
            tables.keep(table.clone());
            tables.sweep();
        }
        assert_eq!((tables.0.lock().len(), Arc::strong_count(&first)), (2, 2));
        let seen = Arc::downgrade(&first);
        drop(first);
        assert!(seen.upgrade().is_some(), "it is kept");
        tables.sweep();
        assert_eq!(tables.0.lock().len(), 1);
        while seen.upgrade().is_some() {
            thread::yield_now();
        }
    }
}
