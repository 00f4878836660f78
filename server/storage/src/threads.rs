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
        set_slice(SLICE_NS);
    }

    /// This thread does what nobody waits for, whatever the one that began it does.
    pub fn works() {
        set_slice(0);
    }

    /// Lowers the priority of a thread, or of this one.
    pub(crate) fn give_way(thread: Option<Pid>, nice: i32) {
        // Nobody waits for it: at worst it takes its share.
        let _ = setpriority_process(thread, nice);
    }

    /// 0: the system's own.
    fn set_slice(ns: u64) {
        let Some(now) = attributes().filter(|now| now.policy == libc::SCHED_OTHER as u32) else { return };
        let next = Attributes { runtime_ns: ns, ..now };
        // SAFETY: it reads one structure of the size that stands in it.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const next, 0) };
    }

    fn attributes() -> Option<Attributes> {
        let size = size_of::<Attributes>() as u32;
        let mut found = Attributes { size, ..Attributes::default() };
        // SAFETY: it writes one structure of the size that it is told.
        let told = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut found, size, 0) };
        (told == 0).then_some(found)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_thread_that_serves_has_short_slices_and_one_that_works_the_systems() {
            let (before, served, worked) = std::thread::spawn(|| {
                let runtime_ns = || attributes().expect("a thread has them").runtime_ns;
                let before = runtime_ns();
                serves();
                let served = runtime_ns();
                let worked = std::thread::spawn(move || {
                    works();
                    attributes().expect("a thread has them").runtime_ns
                });
                (before, served, worked.join().expect("it ends"))
            })
            .join()
            .expect("it ends");
            assert_eq!(worked, before);
            // A system before 6.12 has no slice of a thread's own.
            assert!(served == SLICE_NS || served == before && before == 0, "{before} {served}");
        }
    }
}
