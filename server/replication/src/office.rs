//! Office: how a replica becomes the primary of an epoch. Whichever way the register came to name this process, by its own
//! election or because the last primary resigned to it, it promises the epoch durably and begins it with a BARRIER.

use crate::{
    bug::Bug,
    history::Position,
    primary::Primary,
    ready::Write,
    register::Register,
    replica::{Replica, Role},
    writes::Effect,
};

impl Replica {
    /// Whether this register makes this process a primary that it has not been yet. Rule 1: an epoch in which it has
    /// led, or above which it has promised, is over for it.
    pub(crate) fn is_named_anew(&self, register: &Register) -> bool {
        if self.options.has(Bug::ResumesEpoch)
            && register.primary.as_ref().is_some_and(|(name, _)| *name == self.me.name)
        {
            return register.epoch >= self.vow.made.epoch && register.epoch != self.office_epoch;
        }
        register.names(&self.me)
            && register.epoch > self.office_epoch
            && register.epoch >= self.vow.made.epoch
    }

    /// The last primary has resigned to this replica, or so it said.
    pub(crate) fn hear_yielded(&mut self, epoch: u64) {
        let until_us = self.now_us + 2 * self.options.lease_us;
        if let Role::Backup(backup) = &mut self.role
            && epoch > self.vow.made.epoch
        {
            backup.office_until_us = until_us;
        }
        self.read_register();
    }

    /// Leads the register's epoch as soon as that is promised.
    pub(crate) fn prepare_office(&mut self, register: Register) {
        let epoch = register.epoch;
        let Role::Backup(backup) = &mut self.role else { return };
        if backup.office.replace(register).is_none() {
            backup.office_until_us = self.now_us + 2 * self.options.lease_us;
        }
        if self.vow.made.epoch < epoch {
            self.follow_nobody();
            self.promise(epoch);
        }
        self.assume_if_promised();
    }

    pub(crate) fn assume_if_promised(&mut self) {
        let Role::Backup(backup) = &mut self.role else { return };
        let Some(register) = backup.office.take_if(|register| self.vow.keeps(register.epoch)) else { return };
        let epoch = register.epoch;
        self.end_election();
        self.office_epoch = epoch;
        self.ordered_until_us = None;
        self.forget_reading();
        let before = self.history.last();
        let barrier = Position { epoch, index: before.index + 1 };
        self.role = Role::Primary(Box::new(Primary::new(&self.me, register, before, self.now_us)));
        self.history.append(epoch, 1);
        self.write(Write::Barrier(barrier), Effect::Durable(barrier.index));
        self.ready.took_office = Some(epoch);
        self.heartbeat();
        self.settle_primary();
    }
}
