//! The `slotkv` binary; everything but the allocator is in the library.

use libmimalloc_sys::{mi_option_get, mi_option_set, mi_option_t};

// What one thread of a worker allocates, another one mostly frees: the committer, the engine's threads, the streams.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// After so many searches for a page a thread looks through all of its pages for what others have freed: mimalloc's
/// `mi_option_generic_collect`, which its bindings do not name.
const COLLECT_AFTER: mi_option_t = 34;
/// mimalloc's default, by which that option is known.
const COLLECT_AFTER_DEFAULT: std::ffi::c_long = 10_000;
/// As rarely as mimalloc lets one ask for.
const COLLECT_AFTER_MAX: std::ffi::c_long = 1_000_000;

fn main() -> std::process::ExitCode {
    collect_rarely();
    slotkv_daemon::main()
}

/// With gigabytes in small rows a look through all pages takes tens of milliseconds, for which a shard would serve nobody. What
/// others have freed is found without it, too, when a page of that size is searched for.
fn collect_rarely() {
    // SAFETY: they read and set a number; an option that does not exist is 0.
    unsafe {
        if mi_option_get(COLLECT_AFTER) == COLLECT_AFTER_DEFAULT {
            mi_option_set(COLLECT_AFTER, COLLECT_AFTER_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: it reads a number.
        let now = || unsafe { mi_option_get(COLLECT_AFTER) };
        assert_eq!(now(), COLLECT_AFTER_DEFAULT, "or MIMALLOC_GENERIC_COLLECT is set");
        collect_rarely();
        assert_eq!(now(), COLLECT_AFTER_MAX);
    }
}
