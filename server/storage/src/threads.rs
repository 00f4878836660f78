//! Threads: what the system is asked for the threads of a server. One that serves clients does a little at a time and is waited
//! for; one that flushes, frees or reads ahead does much, and nobody waits. Where cores are few the first ones come first.
//!
//! Where the system does not do what it is asked, as elsewhere than on Linux, everything goes on as before.

#[cfg(target_os = "linux")]
pub(crate) use linux::give_way;
#[cfg(target_os = "linux")]
pub use linux::{serves, works};

/// This thread serves clients.
#[cfg(not(target_os = "linux"))]
pub fn serves() {}

/// This thread does what nobody waits for.
#[cfg(not(target_os = "linux"))]
pub fn works() {}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::process::{Pid, setpriority_process};

    /// How long a thread that serves runs before others get their turn, if they want it; the system's own slice is some
    /// milliseconds. Whoever asks for short slices is let in sooner when it wakes up (Linux 6.12).
    const SLICE_NS: u64 = 200_000;

    /// `struct sched_attr` of sched_setattr(2).
    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime_ns: u64,
        deadline_ns: u64,
        period_ns: u64,
        util_min: u32,
        util_max: u32,
    }

    /// This thread serves clients: it is let in soon, and runs briefly. Threads that it begins inherit that.
    pub fn serves() {
        set_slice(0, SLICE_NS);
    }

    /// This thread does what nobody waits for, whatever the one that began it does.
    pub fn works() {
        set_slice(0, 0);
    }

    /// Lowers the priority of a thread, or of this one, and takes short slices from it.
    pub(crate) fn give_way(thread: Option<Pid>, nice: i32) {
        // Nobody waits for it: at worst it takes its share.
        let _ = setpriority_process(thread, nice);
        set_slice(Pid::as_raw(thread), 0);
    }

    /// Of thread 0 it is this one's, and 0 is the system's own slice.
    fn set_slice(thread: i32, ns: u64) {
        let Some(now) = attributes(thread).filter(|now| now.policy == libc::SCHED_OTHER as u32) else {
            return;
        };
        let next = Attributes { runtime_ns: ns, ..now };
        // SAFETY: it reads one structure of the size that stands in it.
        unsafe { libc::syscall(libc::SYS_sched_setattr, thread, &raw const next, 0) };
    }

    fn attributes(thread: i32) -> Option<Attributes> {
        let size = size_of::<Attributes>() as u32;
        let mut found = Attributes { size, ..Attributes::default() };
        // SAFETY: it writes one structure of the size that it is told.
        let told = unsafe { libc::syscall(libc::SYS_sched_getattr, thread, &raw mut found, size, 0) };
        (told == 0).then_some(found)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_thread_that_serves_has_short_slices_and_one_that_works_the_systems() {
            // `None` where threads may not ask.
            let runtime_ns = || attributes(0).map(|found| found.runtime_ns);
            let begin = move |begins: fn()| {
                let run = move || {
                    begins();
                    runtime_ns()
                };
                std::thread::spawn(run).join().expect("it ends")
            };
            let (before, served, worked) = std::thread::spawn(move || {
                let before = runtime_ns();
                serves();
                (before, runtime_ns(), [begin(works), begin(|| give_way(None, 0))])
            })
            .join()
            .expect("it ends");
            assert_eq!(worked, [before; 2]);
            // A system before 6.12 has no slice of a thread's own.
            assert!(served == Some(SLICE_NS) || before.is_none_or(|before| before == 0), "{served:?}");
        }
    }
}
