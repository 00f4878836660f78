//! What every binding of slotkv shares: who drives the client, who owns what, how errors look, what a fork and a panic
//! do. A binding translates this into its host's idiom and decides nothing.
//!
//! ```no_run
//! use slotkv_facade::blocking::BlockingClient;
//! use slotkv_facade::core::{CallOptions, Command};
//! use slotkv_facade::settings::Settings;
//! # fn main() -> Result<(), slotkv_facade::error::FacadeError> {
//!
//! // Asked now and then during a call that takes long; an error ends the call.
//! let patient = || Ok(());
//! let client = BlockingClient::connect("slotkv://127.0.0.1:7700", Settings::new("example/1"), patient)?;
//! let answer = client.call(Command::Get { key: "greeting".into() }, CallOptions::default(), patient)?;
//! println!("{answer:?}");
//! client.close()
//! # }
//! ```
//!
//! # The two ways
//!
//! Hosts whose programs block use [`blocking`]: the socket is driven on the caller's own thread, by a [`driver`].
//! Hosts with an event loop or with callbacks use [`nonblocking`] on a [`port`]: calls go to the one thread of the
//! [`runtime`] in batches and come back through a [`completion`] queue, with one wake-up per batch by a [`signal`]. Both
//! have clients with the same functions, options ([`settings`]), scans and rules for [`many`] keys; both bring the
//! core's values ([`core`]) and [`error`]s that are plain data.
//!
//! # Rules that hold everywhere
//!
//! - A [`handle`] names one object only: closed, of another kind or made up, it is an error.
//! - Nothing made before a [`fork`] is used or dropped after it, and no lock is parking_lot's ([`lock`] says why).
//! - A panic ends in an error at the export ([`guard`](mod@guard)).
//! - The process is the host's: no signal handler, no global subscriber ([`log`]), no allocator, no file.
//! - Every wait is bounded: calls by their deadline, closing and shutting down by limits of their own.

pub mod blocking;
pub mod completion;
pub mod driver;
pub mod error;
pub mod fork;
pub mod guard;
pub mod handle;
#[cfg_attr(not(all(target_os = "linux", tokio_unstable)), path = "unhosted.rs")]
mod hosted;
pub mod lock;
pub mod log;
pub mod many;
pub mod nonblocking;
pub mod port;
pub mod runtime;
mod scan;
pub mod settings;
pub mod signal;

/// The core's values, which hosts translate.
pub mod core {
    pub use slotkv::*;
    pub use slotkv_proto::v1;
}
