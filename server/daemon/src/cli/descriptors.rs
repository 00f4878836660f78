//! File descriptors: each connection takes one, and the limit that a login gives a process is often lower than the one
//! on connections.

/// Descriptors that are left to the log, the engine and the coordinator's connection, of one member.
const RESERVED: u64 = 256;

/// Raises this process's limit as far as it may go. Returns how many connections each of its `members` can take, at
/// most `asked`.
pub(crate) fn connections_max(asked: usize, members: usize) -> usize {
    let Some(limit) = raised_limit() else { return asked };
    let allowed = allowed(asked, members, limit);
    if allowed < asked {
        tracing::info!(
            "takes {allowed} connections instead of {asked} (--connections-max): this process may have {limit} file \
             descriptors (RLIMIT_NOFILE)"
        );
    }
    allowed
}

/// At least one: without it a member could as well not start.
fn allowed(asked: usize, members: usize, limit: u64) -> usize {
    let each = limit / members.max(1) as u64;
    // A limit too low for both is shared.
    let rest = each.saturating_sub(RESERVED).max(each / 2);
    asked.min(usize::try_from(rest).unwrap_or(usize::MAX)).max(1)
}

/// The limit after the soft one was raised to the hard one; `None` if the system does not tell.
#[cfg(unix)]
fn raised_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a value that lives over the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return None;
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    // SAFETY: as above.
    let done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0;
    Some(if done { raised.rlim_cur } else { limit.rlim_cur })
}

#[cfg(not(unix))]
fn raised_limit() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_files_share_the_limit() {
        assert_eq!(allowed(10_000, 1, 1 << 20), 10_000);
        assert_eq!(allowed(10_000, 1, 1024), 768);
        assert_eq!(allowed(10_000, 5, 20_000), 3744);
        assert_eq!(allowed(10_000, 1, 300), 150);
        assert_eq!(allowed(10_000, 5, 4), 1);
        assert_eq!(allowed(7, 1, u64::MAX), 7);
    }
}
