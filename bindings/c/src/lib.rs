//! The C library of slotkv, libslotkv: the facade in C's idiom, and nothing else. What C sees is `include/slotkv.h`,
//! which is made of this crate; its names are C's.
//!
//! # Layout
//!
//! [`client`] connecting and blocking calls · [`scan`] · [`session`] · [`queue`] calls that come back by a descriptor or
//! a callback · [`log`] · [`operation`] what a call asks · [`result`] what it answers, with [`error`], [`code`] and [`view`] ·
//! [`options`] and [`bytes`] what comes from C · [`memory`] what C borrows · [`shelf`] what C has handles of ·
//! [`export`](mod@export) what stands around every function · `fork`.
//!
//! # Rules
//!
//! - Handles are looked up: closed, of another kind or made up, they are errors.
//! - What C gives is read during the call and copied; what C gets is in a result, which it frees.
//! - A panic ends in an error.

#![allow(non_camel_case_types)]

pub mod bytes;
#[cfg(any(test, fuzzing))]
pub mod calls;
pub mod client;
pub mod code;
pub mod error;
pub mod export;
#[cfg(any(test, fuzzing))]
mod fake;
mod fork;
pub mod log;
pub mod memory;
pub mod operation;
pub mod options;
pub mod queue;
pub mod result;
pub mod scan;
pub mod session;
pub mod shelf;
#[cfg(test)]
mod tests;
pub mod view;

use std::ffi::{CStr, c_char};

/// Version of the binary interface that this header describes. Given to `slotkv_connect`; a library that does not have it
/// refuses.
pub const SLOTKV_ABI_VERSION: u32 = 0;

/// Version of the library that is loaded, as "0.1.0". Static; nobody frees it.
#[unsafe(no_mangle)]
pub extern "C" fn slotkv_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
    VERSION.as_ptr()
}

/// Version of the binary interface that the library has.
#[unsafe(no_mangle)]
pub extern "C" fn slotkv_abi_version() -> u32 {
    SLOTKV_ABI_VERSION
}
