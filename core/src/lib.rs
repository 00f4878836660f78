//! The smart client of slotkv, a distributed key-value store.

mod call;
mod client;
mod command;
mod connection;
mod cursor;
mod error;
mod explain;
mod options;
mod payload;
mod policy;
mod range;
mod routing;
mod scan;
mod stats;
pub mod transport;
pub mod uri;

pub use client::{CancelHandle, Client};
pub use command::{Answer, Command, Condition, Delete, Entry, Item, Page, Put};
pub use error::{Code, Error, Outcome, Result, Retry};
pub use explain::Explain;
pub use options::{CallOptions, Options};
pub use payload::IntoBytes;
pub use range::Range;
pub use scan::Scan;
pub use stats::{MemberStats, Stats};
