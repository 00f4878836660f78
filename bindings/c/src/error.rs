//! Errors as C sees them.

use std::ffi::c_char;

use slotkv_facade::error::FacadeError;

use crate::bytes::slotkv_bytes;
use crate::code::{slotkv_code, slotkv_outcome, slotkv_retry};
use crate::memory::Arena;

/// Why a call did not succeed. Part of its result and freed with it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_error {
    /// Which kind.
    pub code: slotkv_code,
    /// Whether the operation was applied.
    pub outcome: slotkv_outcome,
    /// What can be done now.
    pub retry: slotkv_retry,
    /// How often the operation was sent, or tried to be.
    pub attempts: u32,
    /// Whether the very same call may simply be repeated: it was not applied, and may succeed later.
    pub retryable: bool,
    /// The stable upper-case name of the kind, as "TIMEOUT".
    pub kind: *const c_char,
    /// What was wrong, for people, with its limit where there is one.
    pub message: *const c_char,
    /// host:port of the member that the error came from or that could not be reached, if one was asked; else NULL.
    pub member: *const c_char,
    /// What the layers below said, the nearest first.
    pub causes: *const *const c_char,
    /// How many causes there are.
    pub causes_count: usize,
    /// Of a write whose outcome is unknown: by it slotkv_outcome tells what came of it. Else NULL data.
    pub token: slotkv_bytes,
}

/// Keeps an error.
pub(crate) fn keep(arena: &mut Arena, error: FacadeError) -> *const slotkv_error {
    let code = slotkv_code::from(error.code);
    let retryable = error.is_retryable();
    let (causes, causes_count) = arena.texts(error.causes);
    let shown = slotkv_error {
        code,
        outcome: error.outcome.into(),
        retry: error.retry.into(),
        attempts: error.attempts,
        retryable,
        kind: code.name().as_ptr(),
        message: arena.text(error.message),
        member: arena.text_or_null(error.member),
        causes,
        causes_count,
        token: error.token.map_or(slotkv_bytes::NONE, |token| arena.bytes(token)),
    };
    arena.one(shown)
}

/// Name of a retry class, as "backoff"; NULL for a number that is none. Static; nobody frees it.
#[unsafe(no_mangle)]
pub extern "C" fn slotkv_retry_name(retry: i32) -> *const c_char {
    let known = [slotkv_retry::Never, slotkv_retry::Reroute, slotkv_retry::Backoff, slotkv_retry::Ask];
    let found = known.into_iter().find(|&known| known as i32 == retry);
    found.map_or(std::ptr::null(), |retry| retry.name().as_ptr())
}
