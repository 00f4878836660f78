//! Writes: what was asked of the disk, in order, and what each makes true once it is reported.

use crate::{
    bug::Bug,
    history::Position,
    message::Record,
    options::{UNSYNCED_COUNT_MAX, WRITE_COUNT_MAX},
    ready::Write,
    replica::{Replica, Role},
    vow::Promise,
};

/// What is true once a write is reported.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effect {
    Durable(u64),
    Cut,
    Part { snapshot: u64, count: u64 },
    Installed(Position),
    Promised(Promise),
}

impl Replica {
    /// All writes up to this id are on the disk.
    pub fn written(&mut self, now_us: u64, id: u64) {
        self.input(now_us, |replica| replica.report(id));
    }

    /// From now on what is reported by [`Self::written`] outlives the end of the process, and an unclean stop of the machine
    /// only once [`Self::synced`] says so (`interval` durability); with `false`, both at once, as from the beginning. Before it
    /// says `false` the host syncs what it has reported.
    pub fn syncs_apart(&mut self, now_us: u64, apart: bool) {
        self.input(now_us, |replica| {
            replica.syncs_apart = apart;
            if !apart {
                replica.unsynced.clear();
                replica.history.set_synced(replica.history.durable());
            }
        });
    }

    /// All writes up to this id outlive an unclean stop. The id is that of the last write which was reported by
    /// [`Self::written`] before the sync began; an index would not do, since it may name another record after a cut.
    pub fn synced(&mut self, now_us: u64, id: u64) {
        self.input(now_us, |replica| {
            while let Some((done, index)) = replica.unsynced.front().copied()
                && done <= id
            {
                replica.unsynced.pop_front();
                replica.history.set_synced(index);
            }
            replica.backup_synced();
        });
    }

    /// Notes what a sync will make certain.
    fn note_unsynced(&mut self, id: u64) {
        let index = self.history.durable();
        if !self.syncs_apart {
            return self.history.set_synced(index);
        }
        if self.unsynced.len() >= UNSYNCED_COUNT_MAX {
            // Both are certain once the later one is.
            self.unsynced.pop_back();
        }
        self.unsynced.push_back((id, index));
    }

    fn report(&mut self, id: u64) {
        let (held, mut may_begin) = (self.history.durable(), false);
        while let Some((done, effect)) = self.unreported.front().copied()
            && done <= id
        {
            self.unreported.pop_front();
            match effect {
                Effect::Durable(index) => self.history.set_durable(index),
                Effect::Cut => {}
                Effect::Part { snapshot, count } => self.part_written(snapshot, count),
                Effect::Installed(at) => {
                    self.installed(at);
                    may_begin = true;
                }
                Effect::Promised(promise) => {
                    may_begin |= self.vow.kept != promise;
                    self.vow.kept = promise;
                }
            }
        }
        if held < self.history.durable() {
            self.note_unsynced(id);
        }
        match self.role {
            Role::Backup(_) => self.backup_written(held < self.history.durable(), may_begin),
            Role::Primary(_) => {}
        }
    }

    /// Makes a promise durable. Rule 2: once it is on its way, nothing lower is obeyed.
    pub(crate) fn promise(&mut self, epoch: u64) {
        self.vow_to(Promise { epoch: epoch.max(self.vow.made.epoch), ..self.vow.made });
    }

    pub(crate) fn vow_to(&mut self, made: Promise) {
        self.vow.made = made;
        self.write(Write::Promise(made), Effect::Promised(made));
    }

    pub(crate) fn write(&mut self, write: Write, effect: Effect) {
        let id = self.expect(effect);
        self.ready.writes.push((id, write));
    }

    /// A write that is to be reported under the returned id.
    pub(crate) fn expect(&mut self, effect: Effect) -> u64 {
        self.next_write += 1;
        self.unreported.push_back((self.next_write, effect));
        if self.options.has(Bug::AcksUnsynced)
            && let Effect::Durable(index) = effect
        {
            self.history.set_durable(index);
        }
        self.next_write
    }

    /// Cuts the log. What is still being written behind the cut will not be there.
    pub(crate) fn cut(&mut self, index: u64) {
        for (_, effect) in &mut self.unreported {
            if let Effect::Durable(durable) = effect {
                *durable = index.min(*durable);
            }
        }
        for (_, written) in &mut self.unsynced {
            *written = index.min(*written);
        }
        self.history.cut(index);
        self.write(Write::Cut(index), Effect::Cut);
    }

    /// What is still being written of a snapshot will not be there.
    pub(crate) fn forget_parts(&mut self) {
        for (_, effect) in &mut self.unreported {
            if let Effect::Part { .. } | Effect::Installed(_) = effect {
                *effect = Effect::Cut;
            }
        }
    }

    pub(crate) fn all_is_written(&self) -> bool {
        self.unreported.is_empty()
    }

    pub(crate) fn may_queue_write(&self) -> bool {
        self.unreported.len() < WRITE_COUNT_MAX
    }

    pub(crate) fn append_received(&mut self, records: Vec<Record>) {
        for record in &records {
            self.history.append(record.position.epoch, 1);
        }
        let index = self.history.last().index;
        self.write(Write::Append(records), Effect::Durable(index));
    }
}
