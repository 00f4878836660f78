//! slotkv for the languages that UniFFI generates modules for: Kotlin, Swift, Python and others. The facade in UniFFI's
//! words, and nothing else; `kotlin/` is what users of Kotlin touch.
//!
//! Functions that wait are `async`. A future that is dropped, as by a coroutine or a task that is cancelled, gives its
//! call up at the members, too.
//!
//! Layout: [`bridge`] futures on the facade's port, and the thread that wakes them · [`client`] operations, [`scan`] scans ·
//! [`arguments`] into Rust · [`results`], [`errors`], [`view`] out of it · [`logs`].

// UniFFI has no boxes, and an error is made once per failed call.
#![allow(clippy::result_large_err)]

mod arguments;
mod bridge;
mod client;
mod errors;
mod logs;
mod results;
mod scan;
mod view;

uniffi::setup_scaffolding!("slotkv");

/// The version of this library.
#[uniffi::export]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}
