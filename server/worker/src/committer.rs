//! The way of clients' writes: what waits is decided as a group, logged by one write, made durable by one sync together
//! with everything else that was begun, replicated, applied once it is committed, and only then answered. Writes that
//! arrive meanwhile form the next group, so that one sync serves many.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use slotkv_proto::{Code, v1::Reply};
use slotkv_storage::{Error, LogRecord, Position, log::Record};
use tokio::time::Instant;

use crate::{
    host::Host,
    migrations,
    outbox::Outbox,
    queue::Write,
    recent::Recent,
    replica::{self, Group, Staged},
    request::{self, Refusal},
    shard::{StreamReplies, Unconfirmed},
    waiting::Waiter,
};

/// Writes in one group.
pub const GROUP_COUNT_MAX: usize = 4096;
/// Bytes of keys and values in one group; one write larger than that is a group by itself.
pub const GROUP_BYTES_MAX: usize = 8 << 20;
/// Below this much space on the disk a shard takes no writes, so that the engine can still finish its own; what the engine
/// holds in memory comes on top.
pub const FREE_BYTES_MIN: u64 = 64 << 20;
/// And below this much it logs nothing of its own either: that keys have ended, and what hand-overs come to, makes room again, so
/// it may take from the reserve.
const OWN_FREE_BYTES_MIN: u64 = 16 << 20;
/// What a byte in the engine's memory may still take on the disk: in a table, and in the table that merges it.
const ENGINE_COPIES: u64 = 2;
/// How often the space on the disk is looked at. Nobody fills the reserve in so short a time.
const FREE_CHECK_MS: u64 = 10;

/// Writes that are decided and logged, and wait to be committed.
pub(crate) struct InFlight {
    /// The last of their records.
    pub last_index: u64,
    /// Whether enough copies have been in sync since (protocol.md rule 10).
    pub acknowledges: bool,
    group: Group,
    writes: Vec<Write>,
    replies: Vec<Reply>,
    /// When it was decided.
    begun_us: u64,
    /// Others wait until it is settled.
    is_waited_for: bool,
}

impl InFlight {
    /// They may be committed yet, or not.
    pub fn end_unknown(self, why: &str) {
        self.writes.iter().for_each(|write| write.refuse((Code::SteppedDown, why.into())));
    }
}

impl Host {
    pub(crate) fn may_begin_backlog(&self) -> bool {
        !self.backlog.is_empty() && self.group.is_none() && (self.serves() || self.machine.leads().is_none())
    }

    /// Decides and logs what waits, until something has to be committed first; then, if nothing does, that keys have ended.
    pub(crate) async fn begin_group(&mut self) -> Result<(), Error> {
        self.refuse_parts();
        self.begin_backlog().await?;
        let is_due = self.replica.is_expiry_due(self.clock.wall_ms())
            || self.machine.is_check_due()
            || self.migrations.has_appends();
        if self.may_expire() && is_due && self.check_own().is_ok() {
            self.begin(Vec::new()).await?;
            self.carry_out().await?;
        }
        Ok(())
    }

    pub(crate) async fn begin_backlog(&mut self) -> Result<(), Error> {
        while self.may_begin_backlog() {
            let Some(writes) = self.backlog.pop_front() else { break };
            let Some(writes) = self.writable(writes) else { continue };
            let writes = self.served(writes);
            if let Err(error) = self.begin(writes).await {
                let text = format!("the shard has stopped: {error}");
                for write in self.backlog.drain(..).flatten() {
                    write.refuse((Code::ShuttingDown, text.clone()));
                }
                return Err(error);
            }
            self.carry_out().await?;
        }
        Ok(())
    }

    /// Whether a group may begin that lets keys end and does nothing else.
    pub(crate) fn may_expire(&self) -> bool {
        self.group.is_none() && self.backlog.is_empty() && self.serves() && !self.shard.queue().is_closed()
    }

    /// What of a group may be decided; the rest is refused.
    fn writable(&mut self, writes: Vec<Write>) -> Option<Vec<Write>> {
        let own = self.check_own();
        let clients = own
            .clone()
            .and_then(|()| self.shard.check_disk())
            .and_then(|()| self.machine.may_write().map(drop).map_err(|refusal| self.refusal(refusal)));
        let Err(refusal) = clients else { return Some(writes) };
        // That a key has ended is a record of the shard's own, and whoever asks for the key waits for it.
        let (reads, refused): (Vec<_>, Vec<_>) =
            writes.into_iter().partition(|write| own.is_ok() && write.is_read());
        refused.iter().for_each(|write| write.refuse(refusal.clone()));
        (!reads.is_empty()).then_some(reads)
    }

    /// What of a group is for slots that are served now; the rest waits until it is decided who serves them, or goes elsewhere.
    fn served(&self, writes: Vec<Write>) -> Vec<Write> {
        let ownership = self.shard.ownership();
        if writes.iter().all(|write| ownership.owns(write.slot)) {
            return writes;
        }
        let (served, others): (Vec<_>, Vec<_>) =
            writes.into_iter().partition(|write| ownership.owns(write.slot));
        for write in others {
            match ownership.check_slot(write.slot) {
                Err(_) if ownership.is_sealed(write.slot) => {
                    self.shard.waiting().keep(Waiter::of_write(write));
                }
                Err(refusal) => write.refuse(refusal),
                Ok(()) => {}
            }
        }
        served
    }

    /// Whether records of the shard's own may be logged: too few copies in sync do not hold them up.
    fn check_own(&mut self) -> Result<(), Refusal> {
        self.machine.may_write_internal().map_err(|refusal| self.refusal(refusal))?;
        self.look_for_room(Instant::now());
        if self.durable.has_own_room { Ok(()) } else { self.shard.check_disk() }
    }

    /// While the disk is full no part of a hand-over is logged. Its party knows, and what is small goes on, so that slots can be
    /// given away and what is open ends.
    fn refuse_parts(&mut self) {
        if !self.migrations.has_parts() {
            return;
        }
        self.look_for_room(Instant::now());
        if let Err((_, why)) = self.shard.check_disk() {
            self.migrations.refuse_parts(&why);
        }
    }

    async fn begin(&mut self, writes: Vec<Write>) -> Result<(), Error> {
        let Some(epoch) = self.machine.leads() else { return Ok(()) };
        let now = Instant::now();
        let mut group = self.replica.begin(self.clock.wall_ms());
        let mut replies = Vec::with_capacity(writes.len());
        let handovers = self.migrations.take_appends();
        let before = self.log.last_index();
        let mut position = Position { epoch, index: before };
        let mut appended = self.log.group();
        let mut payloads = Payloads::default();
        let ownership = self.shard.ownership();
        let serves = |slot| ownership.owns(slot);
        for record in self.replica.stage_expiries(&mut group, &mut position, &serves)? {
            payloads.encode(&record);
            appended.push(epoch, |buffer| buffer.extend_from_slice(payloads.last()))?;
        }
        for write in &writes {
            if let Some(refusal) = write.is_moot(now) {
                replies.push(request::refuse(write.id, refusal));
                continue;
            }
            position.index += 1;
            match self.replica.stage(&mut group, write, position)? {
                Staged::Answer(reply) => {
                    position.index -= 1;
                    replies.push(reply);
                }
                Staged::Log(record, reply) => {
                    payloads.encode(&record);
                    appended.push(epoch, |buffer| buffer.extend_from_slice(payloads.last()))?;
                    replies.push(reply);
                }
            }
        }
        let behind = position;
        let begun_us = (!handovers.is_empty()).then(|| self.clock.busy_us());
        let mut handovers =
            migrations::stage(&self.replica, &mut group, &mut position, handovers, |record| {
                payloads.encode(record);
                appended.push(epoch, |buffer| buffer.extend_from_slice(payloads.last())).map(drop)
            })?;
        if let Some(begun_us) = begun_us {
            self.migrations.worked(self.clock.busy_us().saturating_sub(begun_us));
        }
        if self.machine.is_check_due() {
            position.index += 1;
            let record = self.replica.stage_check(&mut group, position);
            payloads.encode(&record);
            appended.push(epoch, |buffer| buffer.extend_from_slice(payloads.last()))?;
        }
        let checks = group.ends_with_check();
        let count = position.index - before;
        if count == 0 {
            self.replica.take_sweep(group);
            // Answers that changed nothing are reads: of stored results, or of what a condition was about.
            self.confirm(by_stream(&writes, replies));
            return self.handovers_dropped(handovers.take_dropped());
        }
        match appended.commit() {
            Ok(_) => {
                self.durable.records += count;
                if self.durable.has_backups {
                    payloads.remember(epoch, before + 1, &mut self.recent);
                }
            }
            Err(error) if error.is_disk_full() => {
                // Until the log is synced a crash could bring back the first records of the refused group.
                self.log.sync().await?;
                let text = error.to_string();
                writes.iter().for_each(|write| write.refuse((Code::ReadOnly, text.clone())));
                self.migrations.put_back(std::mem::take(&mut handovers.records));
                return self.handovers_dropped(handovers.take_dropped());
            }
            Err(error) => return Err(error),
        }
        let is_waited_for = handovers.is_waited_for();
        // Requests are answered by these records before anybody else is told of them.
        self.handovers_logged(handovers, Position { index: behind.index + 1, ..behind })?;
        self.group = Some(InFlight {
            last_index: position.index,
            acknowledges: true,
            group,
            writes,
            replies,
            begun_us: self.clock.uptime_us(),
            is_waited_for,
        });
        let id = self.machine.appended(self.clock.uptime_us(), count);
        if checks {
            self.machine.check_logged(self.clock.uptime_us(), position.index);
        }
        self.begun(id);
        Ok(())
    }

    /// The group's records are committed.
    pub(crate) fn finish_group(&mut self) -> Result<(), Error> {
        let Some(done) = self.group.take() else { return Ok(()) };
        let moved_share = done.group.moved_share();
        // Mostly nothing is moved, and to ask is a system call.
        let begun_us = (moved_share > 0.0).then(|| self.clock.busy_us());
        self.replica.apply(done.group)?;
        self.shard.set_applied(self.replica.applied(), self.replica.shown_index());
        if let Some(begun_us) = begun_us {
            let busy_us = self.clock.busy_us().saturating_sub(begun_us);
            self.migrations.worked((busy_us as f64 * moved_share) as u64);
        }
        let now_us = self.clock.uptime_us();
        if !done.writes.is_empty() {
            self.migrations.foreground(now_us.saturating_sub(done.begun_us));
        }
        if done.is_waited_for {
            self.machine.wish_settled(now_us, done.last_index);
        }
        if done.acknowledges {
            by_stream(&done.writes, done.replies).hold();
        } else {
            let why = "the write is committed, but too few copies were in sync to acknowledge it";
            for (write, reply) in done.writes.iter().zip(done.replies) {
                match write.is_read() {
                    true => write.answer(reply),
                    false => write.refuse((Code::SteppedDown, why.into())),
                }
            }
        }
        Ok(())
    }

    /// Looks now and then whether the disk has room; without it the shard takes no writes until there is some again.
    fn look_for_room(&mut self, now: Instant) {
        let fresh = Duration::from_millis(FREE_CHECK_MS);
        if self.durable.free_checked.is_none_or(|checked| now.duration_since(checked) >= fresh) {
            self.durable.free_checked = Some(now);
            let free = self.free_bytes();
            let unflushed = ENGINE_COPIES * self.engine.unflushed_bytes();
            self.shard.set_disk_full((free < FREE_BYTES_MIN + unflushed).then_some(free));
            self.durable.has_own_room = free >= OWN_FREE_BYTES_MIN + unflushed;
        }
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        self.disk.free_bytes(&self.settings.dir).unwrap_or(u64::MAX)
    }
}

/// Records of a group as they are logged, one behind the other.
#[derive(Default)]
struct Payloads {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Payloads {
    fn encode(&mut self, record: &LogRecord) {
        replica::encode(record, &mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    fn last(&self) -> &[u8] {
        let begin = self.ends.len().checked_sub(2).map_or(0, |at| self.ends[at]);
        &self.bytes[begin..]
    }

    /// The log has them now, from the record `first` on.
    fn remember(self, epoch: u64, first: u64, recent: &mut Recent) {
        let bytes = Bytes::from(self.bytes);
        let begins = [0].into_iter().chain(self.ends.iter().copied());
        for ((index, begin), &end) in (first..).zip(begins).zip(&self.ends) {
            recent.push(Record { index, epoch, payload: bytes.slice(begin..end) });
        }
    }
}

/// Splits what waited into groups within the limits, in order.
pub(crate) fn groups(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let mut groups = Vec::new();
    let (mut group, mut bytes) = (Vec::new(), 0);
    for write in writes {
        if group.len() >= GROUP_COUNT_MAX
            || (bytes + write.admitted_bytes > GROUP_BYTES_MAX && !group.is_empty())
        {
            groups.push(std::mem::take(&mut group));
            bytes = 0;
        }
        bytes += write.admitted_bytes;
        group.push(write);
    }
    if !group.is_empty() {
        groups.push(group);
    }
    groups
}

/// The replies of writes, so that each stream's outbox is visited once.
fn by_stream(writes: &[Write], replies: Vec<Reply>) -> Unconfirmed {
    let mut places: HashMap<*const Outbox, usize> = HashMap::new();
    let mut streams: Vec<StreamReplies> = Vec::new();
    for (write, reply) in writes.iter().zip(replies) {
        let place = *places.entry(Arc::as_ptr(&write.outbox)).or_insert_with(|| {
            streams.push((write.outbox.clone(), Vec::new()));
            streams.len() - 1
        });
        streams[place].1.push((reply, write.admitted_bytes));
    }
    Unconfirmed(streams)
}
