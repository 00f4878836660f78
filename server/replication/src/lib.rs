//! The replication of one shard: who leads, what is committed, who may answer. A state machine without clock, socket,
//! file, thread or chance of its own: time and a seed are arguments, so every test is a replay.
//!
//! A host (the worker; in tests a simulator) owns the log, the network, the clock and the coordinator. It tells the
//! [`Replica`] what happened and carries out what comes back:
//!
//! ```text
//!   message from a peer        step(now, message)    ┐                    ┌ messages   to send
//!   time has passed            tick(now)             │                    │ writes     to the disk, in order
//!   a write is durable         written(now, id)      ├──►  Replica  ──►   │ asks       to the coordinator
//!   the coordinator answered   answered(now, id, …)  │     .ready()       │ fetches    records of the log to hand in
//!   records read from the log  fetched(now, …)       │                    │ commit, reads, snapshots, took_office, stopped
//!   it appended client writes  appended(now, count)  ┘                    └ halt       a bug or damage: end the process
//! ```
//!
//! One running example, a write in a shard of three with `ack = one`: the host asks [`Replica::may_write`], appends the
//! record to its log, tells [`Replica::appended`]; `fetches` name the range each backup lacks, the host reads it
//! ([`Replica::fetched`]) and gets [`Body::Append`] messages. Each backup appends, syncs, and answers [`Body::Held`]
//! once its host has reported the sync. With the primary's own sync and one `Held` two of three hold it: `commit` moves,
//! the host applies the record to its engine and answers the client.
//!
//! # The rules
//!
//! The rules of the protocol are numbered; code that implements one names it.
//!
//! 1. **Epoch.** Each change of the primary takes a new one, by compare-and-set on the shard's [`Register`]; never
//!    resumed. (epoch, index) names one record. `primary.rs`, `office.rs`.
//! 2. **Promise.** A replica durably promises an epoch and refuses lower ones. `vow.rs`. One exception: a higher promise by
//!    a replica that counts in no configuration stops nobody; the primary goes on in an epoch which that one can follow.
//! 3. **Commit.** A record of the primary's own epoch, held by w members of *every* configuration that the register may
//!    have now; earlier records with it. `primary.rs`.
//! 4. **Reconfiguration.** One at a time, guarded, repeated until its outcome is known. `change.rs`.
//! 5. **Lease.** Backups grant, the primary counts from when it sent. `vow.rs`, `peer.rs`, `reads.rs`.
//! 6. **Election.** Pre-vote, promise, report, highest position, first registered. `election.rs`.
//! 7. **Barrier.** Before it is committed nothing is answered. `office.rs`.
//! 8. **Matching.** By the ends of epochs, before anything is streamed. `backup.rs`, `history.rs`.
//! 9. **Fail-back.** Stops writes and reads, then resigns. `change.rs`.
//! 10. **Degrade.** Below `min_isr` no writes. `primary.rs`.
//!
//! Rule 12 (what a record on the disk looks like) is the log's. Rules 11 and 13 (results of retried writes, TTL) are the
//! worker's: a result and a deadline are part of a record's payload, decided by the primary before it appends, known to
//! all that apply it. This crate does not look into payloads. The seam: `commit` tells up to where to apply, `took_office`
//! with [`Replica::is_serving`] when a duplicate may be decided (all records of earlier epochs are committed then).
//!
//! # Who owns what
//!
//! - [`History`] mirrors the log: where it begins, the first record of each epoch, the last record, what is durable. The
//!   replica changes it when it asks for a write and counts on it when the host has reported that write.
//! - The vow (promise and grants) is the only thing beside the log that survives a restart: [`Promise`].
//! - A *peer* is what a primary knows of another replica in its epoch. It is dropped with the epoch.
//! - Configurations are made of register versions only; `confirmed` is the newest version known, `pending` the change
//!   under way, from before it is sent until its outcome is known.
//!
//! # Invariants
//!
//! [`Replica::violation`] checks these functions, and the tests call it after every step:
//! `log_is_in_order`, `commit_is_in_the_log`, `promise_never_goes_back`, `primary_holds_its_epoch`,
//! `counted_records_are_in_the_log`, `configurations_differ_by_one_change`, `who_leaves_serves_nothing`,
//! `queues_are_bounded`. What concerns several replicas (one record per position, one primary per epoch, committed
//! records never change, acknowledged ones are never lost, reads are linearizable) is checked by `tests/simulation`.
//!
//! # What a host must keep to
//!
//! - `now_us` is monotonic, goes on in suspend (CLOCK_BOOTTIME), and is read *after* the message or outcome arrived: a
//!   grant that began before its heartbeat came would end too early (rule 5).
//! - Writes are carried out and reported in order. Those of one [`Ready`] are begun before its fetches are read.
//! - Each ask is answered once, at the latest by the host's own time limit as [`Answer::Unknown`]. A read is a
//!   `sync` and a `get`; it may still be old, that is allowed for.
//! - The first register of a shard is the host's: epoch 0, no primary, the first replica as its ISR.
//! - A replica whose data was lost, is damaged, or may lack a synced tail gets a new [`Inc`] before it starts.
//! - A snapshot holds committed records only, and installing it is atomic.
//! - It applies a record only up to `commit`, and answers a write `unknown` if it was not acknowledged in the
//!   epoch that appended it.
//!
//! # What is not here
//!
//! - Under `interval` durability an unclean stop makes a new [`Inc`]. If that happens to the whole ISR at once, nobody
//!   counts and nobody is elected: electing the longest of the doubtful logs, and saying what may be lost, is missing.
//! - Hand-over of slots (rules 14 to 16) is a machine of its own on top of this one.
//!
//! Layout: [`replica`] inputs and outputs · [`member`] names · [`history`] · [`register`] and configurations ·
//! [`message`] · [`options`] · [`ready`] outputs · [`status`] for people · [`bug`] known mistakes, for tests.

mod backup;
pub mod bug;
mod change;
mod deadline;
mod desk;
mod election;
pub mod history;
pub mod member;
pub mod message;
mod office;
pub mod options;
mod peer;
mod primary;
mod reads;
pub mod ready;
pub mod register;
pub mod replica;
pub mod status;
mod vow;

pub use bug::Bug;
pub use history::{History, Position};
pub use member::{Inc, Member, Name, Run};
pub use message::{Body, Message, Record};
pub use options::Options;
pub use ready::{Answer, Ask, Candidate, Commit, Fetch, Ready, Refusal, Stopped, Write};
pub use register::{Ack, Configuration, Register};
pub use replica::{Replica, Start};
pub use status::{Standing, Status};
pub use vow::Promise;
