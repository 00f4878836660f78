//! The fork guard. After a fork the child has this process's memory and none of its threads: a runtime made before it
//! never makes progress there, its locks may be held by threads that are gone, and its sockets and its epoll instance
//! are shared with the parent.
//!
//! So nothing made before a fork is touched after it, not even dropped: everything that owns a runtime is stamped with
//! the [`generation`] it was made in, and compares before each use. Reading the generation is one atomic load.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static FORKS: AtomicU64 = AtomicU64::new(0);
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Registers the guard with the C library. Bindings call it when they are loaded; later calls do nothing.
///
/// Not a `OnceCell`: another thread may fork while the cell is being filled, and the child would wait for it for ever.
pub fn install() {
    if !INSTALLED.load(Ordering::Relaxed) && !INSTALLED.swap(true, Ordering::SeqCst) {
        #[cfg(unix)]
        // SAFETY: the handler only adds to an atomic, which is allowed between fork and exec.
        unsafe {
            libc::pthread_atfork(None, None, Some(in_child));
        }
    }
}

#[cfg(unix)]
extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::SeqCst);
}

/// How many forks lie between the first process and this one.
#[inline]
pub fn generation() -> u64 {
    FORKS.load(Ordering::Acquire)
}

/// A value that belongs to the process that made it. In a forked child it is neither reachable nor dropped.
pub struct Owned<T> {
    generation: u64,
    value: std::mem::ManuallyDrop<T>,
}

impl<T> Owned<T> {
    /// Stamps `value` with the present process.
    pub fn new(value: T) -> Self {
        install();
        Self { generation: generation(), value: std::mem::ManuallyDrop::new(value) }
    }

    /// The value, unless this process is a forked child of the one that made it.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        (self.generation == generation()).then(|| &*self.value)
    }

    /// The value in its place, unless this process is a forked child of the one that made it.
    pub fn project(self: Pin<&mut Self>) -> Option<Pin<&mut T>> {
        // SAFETY: the value is never moved out of `self`. It is dropped in its place or, in a child, not at all: there
        // every thread that could hold a pointer into it is gone.
        let this = unsafe { self.get_unchecked_mut() };
        (this.generation == generation()).then(|| unsafe { Pin::new_unchecked(&mut *this.value) })
    }
}

impl<T> Owned<T> {
    /// The value, unless this process is a forked child of the one that made it.
    pub fn into_inner(self) -> Option<T> {
        let mut this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is never used again, so the value is taken once and not dropped in its old place.
        (this.generation == generation()).then(|| unsafe { std::mem::ManuallyDrop::take(&mut this.value) })
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if self.generation == generation() {
            // SAFETY: nothing reads the value after this.
            unsafe { std::mem::ManuallyDrop::drop(&mut self.value) }
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no fork")]
    fn a_child_neither_reaches_nor_drops_what_its_parent_owns() {
        struct Loud(i32);
        impl Drop for Loud {
            fn drop(&mut self) {
                // SAFETY: one byte from a live buffer to a descriptor of this test.
                unsafe { libc::write(self.0, b"x".as_ptr().cast(), 1) };
            }
        }
        let mut pipe = [0; 2];
        // SAFETY: `pipe` has room for two descriptors.
        assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
        let owned = Owned::new(Loud(pipe[1]));
        assert!(owned.get().is_some());
        // SAFETY: the child only touches atomics and its own stack, then leaves without unwinding.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let hidden = owned.get().is_none();
            drop(owned);
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(if hidden { 0 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above and closes our own descriptor.
        unsafe {
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
        }
        assert_eq!(status, 0, "the child saw its parent's value");
        drop(owned);
        let mut written = [0u8; 8];
        // SAFETY: our own descriptors; `written` has room for what was written.
        let count = unsafe {
            libc::close(pipe[1]);
            libc::read(pipe[0], written.as_mut_ptr().cast(), written.len())
        };
        assert_eq!(count, 1, "dropped once, by the parent");
    }
}
