//! What stands around every exported function: a panic becomes an error, and how the call ended goes to C.

use std::cell::Cell;

use slotkv_facade::core::Code;
use slotkv_facade::error::FacadeError;
use slotkv_facade::guard::{self, guard};

use crate::code::slotkv_code;
use crate::fork;
use crate::result::slotkv_result;

thread_local! {
    static IS_CALLING_BACK: Cell<bool> = const { Cell::new(false) };
}

/// Runs the body of an export and writes how it ended to `result`, unless that is NULL.
///
/// # Safety
/// `result` is NULL or has room.
pub(crate) unsafe fn export(
    result: *mut slotkv_result,
    body: impl FnOnce() -> Result<slotkv_result, FacadeError>,
) -> slotkv_code {
    guard::quiet();
    fork::install();
    let ended = guard(body).unwrap_or_else(slotkv_result::failed);
    let code = ended.code;
    if result.is_null() || !result.is_aligned() {
        ended.free().ok();
    } else {
        // SAFETY: the caller's promise. What stood there is not read.
        unsafe { result.write(ended) };
    }
    code
}

/// The same, for what waits: refused inside a callback, which would wait for itself.
///
/// # Safety
/// As for [`export`].
pub(crate) unsafe fn export_waiting(
    result: *mut slotkv_result,
    body: impl FnOnce() -> Result<slotkv_result, FacadeError>,
) -> slotkv_code {
    let checked = || {
        if IS_CALLING_BACK.get() {
            return Err(invalid("a call that waits, inside a callback that others wait for"));
        }
        body()
    };
    // SAFETY: the caller's promise.
    unsafe { export(result, checked) }
}

/// Runs a callback of the host's that must not wait.
pub(crate) fn calling_back(callback: impl FnOnce()) {
    let outer = IS_CALLING_BACK.replace(true);
    callback();
    IS_CALLING_BACK.set(outer);
}

/// Writes what an export hands over beside its result.
///
/// # Safety
/// `place` is NULL or has room.
pub(crate) unsafe fn hand_over<T>(place: *mut T, value: T, what: &str) -> Result<(), FacadeError> {
    check_place(place, what)?;
    // SAFETY: the caller's promise.
    unsafe { place.write(value) };
    Ok(())
}

/// Refuses a place to write to that cannot be one.
pub(crate) fn check_place<T>(place: *mut T, what: &str) -> Result<(), FacadeError> {
    if place.is_null() || !place.is_aligned() {
        return Err(invalid(format!("there is no place for {what}")));
    }
    Ok(())
}

pub(crate) fn invalid(message: impl Into<String>) -> FacadeError {
    FacadeError::new(Code::InvalidArgument, message)
}

/// Panics on purpose, for tests: the code is UNEXPECTED.
///
/// # Safety
/// `result` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slotkv_test_panic(result: *mut slotkv_result) -> slotkv_code {
    // SAFETY: the caller's promise.
    unsafe { export(result, || panic!("on purpose")) }
}
