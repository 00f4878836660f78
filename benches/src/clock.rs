//! Times that programs of one machine can compare, in whatever language they are written.

/// Microseconds of CLOCK_MONOTONIC.
pub fn now_us() -> u64 {
    read_us(libc::CLOCK_MONOTONIC)
}

/// CPU time of this process in microseconds.
pub fn cpu_us() -> u64 {
    read_us(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read_us(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the struct, which lives over the call.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}
