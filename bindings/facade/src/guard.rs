//! What stands around every export: a panic must not cross into a host that was not written in Rust.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::FacadeError;
use crate::log::{self, Level};

/// What panics say goes to the log from now on; a host's standard error is its own. The hook is that of the Rust runtime
/// that is linked into the binding, so a host that is written in Rust keeps its own.
pub fn quiet() {
    static QUIET: AtomicBool = AtomicBool::new(false);
    if !QUIET.load(Ordering::Relaxed) && !QUIET.swap(true, Ordering::SeqCst) {
        std::panic::set_hook(Box::new(|panic| {
            log::emit(Level::Error, "slotkv::panic", &panic.to_string());
        }));
    }
}

/// Runs `body`. A panic becomes an UNEXPECTED error with the panic's text and an unknown outcome.
///
/// Exports hand over values and handles only and keep their state behind locks that do not poison, so what a panic
/// leaves behind is a call that has not been answered; that is why the closure counts as unwind safe.
pub fn guard<T>(body: impl FnOnce() -> Result<T, FacadeError>) -> Result<T, FacadeError> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result,
        Err(panic) => Err(FacadeError::panicked(panic_text(&*panic))),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_text() {
        for error in [
            guard::<()>(|| panic!("plain")).unwrap_err(),
            guard::<()>(|| panic!("with {}", "arguments")).unwrap_err(),
        ] {
            assert_eq!(error.name(), "UNEXPECTED");
            assert_eq!(error.outcome.name(), "unknown");
            assert!(error.message.contains("plain") || error.message.contains("with arguments"), "{error}");
        }
        assert_eq!(guard(|| Ok(7)), Ok(7));
    }
}
