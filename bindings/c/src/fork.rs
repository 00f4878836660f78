//! Forks: a child must not find a lock of this library's held by a thread that it does not have, so the forking thread
//! holds them all meanwhile. They are held for moments only.

use std::any::Any;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{client, log, memory, queue, scan, session};

static INSTALLED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static HELD: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// Registers with the C library, once. No `Once`: another thread may fork while it runs.
pub(crate) fn install() {
    if !INSTALLED.load(Ordering::Relaxed) && !INSTALLED.swap(true, Ordering::SeqCst) {
        // SAFETY: the functions do what is allowed around a fork.
        unsafe {
            libc::pthread_atfork(Some(hold), Some(release), Some(release));
        }
    }
}

extern "C" fn hold() {
    let mut held: Vec<Box<dyn Any>> = Vec::new();
    memory::hold(&mut held);
    held.push(client::hold());
    held.push(scan::hold());
    held.push(session::hold());
    queue::hold(&mut held);
    held.push(log::hold());
    HELD.with_borrow_mut(|kept| *kept = held);
}

extern "C" fn release() {
    drop(HELD.take());
}
