//! The worker of a slotkv cluster: one replica of one shard. It joins its shard at the coordinator, leads it or follows who
//! leads, and serves the shard's slots to clients.
//!
//! ```text
//! stream ──► session ──► intake ──► read: cache, engine ──────────────────────────► reply, under the lease
//!  (one per client)         ├─────► page: a thread walks the engine ──────► outbox ► reply
//!                           └─────► queue ► committer: decide, log ┐        outbox ► reply
//!                                                                  ▼          ▲
//!        other replicas ◄──► link ◄──► host: replication machine, log, sync, apply
//!                                        └──► registrar: the shard's register
//! ```
//!
//! Layout: [`worker`] start, run and stop · `follow` the newest slot table · [`join`] its place in the shard, [`standby`] that of a lost replica · [`host`] the replica's
//! only writer, which carries out what `slotkv-replication` decides: `outputs` what that comes to, `lead` who answers, as it is told · `disk` what it writes and reads for that, [`checkpoint`] its syncs and checkpoints · [`link`] other replicas, `frames` what goes there and between shards · [`registrar`] what a replica asks of the
//! coordinator, [`register`] what the register tells it beside · [`home`] the replica's folder, [`snapshot`] its data on the way to another, [`scrub`] its rows compared, [`damage`] what follows · [`service`] gRPC, [`codec`] its frames · [`session`] one stream ·
//! [`intake`] one request · [`request`] its arguments · [`ownership`] what may be served · [`shard`] what streams share
//! · [`read`] reads · [`page`] scans and counts · [`queue`], [`committer`], [`replica`], [`decide`], [`retry`] the way
//! of a write · [`expiry`] keys that end · [`handover`] slots on their way from or to another shard, as rows and results, [`migrations`] the host's part in that, [`bridge`] the way there, [`reports`] what the leader is told, [`waiting`]
//! requests for what is sealed · [`outbox`] replies on their way · [`measure`] numbers for who watches, `inspect` what is held of each slot · [`runner`] where long work runs.

pub mod bridge;
pub mod checkpoint;
pub mod codec;
pub mod committer;
pub mod damage;
pub mod decide;
mod disk;
pub mod error;
pub mod expiry;
mod follow;
mod frames;
mod group;
pub mod handover;
pub mod home;
pub mod host;
mod inspect;
pub mod intake;
pub mod join;
mod lead;
pub mod link;
pub mod measure;
pub mod migrations;
pub mod outbox;
mod outputs;
pub mod ownership;
pub mod page;
pub mod queue;
pub mod read;
mod recent;
pub mod register;
pub mod registrar;
pub mod replica;
pub mod reports;
pub mod request;
pub mod retry;
pub mod runner;
pub mod scrub;
pub mod service;
pub mod session;
pub mod shard;
pub mod snapshot;
pub mod standby;
pub mod waiting;
pub mod worker;

pub use error::StartError;
pub use link::{GrpcPeers, PeerTransport};
pub use runner::Runner;
pub use worker::{Ended, LEAVING, Options, Seams, Standby, Worker};
