//! What every part of slotkv agrees on: the messages of `slotkv.v1`, the table of error codes, the way from a key to
//! its slot, the slot table with its deltas, and the limits.
//!
//! ```
//! use slotkv_proto::{slot, SlotCount};
//!
//! let slots = SlotCount::default();
//! assert_eq!(slot(b"foo", slots), 12182 >> 4);
//! assert_eq!(slot(b"{user1000}.following", slots), slot(b"{user1000}.followers", slots));
//! ```
//!
//! Layout: [`mod@slot`] key to slot · [`table`] the slot table as a value · [`code`] error codes · [`limits`] the bounds
//! that are checked before anything is allocated · [`seam`] clock and chance as arguments · [`handshake`] protocol versions ·
//! [`keys`] many keys in one field · [`v1`] the generated messages.

pub mod code;
pub mod handshake;
pub mod keys;
pub mod limits;
pub mod seam;
pub mod slot;
pub mod table;

pub use code::{Applied, Code, Retry};
pub use slot::{SlotCount, slot};
pub use table::{SlotTable, TableError};

/// The generated messages and services of `slotkv.v1`.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("slotkv.v1");
}

/// The compiled descriptors of `slotkv.v1`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("slotkv_descriptor");
