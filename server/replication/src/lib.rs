//! The replication of one shard: who leads, what is committed, who may answer. A state machine without clock, socket,
//! file, thread or chance of its own: time and a seed are arguments, so every test is a replay.
//!
//! A host (the worker; in tests a simulator) owns the log, the network, the clock and the coordinator. It tells the
//! [`Replica`] what happened and carries out what comes back:
//!
//! ```text
//!   message from a peer        step(now, message)    ┐                    ┌ writes     to the disk, in order
//!   the deadline has come      tick(now)             │                    │ messages   to send
//!   a write is durable         written(now, id)      │                    │ asks       to the coordinator
//!   (apart) it is synced       synced(now, id)       │                    │ sync       now, and not at the interval
//!   the coordinator answered   answered(now, id, …)  ├──►  Replica  ──►   │ fetches    records of the log to hand in
//!   records read from the log  fetched(now, …)       │     .ready()       │ loads      parts of a snapshot to hand in
//!   a part of a snapshot read  loaded(now, id, …)    │                    │ commit, reads, took_office, stopped
//!   it appended client writes  appended(now, count)  ┘                    └ halt       a bug or damage: end the process
//!                                                          .next_deadline_us()         sleep until then
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
//!    have now; earlier records with it. `primary.rs`, `stream.rs`.
//! 4. **Reconfiguration.** One at a time, guarded, repeated until its outcome is known; who stays has synced what is
//!    committed. `change.rs`.
//! 5. **Lease.** Backups grant, the primary counts from when it sent. `vow.rs`, `peer.rs`, `reads.rs`. By it a backup knows how
//!    old what it has applied may be, too: `fresh.rs`.
//! 6. **Election.** Pre-vote, promise, report, highest position, first registered. `election.rs`, `stand.rs`; there, too, how
//!    a shard goes on of which too many stopped uncleanly under `interval` durability, or were given up by an operator.
//! 7. **Barrier.** Before it is committed nothing is answered. `office.rs`.
//! 8. **Matching.** By the ends of epochs, before anything is streamed. `backup.rs`, `history.rs`. By a snapshot where the
//!    log does not reach back. `snapshot.rs`.
//! 9. **Fail-back.** Stops writes and reads, then resigns. `change.rs`.
//! 10. **Degrade.** Below `min_isr` no writes. `primary.rs`.
//!
//! Rule 12 (what a record on the disk looks like) is the log's. Rules 11 and 13 (results of retried writes, TTL) are the
//! worker's: a result and a deadline are part of a record's payload, decided by the primary before it appends, known to
//! all that apply it. This crate does not look into payloads. The seam: `commit` tells up to where to apply, `took_office`
//! with [`Replica::is_serving`] when a duplicate may be decided and an expiry be logged (all records of earlier epochs
//! are committed and can be applied then), [`Replica::may_write_internal`] whether a conditional delete of what has expired
//! may be appended: below `min_isr`, too.
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
//! [`Replica::violation`] checks these functions of `invariants.rs`, and the tests call it after every step:
//! `log_is_in_order`, `commit_is_in_the_log`, `promise_never_goes_back`, `primary_holds_its_epoch`,
//! `counted_records_are_in_the_log`, `configurations_differ_by_one_change`, `who_leaves_serves_nothing`,
//! `queues_are_bounded`. What concerns several replicas (one record per position, one primary per epoch, committed
//! records never change, acknowledged ones are never lost, reads are linearizable) is checked by `tests/simulation`.
//!
//! # What a host must keep to
//!
//! It calls [`Replica::ready`] after every input and carries out all of it before the next one, in this order:
//!
//! 1. `halt`: the process ends, and does nothing of the rest.
//! 2. `stopped`: writes of that epoch that are not acknowledged end as *unknown*. `took_office`: from here on records are
//!    appended in that epoch, once [`Replica::may_write`] allows it.
//! 3. `writes` are *begun*, in order, behind whatever was appended before. That they are done is reported later.
//! 4. `messages`, `asks`, `fetches`, `loads`, `sync`, in any order and at once. None of them depends on a write of the same
//!    [`Ready`]: what must be durable before it is said is said only after [`Replica::written`]. So a primary's records
//!    are on their way to the backups while its own sync runs, and a backup takes records while earlier ones are synced.
//! 5. `commit`: the host applies up to there, now or later, never further. Once it has answered, and has nothing more to append
//!    at once, it calls [`Replica::tell_commit`]: under load the records that follow tell the backups, and no message of its own. `reads` are answered with the value that was
//!    read before the round was asked for, `reads_refused` are not. `closes` let go of snapshots.
//!
//! **Time.** `now_us` is monotonic, goes on in suspend (CLOCK_BOOTTIME), and is read *after* the message or outcome
//! arrived: a grant that began before its heartbeat came would end too early (rule 5). Between inputs the host sleeps
//! until [`Replica::next_deadline_us`]; it wakes late without harm to safety.
//!
//! **Disk.** Writes are done and reported in order; the highest id of several that one sync made durable is enough.
//! [`Write::Promise`] is synced before it is reported, whatever the shard's durability, and with it everything before it
//! in the same log or file. [`Write::Install`] is atomic, and synced before it is reported, too. What a start finds counts as durable, so it is synced first. A
//! sync that fails ends the process. What may run ahead: appends by clients
//! ([`Options::uncommitted_count_max`] bounds them) and, at a backup, [`options::WRITE_COUNT_MAX`] writes.
//!
//! **Messages** may be lost, doubled and out of order; each peer should get its own in order, since what comes out of
//! order is sent again. A host that cannot send drops, and does not queue without bound: what is on the way to one peer
//! is bounded by [`Options::flight_bytes_max`] or [`Options::snapshot_bytes_max`], and sent again after
//! [`Options::resend_us`].
//!
//! **Coordinator.** Each ask is answered once, at the latest by the host's own time limit as [`Answer::Unknown`]. A read
//! is a `sync` and a `get`; it may still be old, that is allowed for. Watches become [`Replica::hint`]. The first register
//! of a shard is the host's: epoch 0, no primary, the first replica as its ISR.
//!
//! **Data.** A replica whose data was lost or is damaged, or that was told to discard it ([`Ready::discard`]), begins anew
//! with none under a new [`Inc`]. Under `interval` durability *durable* reads *written*: a host reports a write once it would
//! survive the end of the process, and syncs within the interval; a stop without a sync makes a new [`Inc`], and the ones
//! before it become [`Start::remains_of`]. Such a host calls [`Replica::syncs_apart`] right after [`Replica::new`], and
//! [`Replica::synced`] after every sync with the id of the last write that it had reported when the sync began; if
//! [`Ready::sync`] asks for one, it does not wait for the interval. Until then no member is dropped. Then an acknowledged write is lost only if each of the w replicas that held it
//! stopped so within the interval after it came there, and the replicas agree again afterwards. The host of
//! whose primary [`Replica::began_with_loss`] keeps numbers that clients know (indexes, versions) from coming to mean something
//! else: a log index counts only together with its epoch. A record is applied only up to `commit`. A read is served by a primary only from what is applied up to where `commit` was when it began to serve,
//! and a write is acknowledged only when it is applied, in the epoch that appended it; else it ends as *unknown*.
//!
//! **Snapshots.** The first [`Load`] of a snapshot opens one of what is applied, consistently; [`Replica::loaded`] hands in
//! one [`Chunk`] after the other, as large as the load allows, so that about
//! [`Options::snapshot_bytes_max`] of it are in memory per peer. The receiver keeps [`Write::Part`]s beside its data, drops what it finds of them at a start,
//! and swaps engine and log at [`Write::Install`]. While a snapshot is on its way, the log is kept from
//! [`Replica::needed_from_index`] on; if it is not, another snapshot follows.
//!
//! # What is not here
//!
//! - Hand-over of slots (rules 14 to 16) is a machine of its own on top of this one.
//!
//! Layout: [`replica`] inputs and outputs · [`member`] names · [`history`] · [`register`] and configurations ·
//! [`message`] · [`options`] · [`ready`] outputs · [`status`] for people · [`bug`] known mistakes, for tests · `wire`, a
//! feature: messages as `slotkv.v1` has them.

mod backup;
pub mod bug;
mod change;
pub mod check;
mod deadline;
mod desk;
mod election;
mod fresh;
pub mod health;
pub mod history;
mod invariants;
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
mod snapshot;
mod stand;
pub mod status;
mod stream;
mod vow;
#[cfg(feature = "wire")]
pub mod wire;
mod writes;

pub use bug::Bug;
pub use check::{Check, Health, Order};
pub use health::Trouble;
pub use history::{History, Position};
pub use member::{Inc, Member, Name, Run};
pub use message::{Body, Holding, Message, Part, Record};
pub use options::Options;
pub use ready::{Answer, Ask, Candidate, Chunk, Commit, Fetch, Load, Ready, Refusal, Stopped, Write};
pub use register::{Ack, Configuration, Register};
pub use replica::{Replica, Start};
pub use status::{Standing, Status};
pub use vow::Promise;
