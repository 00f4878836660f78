//! The worker of a slotkv cluster: one replica of one shard. It joins its shard at the coordinator, takes the lead in a
//! new epoch, and serves the shard's slots to clients.
//!
//! ```text
//! stream ──► session ──► intake ──► read: cache, engine ───────────────────────► reply
//!  (one per client)         ├─────► page: a thread walks the engine ───► outbox ► reply
//!                           └─────► queue ► committer: decide, log, sync, apply ► outbox ► reply
//! ```
//!
//! Layout: [`worker`] start, run and stop · [`join`] taking the lead · [`home`] the replica's folder, [`snapshot`] its data on the way to another, [`scrub`] its rows compared · [`service`] gRPC, [`codec`] its frames ·
//! [`session`] one stream · [`intake`] one request · [`request`] its arguments · [`ownership`] what may be served ·
//! [`shard`] what streams share · [`read`] reads · [`page`] scans and counts · [`queue`], [`committer`], [`replica`], [`decide`],
//! [`retry`] the way of a write · [`outbox`] replies on their way · [`runner`] where long work runs.

pub mod codec;
pub mod committer;
pub mod decide;
pub mod error;
pub mod home;
pub mod intake;
pub mod join;
pub mod outbox;
pub mod ownership;
pub mod page;
pub mod queue;
pub mod read;
pub mod replica;
pub mod request;
pub mod retry;
pub mod runner;
pub mod scrub;
pub mod service;
pub mod session;
pub mod shard;
pub mod snapshot;
pub mod worker;

pub use error::StartError;
pub use runner::Runner;
pub use worker::{Options, Seams, Worker};
