//! Memory: what a server asks of the system for all of its memory.

/// The process does without transparent huge pages. The first touch of one takes as long as clearing two megabytes, and several
/// milliseconds where a virtual machine's host has to find them first; a thread that serves clients would stand still for that
/// (docs/benchmarks.md, hand-overs). Where they cannot be refused they stay.
pub(crate) fn without_huge_pages() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn a_server_has_no_huge_pages() {
        super::without_huge_pages();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        // Linux before 5.0 does not tell.
        let told = status.lines().find_map(|line| line.strip_prefix("THP_enabled:"));
        assert_eq!(told.map_or("0", str::trim), "0");
    }
}
