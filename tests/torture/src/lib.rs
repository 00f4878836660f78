//! What a torture run is judged by. [`line`]: an operation as clients record it, one line each, in any language ·
//! [`order`]: whether some order explains the operations of a key, versions left out (Wing, Gong and Lowe) ·
//! [`verdict`]: every check on every key · [`owners`]: that every slot is one shard's · [`work`]: what the Rust client does.
//!
//! What versions say is checked by `slotkv_tests::simulation::history`, the same code as in the simulation.

pub mod line;
pub mod order;
pub mod owners;
pub mod verdict;
pub mod work;

/// Nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share and which nobody can set.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a system call that writes to the structure it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
