//! CPU time of processes, ours and the peer's alike, from the kernel.

use std::fs;

/// CPU seconds that these processes have used since they started.
pub fn of_processes(pids: &[u32]) -> f64 {
    pids.iter().filter_map(|&pid| of_process(pid)).sum()
}

fn of_process(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(ticks(&stat)? as f64 / ticks_per_second())
}

/// User and system time: fields 14 and 15. The name in field 2 may hold blanks, so counting starts behind it.
fn ticks(stat: &str) -> Option<u64> {
    let behind_name = &stat[stat.rfind(')')? + 2..];
    let mut fields = behind_name.split(' ').skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn ticks_per_second() -> f64 {
    // SAFETY: a system call without pointers.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}

/// CPU seconds of all children that xtask has waited for.
pub fn of_children() -> f64 {
    // SAFETY: the struct is plain numbers, and the kernel fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 2 3 4 120 30 5 6 20 0 1 0 99";
        assert_eq!(ticks(stat), Some(150));
    }
}
