//! The smart client of slotkv, a distributed key-value store: it caches the whole slot table, goes straight to the member
//! that owns a key, and repairs its table from any reply.
//!
//! ```no_run
//! # async fn example() -> slotkv::Result<()> {
//! use slotkv::{Client, Put, Range};
//!
//! let client = Client::connect("slotkv://127.0.0.1:7700").await?;
//! let put = client.put("greeting", "hello").await?;
//! assert!(matches!(put, Put::Created { .. } | Put::Updated { .. }));
//! assert_eq!(client.get("greeting").await?.as_deref(), Some(&b"hello"[..]));
//!
//! let mut scan = client.scan(Range::prefix("greet").ordered())?;
//! while let Some(item) = scan.next().await {
//!     println!("{:?}", item?.key);
//! }
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What a call may count on
//!
//! - It ends within its deadline (5 s unless said otherwise), which travels to the server.
//! - A write is applied at most once, whatever is retried meanwhile: it carries (client id, sequence).
//! - An [`Error`] says what happened, whether a retry can help, and whether the operation was applied
//!   ([`Outcome::Failed`]: provably not; [`Outcome::Unknown`]: perhaps).
//! - Dropping its future cancels it and frees everything, at the server too.
//! - It goes on while every master is down: masters only tell where members are.
//! - A write whose outcome is unknown can be asked for ([`Client::outcome`]).
//! - A read is linearizable, unless a view takes less and lets backups answer ([`ReadLevel`]).
//!
//! # Layout
//!
//! Modules use only those further down. [`Client`] with its operations ([`Scan`], counts, many keys) · *policy*: admission,
//! attempts, pauses, ends of calls · *routing*: the slot table and who keeps it fresh · *connection*: one stream to one
//! member · [`transport`]: the network, gRPC unless told otherwise. [`Command`] and [`Answer`] are the same operations as
//! values, for bindings; [`uri`] says where a cluster is.

mod call;
mod client;
mod command;
mod composite;
mod connection;
mod connector;
mod count;
mod cursor;
mod error;
mod explain;
mod many;
mod operations;
mod options;
mod outcome;
mod payload;
mod policy;
mod range;
mod routing;
mod scan;
mod session;
mod stats;
pub mod transport;
pub mod uri;
mod walk;
mod wire;

pub use client::{CancelHandle, Client, TRACEPARENT_BYTES_MAX};
pub use command::{Answer, Command, Condition, Delete, Entry, Item, Page, Put};
pub use cursor::CURSOR_FORMAT;
pub use error::{Code, Error, Outcome, Result, Retry};
pub use explain::Explain;
pub use options::{
    CallOptions, DEADLINE_MS_MAX, INFLIGHT_MAX_MAX, Options, PutOptions, STREAMS_PER_MEMBER_MAX,
    ZONE_BYTES_MAX,
};
pub use outcome::{WRITE_TOKEN_FORMAT, WriteOutcome, WriteStatus, WriteToken};
pub use payload::IntoBytes;
pub use range::{PAGE_ITEMS_DEFAULT, Range};
pub use scan::Scan;
pub use session::{ReadLevel, SESSION_FORMAT, Session};
pub use stats::{MemberStats, Stats};
