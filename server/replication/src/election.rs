//! Election: what a replica does when no primary is heard (rule 6). It reads the register, asks whether a promise to the
//! last primary still holds (pre-vote), and promises the next epoch if enough others could report. What follows is in
//! `stand.rs`.

use std::collections::BTreeMap;

use crate::{
    bug::Bug,
    desk::Kind,
    member::{Inc, Member, Name},
    message::{Body, Holding, Message},
    options::Options,
    register::{Configuration, Register},
    replica::{Replica, Role},
    stand::Stand,
};

/// How far it is.
#[derive(Clone, Debug, Default)]
pub(crate) enum Election {
    /// None is on.
    #[default]
    Off,
    /// The register is being read.
    Looking,
    /// Asks the others whether they are bound; of those who are not, what they hold.
    Canvassing { register: Register, nonce: u64, free: BTreeMap<Name, Holding>, until_us: u64 },
    /// The promise is being written.
    Promising { register: Register },
    /// Reports, and looks at the reports.
    Standing(Box<Stand>),
}

impl Election {
    pub fn is_on(&self) -> bool {
        !matches!(self, Election::Off)
    }

    /// Reports there are and reports needed.
    pub fn reports(&self, me: &Member) -> (usize, usize) {
        match self {
            Election::Off | Election::Looking => (0, 1),
            Election::Canvassing { register, free, .. } => (free.len(), register.configuration.reporters()),
            Election::Promising { register } => (1, register.configuration.reporters()),
            Election::Standing(stand) => stand.reports(me),
        }
    }

    fn register(&self) -> Option<&Register> {
        match self {
            Election::Off | Election::Looking => None,
            Election::Canvassing { register, .. } | Election::Promising { register } => Some(register),
            Election::Standing(stand) => Some(&stand.register),
        }
    }
}

/// What a replica has of the data that is named so.
fn holding_of(me: &Member, remains_of: &[Inc], inc: &Inc) -> Holding {
    if me.inc == *inc {
        Holding::All
    } else if remains_of.contains(inc) {
        Holding::Remains
    } else {
        Holding::Nothing
    }
}

/// What a replica has of the data by which a configuration names it.
pub(crate) fn holding(me: &Member, remains_of: &[Inc], configuration: &Configuration) -> Holding {
    configuration.entry(&me.name).map_or(Holding::Nothing, |entry| holding_of(me, remains_of, &entry.inc))
}

fn all_answered(configuration: &Configuration, free: &BTreeMap<Name, Holding>) -> bool {
    configuration.isr.iter().all(|copy| free.contains_key(&copy.name))
}

impl Options {
    pub(crate) fn reporters(&self, configuration: &Configuration) -> usize {
        let need = configuration.reporters();
        if self.has(Bug::ReportsMissing) { (need - 1).max(1) } else { need }
    }
}

impl Replica {
    /// Until when no election may be begun, by what was granted.
    pub(crate) fn bound_until_us(&self) -> u64 {
        if self.options.has(Bug::IgnoresOwnGrant) { 0 } else { self.vow.bound_until_us() }
    }

    pub(crate) fn tick_backup(&mut self) {
        let now_us = self.now_us;
        let retry_us = self.options.retry_us;
        let bound_until_us = self.bound_until_us();
        let Role::Backup(backup) = &mut self.role else { return };
        match &mut backup.election {
            Election::Off => {
                if now_us >= backup.patience_us.max(bound_until_us) && backup.office.is_none() {
                    backup.election = Election::Looking;
                    self.desk.read(now_us, &mut self.ready);
                }
            }
            Election::Looking => {
                if self.desk.due_us(Kind::Read, retry_us) <= now_us {
                    self.desk.read(now_us, &mut self.ready);
                }
            }
            Election::Canvassing { until_us, .. } => {
                if *until_us <= now_us {
                    self.conclude_canvass();
                }
            }
            Election::Promising { .. } => {}
            Election::Standing(stand) => {
                let is_open = self.desk.is_open(Kind::CompareAndSet);
                let is_due = !is_open && self.desk.due_us(Kind::CompareAndSet, retry_us) <= now_us;
                if stand.is_taking() && is_due {
                    self.repeat_taking();
                }
                if self.desk.due_us(Kind::Read, 4 * retry_us) <= now_us {
                    self.desk.read(now_us, &mut self.ready);
                }
                self.look_at_candidates();
                self.decide();
            }
        }
    }

    /// What was read decides, if it is newer than what this attempt goes by.
    pub(crate) fn backup_reads(&mut self, register: Register) {
        if self.is_named_anew(&register) {
            return self.prepare_office(register);
        }
        let Role::Backup(backup) = &mut self.role else { return };
        if matches!(backup.election, Election::Looking) {
            return self.consider(register);
        }
        let Some(known) = backup.election.register() else { return };
        let counts = holding(&self.me, &self.remains_of, &register.configuration) != Holding::Nothing;
        if let (Election::Standing(_), false, Some((name, _))) = (&backup.election, counts, &register.primary)
            && *name != self.me.name
        {
            // Removed while it stood: whoever leads takes a new epoch, so that this one can follow.
            self.ready.messages.push(Message {
                from: self.me.clone(),
                to: name.clone(),
                epoch: self.vow.kept.epoch,
                body: Body::Join,
            });
        }
        if register.version <= known.version {
            return;
        }
        if register.epoch > known.epoch {
            // Somebody has won.
            self.ordered_until_us = None;
            return self.await_primary(&register);
        }
        // The old primary, or an operator, has changed something else. Whoever was passed over gets another chance.
        match &mut backup.election {
            Election::Standing(stand) => {
                stand.restart(register);
                self.desk.give_up(Kind::CompareAndSet);
                self.decide();
            }
            Election::Promising { register: known } => *known = register,
            _ => self.end_election(),
        }
    }

    /// The register as it was read after no primary was heard.
    fn consider(&mut self, register: Register) {
        let Role::Backup(backup) = &mut self.role else { return };
        if register.epoch > self.vow.made.epoch && register.epoch > backup.seen_epoch {
            return self.await_primary(&register);
        }
        let configuration = &register.configuration;
        let holds = match holding(&self.me, &self.remains_of, configuration) {
            _ if self.options.has(Bug::BareNames) && configuration.entry(&self.me.name).is_some() => {
                Holding::All
            }
            holds => holds,
        };
        if holds == Holding::Nothing && self.ordered_until_us.is_none() {
            // Not in sync: whoever leads may take it in.
            return self.await_primary(&register);
        }
        let nonce = self.nonce();
        let until_us = self.now_us + self.options.canvass_us;
        let epoch = register.epoch + 1;
        let is_alone = configuration.isr.iter().all(|copy| copy.name == self.me.name);
        for copy in register.configuration.isr.clone() {
            if copy.name != self.me.name {
                self.send(&copy.name, epoch, Body::Canvass { nonce, inc: copy.inc });
            }
        }
        let free = BTreeMap::from([(self.me.name.clone(), holds)]);
        let Role::Backup(backup) = &mut self.role else { return };
        backup.election = Election::Canvassing { register, nonce, free, until_us };
        if is_alone {
            self.conclude_canvass();
        }
    }

    /// Another leads, or did when the register was read: gives it time to be heard, and lets itself be known.
    fn await_primary(&mut self, register: &Register) {
        self.end_election();
        let patience_us = self.now_us + self.options.lease_us + self.spread_us();
        let Role::Backup(backup) = &mut self.role else { return };
        backup.seen_epoch = backup.seen_epoch.max(register.epoch);
        backup.patience_us = patience_us;
        if let Some((name, _)) = &register.primary
            && *name != self.me.name
        {
            // The vow goes along, so that a primary below it knows that it is over.
            self.send(name, self.vow.kept.epoch, Body::Join);
        }
    }

    pub(crate) fn end_election(&mut self) {
        let Role::Backup(backup) = &mut self.role else { return };
        backup.election = Election::Off;
        for kind in [Kind::CompareAndSet, Kind::Stand, Kind::Candidates] {
            self.desk.give_up(kind);
        }
    }

    /// Rule 6: is this replica, as far as it knows, bound to a primary?
    pub(crate) fn hear_canvass(&mut self, from: &Member, epoch: u64, nonce: u64, inc: &Inc) {
        let (now_us, bound_until_us) = (self.now_us, self.bound_until_us());
        let wait_us = match &mut self.role {
            Role::Primary(primary) if primary.epoch < epoch && primary.leaving.is_some() => 0,
            Role::Primary(_) => self.options.lease_us,
            Role::Backup(backup) => {
                let own_us = if now_us < backup.office_until_us { self.options.lease_us } else { 0 };
                let wait_us = bound_until_us.saturating_sub(now_us).max(own_us);
                if wait_us == 0 && !backup.election.is_on() && backup.office.is_none() {
                    // Another has waited long enough, so this one need not wait longer by chance.
                    backup.patience_us = backup.patience_us.min(now_us);
                }
                wait_us
            }
        };
        let holds = holding_of(&self.me, &self.remains_of, inc);
        self.send(&from.name, epoch, Body::Canvassed { nonce, wait_us, holds });
    }

    pub(crate) fn hear_canvassed(&mut self, from: &Member, nonce: u64, wait_us: u64, holds: Holding) {
        let trusts_names = self.options.has(Bug::BareNames);
        let spread_us = self.spread_us();
        let Role::Backup(backup) = &mut self.role else { return };
        let Election::Canvassing { register, nonce: asked, free, .. } = &mut backup.election else { return };
        if *asked != nonce {
            return;
        }
        if wait_us > 0 {
            backup.patience_us = self.now_us + wait_us.min(self.options.lease_us) + spread_us / 4;
            return self.end_election();
        }
        let holds = if trusts_names { Holding::All } else { holds };
        if register.configuration.entry(&from.name).is_some() && holds != Holding::Nothing {
            free.insert(from.name.clone(), holds);
        }
        if all_answered(&register.configuration, free) {
            self.conclude_canvass();
        }
    }

    /// Promises only if an election can succeed: with fewer it would only stop a primary that others still hear.
    fn conclude_canvass(&mut self) {
        let patience_us = self.now_us + self.options.canvass_us + self.spread_us();
        let bound = self.bound_until_us() > self.now_us;
        let Role::Backup(backup) = &mut self.role else { return };
        let Election::Canvassing { register, free, .. } = &backup.election else { return };
        let epoch = register.epoch + 1;
        let whole = free.values().filter(|holds| **holds == Holding::All).count();
        let enough = whole >= self.options.reporters(&register.configuration)
            || all_answered(&register.configuration, free)
            || self.ordered_until_us.is_some();
        if !enough || bound || epoch < self.vow.made.epoch {
            backup.patience_us = patience_us;
            return self.end_election();
        }
        backup.election = Election::Promising { register: register.clone() };
        self.follow_nobody();
        if self.options.has(Bug::ReportsUnpromised) {
            self.vow.made.epoch = epoch;
            self.vow.kept.epoch = epoch;
        }
        if !self.vow.keeps(epoch) {
            self.promise(epoch);
        }
        self.stand_if_promised();
    }
}
