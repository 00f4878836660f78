//! The hand-over of slots from one shard to another (rule 16). State machines without clock, socket, file, thread or chance of
//! their own: time is an argument, so every test is a replay.
//!
//! Three parties take part. The [`Leader`] plans, decides and closes, by compare-and-set of the slot table. The source's and the
//! target's primary each have a [`Party`], which appends to its shard's replicated log, and talks to the other one:
//!
//! ```text
//!   the table was read           table(now, table)        ┐                   ┌ appends    to the log, at once
//!   a message from a peer        step(now, message)       │                   │ messages   to the other shard's primary
//!   the log has a record         logged / dropped(now, …) ├──►  Party   ──►   │ reads      of items and records, to hand in
//!   it is committed, and settled committed(now, …)        │    .ready()       │ tallies    of slots, to hand in
//!   items and records were read  read(now, id, …)         │                   │ sweeps     what a clean-up deletes next
//!   time has passed              tick(now)                │                   │ reports    to the leader, by the coordinator
//!   how long requests take       foreground(now, us)      │                   └ refresh    the table is to be read
//!   the leader lives             heard(now)               ┘
//! ```
//!
//! One running example. The leader writes version 7 of the table, which plans hand-over 7 of slot 3 from shard 0 to shard 1. Shard 0
//! asks shard 1 what it holds: nothing. So it reads items, sends them, and shard 1 logs them as [`Record::Stage`], hidden.
//! Once only the last few records are missing, shard 0 logs [`Record::Seal`], and serves the slot no more; as soon as that is
//! committed, and shard 1 holds everything up to it, the two compare what they have, and shard 1 logs [`Record::Imported`].
//! It reports that; the leader writes version 8, in which shard 1 owns the slot *in tenure 7*. Shard 1 reads it and
//! serves; shard 0 reads it and deletes, by [`Record::Clean`]. Both report that they are done, and version 9 closes the
//! hand-over. Until then nothing else is planned for slot 3.
//!
//! # Three ideas
//!
//! **A tenure is named by the version that planned it.** A migration's id, the version of its plan, and the tenure that it begins
//! are one number ([`Id`]). The table says for each slot who owns it in which tenure, the log of a shard says which tenure it has
//! ([`Mark`]), and a replica serves only if both agree. So a table that is old, a log that lacks IMPORTED, a backup that is behind
//! by two hand-overs, and a seal are each enough to refuse, and none of them needs a clock.
//!
//! **What is held is a place.** A [`Place`] says: exactly the source's items up to this cursor, as of this record of its log. A part
//! leads from one place to the next, and is a function of the source's committed records alone. So it does not matter which
//! primary sends it, how often and when: the target takes it if it stands exactly there. A fail-over of the source costs a
//! question, one of the target what was not committed. Nothing sent is kept for resending, it is read again; so memory is bounded by
//! [`Options::flight_bytes_max`] and [`Options::stage_bytes_max`] whatever the slots hold. A snapshot that is read to its end with
//! all later records behind it is one way through places; a host that takes a new snapshot now and then is another, and
//! need not keep the log for as long.
//!
//! **Deciding is the table's alone.** Nobody acts on having sent a compare-and-set, on silence or on time. What a party does after a
//! decision follows from a table that is *newer than the one its last record was logged by* and in which the hand-over is not
//! in flight.
//!
//! # The rules
//!
//! Rule 16, and what it leaves open:
//!
//! - **a** plan: one open hand-over per slot, [`LeaderOptions::open_count_max`] in all. A plan stays in the table with its outcome until
//!   both sides have said that they are done; rule 16 asks that the next one wait for the clean-up, and a leader that is new must
//!   see that it does. `leader.rs`.
//! - **b** copy: rule 16's snapshot at index i with every later record is a way through places, see above. `outgoing.rs`, `incoming.rs`.
//! - **c** SEAL: once whole and [`Options::seal_lag_bytes`] behind, and only while a leader is heard ([`Party::heard`]): who else would end it? That bound doubles with every [`Options::patience_us`], so that no load puts the end
//!   off for ever. SEAL goes to the target when it is *settled*: committed, and on the disks of enough members. Under `interval`
//!   durability "committed" is not enough, since one shard's loss must not undo what another shard has acted on; the same holds for
//!   IMPORTED, and for "done". `outgoing.rs`.
//! - **d** IMPORTED: rows, results and version counters are compared byte by byte ([`Tally`]) before it is logged. `incoming.rs`.
//! - **e** decision: one compare-and-set. An abort is decided in the same way, when a side says that it cannot, when nothing moves for
//!   [`LeaderOptions::stall_us`], or when the slots have been sealed for [`LeaderOptions::sealed_us_max`]. `leader.rs`.
//! - **f** clean-up: piece by piece, [`Options::clean_count_max`] items a record, bound to the id and to the slots' marks. The last piece leaves
//!   [`Mark::Gone`]. `party.rs`.
//!
//! # What moves along
//!
//! - *Results of writes* are items, as rows are: a client's results in a slot are copied and followed. The slot's forgotten index
//!   comes with the tally's levels; the greater one holds.
//! - *Indexes that clients know* (fences, results, forgotten indexes) are shown indexes. IMPORTED raises the target's shown index to
//!   the source's, as a Lamport clock: whatever the target logs for the slot is above every fence that was taken at the source.
//! - *Versions*: the slot's counter is among the items.
//! - *Time*: IMPORTED raises the target's logged time to the source's, so a row that was answered as gone is not there again. Deadlines
//!   are absolute, and part of their rows.
//! - *Session tokens* need nothing: a backup of the target serves the slot once it has applied IMPORTED of the tenure that the table
//!   names. A token must name the table's version, too, or a reader with an older table could ask a backup of the source.
//! - *Scans* go on behind (slot, key) at the new owner: a page is read from one snapshot, and then it is checked that the slot is
//!   served.
//!
//! # What a fail-over comes to
//!
//! | before | of the source | of the target |
//! |---|---|---|
//! | SEAL is logged | asks what is held, goes on; if its log does not hold that place, begins another [`Stream`] | goes on behind what is committed |
//! | SEAL is committed | with or without it; without, it seals again | the same |
//! | IMPORTED is committed | the seal is in the log | compares again |
//! | the decision | the seal stays, whatever was sent | reports it again |
//! | the clean-up is committed | goes on with it | serves |
//!
//! # What an operator's takeover comes to
//!
//! A shard that goes on with data that misses the IMPORTED of a decided hand-over owns slots that its log does not have. As long as
//! the hand-over is in the table, nothing is done. Once it is closed the source has deleted everything: the shard
//! deletes what it has of earlier tenures, and takes the slots empty, by a STAGE and an IMPORTED out of nothing, with counters above
//! whatever was told. Only a shard that has lost something does that ([`Start::loss_index`]); [`Regain`]. `lost.rs`.
//!
//! # What a host must keep to
//!
//! - It makes a [`Party`] when its replica has taken office, of the [`Ledger`] that is applied, the records behind that, and a table that
//!   is *read then*; it drops it when the replica stops.
//! - It takes [`Party::ready`] after every input. `appends` are appended at once, in order, each told by [`Party::logged`] or
//!   [`Party::dropped`] before the next input; they are exempt from `min_isr`. Each of `reads`, `tallies` and `sweeps` is answered
//!   once by this process, if late.
//! - A request is decided by [`Party::serves`]: a write before it is appended, a read *after* its value was read (and before the lease is
//!   looked at). Expiry, too, is a write. Requests for a slot that [`Party::is_sealed`] may wait for the decision, within their
//!   deadlines and a bound; then they are answered by the table that decided.
//! - Every replica applies the records to a ledger of its own; [`Ledger::apply`] says to which slots one applies. Backups ask
//!   [`Ledger::serves`], of what they have applied. Snapshots of a replica have the ledger in them.
//! - [`Record::Stage`]: the items of the range between both cursors are replaced, records behind are applied. Staged rows lie where they will
//!   be served: what hides them is the mark, so IMPORTED moves nothing, and the pause does not grow with the slot.
//! - Whoever is told something across shards is told by the present primary, and what it tells is settled ([`Party::committed`]).
//! - The leader's compare-and-set is one `multi` with a check of `/master_epoch`; and, for a switch, of both shards' registers: their
//!   `loss_epoch` must be that of the plan, for after an operator's takeover a shard may have lost what it had settled.
//!
//! # Invariants
//!
//! [`Party::violation`] and [`Ledger::violation`] check those that concern one party; the simulation (`tests/simulation`) checks after
//! every step that one shard serves a slot at most, that whoever serves has exactly what was committed, that no write is done
//! twice, that time and shown index of a slot go on, and in the end that every hand-over has ended and nothing is left
//! of it. `tests/model` explores the rules to the last state.
//!
//! Layout: [`party`] inputs and outputs · [`leader`] · [`ledger`] what a log says · [`place`] · [`record`] · [`message`] · [`table`] · [`ready`]
//! outputs · [`options`] · [`pace`] · `wire` all of it as bytes, with the feature of that name · [`bug`] known mistakes, for tests ·
//! [`failpoint`] the steps of a hand-over by name, for tests.

pub mod bug;
pub mod failpoint;
mod incoming;
pub mod leader;
pub mod ledger;
mod lost;
pub mod message;
pub mod options;
mod outgoing;
pub mod pace;
pub mod party;
pub mod place;
pub mod ready;
pub mod record;
pub mod table;
#[cfg(feature = "wire")]
pub mod wire;

pub use bug::Bug;
pub use failpoint::Step;
pub use leader::{Answer, Ask, Leader, Note, Progress};
pub use ledger::{Ledger, Mark};
pub use message::{Body, Message};
pub use options::{LeaderOptions, Options};
pub use party::{Party, Start};
pub use place::{Cursor, Id, Place, Position, Stream};
pub use ready::{Chunk, Read, Ready, Regain, Report, Said, Sweep, Tally};
pub use record::Record;
pub use table::{Migration, Outcome, Owner, Table};
#[cfg(feature = "wire")]
pub use wire::Malformed;

/// A shard.
pub type ShardId = u32;
/// A slot.
pub type Slot = u16;
