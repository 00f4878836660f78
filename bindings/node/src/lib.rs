//! The addon of the npm package `slotkv`: the facade for one JavaScript thread, and nothing else. What users see is in
//! `node/`, whose `lib/` calls this and owns the promises.
//!
//! A call is a number here, which `lib/` gives and gets back with the result: no JavaScript object is held, so an
//! environment may end at any time, and nothing of it is touched from another thread but its wake-up.
//!
//! Layout: [`bridge`] one per environment, [`poll`] what it is watched by, [`batch`] what it gives per turn · [`client`] operations, [`scan`] scans ·
//! [`arguments`] into Rust · [`errors`], [`view`] into JavaScript · [`logs`].

mod arguments;
mod batch;
mod bridge;
mod client;
mod errors;
mod logs;
mod poll;
mod scan;
mod view;

/// The version of the addon, which must be its package's.
#[napi_derive::napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
