//! Election: what a replica does when no primary is heard (rule 6). It reads the register, asks whether a promise to the
//! last primary still holds (pre-vote), promises the next epoch, reports its log end, and takes the shard by
//! compare-and-set if of enough reports its own is the highest.

use std::collections::BTreeSet;

use crate::{
    bug::Bug,
    desk::Kind,
    member::{Member, Name},
    message::{Body, Message},
    options::Options,
    ready::{Answer, Ask, Candidate},
    register::{Configuration, Register},
    replica::{Replica, Role},
};

/// How far it is.
#[derive(Clone, Debug, Default)]
pub(crate) enum Election {
    /// None is on.
    #[default]
    Off,
    /// The register is being read.
    Looking,
    /// Asks the others whether they are bound.
    Canvassing { register: Register, nonce: u64, free: BTreeSet<Name>, until_us: u64 },
    /// The promise is being written.
    Promising { register: Register },
    /// Reports, and looks at the reports.
    Standing(Box<Stand>),
}

/// Standing for the epoch after the register's.
#[derive(Clone, Debug)]
pub(crate) struct Stand {
    pub register: Register,
    /// The own report is among the candidates.
    stood: bool,
    candidates: Vec<Candidate>,
    /// Who is to act, and since when.
    best: Option<(Member, u64)>,
    /// Whether there are reports enough without that one's.
    is_spare: bool,
    /// Those who did not.
    passed: Vec<Member>,
    /// The compare-and-set that would make this process the primary: from when it is sent until its outcome is known.
    taking: Option<Register>,
}

impl Stand {
    pub fn has_stood(&self) -> bool {
        self.stood
    }

    /// A compare-and-set whose outcome is not known would make this process the primary.
    pub fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    /// When another, who is to act, will be passed over.
    pub fn pass_over_at_us(&self, options: &Options) -> Option<u64> {
        let since_us = self.best.as_ref().filter(|_| self.is_spare).map(|(_, since_us)| since_us);
        since_us.map(|since_us| since_us + options.pass_over_us)
    }
}

impl Election {
    pub fn is_on(&self) -> bool {
        !matches!(self, Election::Off)
    }

    /// Reports there are and reports needed.
    pub fn reports(&self) -> (usize, usize) {
        match self {
            Election::Off | Election::Looking => (0, 1),
            Election::Canvassing { register, free, .. } => (free.len(), register.configuration.reporters()),
            Election::Promising { register } => (1, register.configuration.reporters()),
            Election::Standing(stand) => {
                let reports = counted(&stand.register.configuration, &stand.candidates, None).len();
                (reports, stand.register.configuration.reporters())
            }
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

/// The reports that count: one per name, of the data that the configuration names, in the order they were made. Of several
/// by one name the last: its data has not changed between them, and which of its processes lives is not known here.
fn counted<'a>(
    configuration: &Configuration,
    candidates: &'a [Candidate],
    bug: Option<Bug>,
) -> Vec<&'a Candidate> {
    let counts = |member: &Member| match bug {
        Some(Bug::BareNames) => configuration.entry(&member.name).is_some(),
        _ => configuration.counts(&member.name, &member.inc),
    };
    let mut reports: Vec<&Candidate> = Vec::new();
    for candidate in candidates.iter().filter(|candidate| counts(&candidate.member)) {
        match reports.iter_mut().find(|known| known.member.name == candidate.member.name) {
            Some(known) => *known = candidate,
            None => reports.push(candidate),
        }
    }
    reports
}

/// Whose log is the highest; of equal ones the first.
fn highest(reports: &[&Candidate], bug: Option<Bug>) -> Member {
    let mut best = reports[0];
    for report in &reports[1..] {
        let wins = match bug {
            Some(Bug::LowestElected) => report.last < best.last,
            _ => report.last > best.last,
        };
        if wins {
            best = report;
        }
    }
    best.member.clone()
}

impl Options {
    fn reporters(&self, configuration: &Configuration) -> usize {
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
                if stand.taking.is_some() && is_due {
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
        let counts = register.configuration.counts(&self.me.name, &self.me.inc);
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
            return self.await_primary(&register);
        }
        // The old primary, or an operator, has changed something else. Whoever was passed over gets another chance.
        match &mut backup.election {
            Election::Standing(stand) => {
                stand.register = register;
                stand.passed.clear();
                stand.best = None;
                stand.taking = None;
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
        let counts = configuration.counts(&self.me.name, &self.me.inc)
            || (self.options.has(Bug::BareNames) && configuration.entry(&self.me.name).is_some());
        if !counts {
            // Not in sync: whoever leads may take it in.
            return self.await_primary(&register);
        }
        let nonce = self.nonce();
        let until_us = self.now_us + self.options.canvass_us;
        let others: Vec<Name> = configuration
            .isr
            .iter()
            .filter(|copy| copy.name != self.me.name)
            .map(|copy| copy.name.clone())
            .collect();
        let epoch = register.epoch + 1;
        for name in &others {
            self.send(name, epoch, Body::Canvass { nonce });
        }
        let free = BTreeSet::from([self.me.name.clone()]);
        let Role::Backup(backup) = &mut self.role else { return };
        backup.election = Election::Canvassing { register, nonce, free, until_us };
        if others.is_empty() {
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
    pub(crate) fn hear_canvass(&mut self, from: &Member, epoch: u64, nonce: u64) {
        let (now_us, bound_until_us) = (self.now_us, self.bound_until_us());
        let wait_us = match &mut self.role {
            Role::Primary(primary) if primary.epoch < epoch && primary.leaving.is_some() => 0,
            Role::Primary(_) => self.options.lease_us,
            Role::Backup(backup) => {
                let wait_us = bound_until_us.saturating_sub(now_us);
                if wait_us == 0 && !backup.election.is_on() && backup.office.is_none() {
                    // Another has waited long enough, so this one need not wait longer by chance.
                    backup.patience_us = backup.patience_us.min(now_us);
                }
                wait_us
            }
        };
        self.send(&from.name, epoch, Body::Canvassed { nonce, wait_us });
    }

    pub(crate) fn hear_canvassed(&mut self, from: &Member, nonce: u64, wait_us: u64) {
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
        if register.configuration.entry(&from.name).is_some() {
            free.insert(from.name.clone());
        }
        if free.len() == register.configuration.isr.len() {
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
        let enough = free.len() >= self.options.reporters(&register.configuration);
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

    /// Rule 2: reports only once the promise is durable, and everything that was being written before it.
    pub(crate) fn stand_if_promised(&mut self) {
        let Role::Backup(backup) = &mut self.role else { return };
        let Election::Promising { register } = &backup.election else { return };
        let epoch = register.epoch + 1;
        if !self.vow.keeps(epoch) {
            return;
        }
        backup.election = Election::Standing(Box::new(Stand {
            register: register.clone(),
            stood: false,
            candidates: Vec::new(),
            best: None,
            is_spare: false,
            passed: Vec::new(),
            taking: None,
        }));
        self.look_at_candidates();
    }

    /// Reports, if that is not done; else looks who has.
    pub(crate) fn look_at_candidates(&mut self) {
        let (now_us, retry_us) = (self.now_us, self.options.retry_us);
        let Role::Backup(backup) = &mut self.role else { return };
        let Election::Standing(stand) = &mut backup.election else { return };
        let epoch = stand.register.epoch + 1;
        if !stand.stood {
            if self.desk.due_us(Kind::Stand, retry_us) <= now_us {
                let candidate = Candidate { member: self.me.clone(), last: self.history.durable_last() };
                self.desk.ask(now_us, Kind::Stand, Ask::Stand(epoch, candidate), &mut self.ready);
            }
        } else if self.desk.due_us(Kind::Candidates, retry_us) <= now_us {
            self.desk.ask(now_us, Kind::Candidates, Ask::Candidates(epoch), &mut self.ready);
        }
    }

    pub(crate) fn stands(&mut self) {
        let Role::Backup(backup) = &mut self.role else { return };
        let Election::Standing(stand) = &mut backup.election else { return };
        stand.stood = true;
        let epoch = stand.register.epoch + 1;
        self.desk.ask(self.now_us, Kind::Candidates, Ask::Candidates(epoch), &mut self.ready);
    }

    pub(crate) fn candidates(&mut self, candidates: Vec<Candidate>) {
        let Role::Backup(backup) = &mut self.role else { return };
        let Election::Standing(stand) = &mut backup.election else { return };
        // The node goes with its session.
        stand.stood = candidates.iter().any(|candidate| candidate.member == self.me);
        stand.candidates = candidates;
        self.decide();
    }

    /// Rule 6: with enough reports the highest takes the shard, of equal ones the first.
    fn decide(&mut self) {
        let now_us = self.now_us;
        let bug = self.options.bug.filter(|bug| self.options.has(*bug));
        let Role::Backup(backup) = &mut self.role else { return };
        let Election::Standing(stand) = &mut backup.election else { return };
        if stand.taking.is_some() || backup.office.is_some() {
            return;
        }
        let configuration = &stand.register.configuration;
        let need = self.options.reporters(configuration);
        let mut reports = counted(configuration, &stand.candidates, bug);
        reports.retain(|candidate| !stand.passed.contains(&candidate.member));
        while reports.len() >= need {
            let best = highest(&reports, bug);
            // A report of this data by an earlier process is as good as the own one, and it may be the one that is seen.
            if best.is_copy(&self.me) {
                stand.best = None;
                let mut target = stand.register.clone();
                target.epoch += 1;
                target.primary = Some((self.me.name.clone(), self.me.run.clone()));
                if bug == Some(Bug::IsrOfReporters) {
                    target.configuration.isr = reports.iter().map(|report| report.member.clone()).collect();
                }
                stand.taking = Some(target.clone());
                return self.desk.ask(
                    now_us,
                    Kind::CompareAndSet,
                    Ask::CompareAndSet(target),
                    &mut self.ready,
                );
            }
            let since_us = match &stand.best {
                Some((member, since_us)) if *member == best => *since_us,
                _ => now_us,
            };
            stand.best = Some((best.clone(), since_us));
            // Any `need` of the reports decide rightly, with or without this one.
            stand.is_spare = reports.len() > need;
            if stand.pass_over_at_us(&self.options).is_none_or(|at_us| at_us > now_us) {
                return;
            }
            reports.retain(|candidate| candidate.member != best);
            stand.passed.push(best);
        }
        stand.best = None;
    }

    fn repeat_taking(&mut self) {
        let Role::Backup(backup) = &mut self.role else { return };
        let Election::Standing(stand) = &backup.election else { return };
        let Some(target) = stand.taking.clone() else { return };
        self.desk.ask(self.now_us, Kind::CompareAndSet, Ask::CompareAndSet(target), &mut self.ready);
        self.read_register();
    }

    pub(crate) fn election_written(&mut self, answer: Answer) {
        let Role::Backup(backup) = &mut self.role else { return };
        let Election::Standing(stand) = &mut backup.election else { return };
        match (answer, stand.taking.take()) {
            (Answer::Written(version), Some(target)) => {
                let register = Register { version, ..target };
                self.desk.learn(&register);
                self.prepare_office(register);
            }
            (_, taking) => {
                // Another was first, or an earlier attempt of this one.
                stand.taking = taking;
                self.read_register();
            }
        }
    }
}
