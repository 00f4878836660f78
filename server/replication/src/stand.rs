//! Stand: a replica that has promised the next epoch reports its log end, and takes the shard by compare-and-set if of
//! enough reports its own is the highest (rule 6).
//!
//! Enough are n - w + 1 of members whose data is *whole*: it is what the configuration names. Under `interval` durability
//! an unclean stop may take a tail that was acked and not synced; what is left then *remains* of that data, under a new
//! incarnation, and does not count. Once w of n have stopped so there will never be enough. Then the reports of *all* n
//! decide, whole or not. A record is lost only if each of the w that held it lost it, so each within the interval after it
//! came: any that has it still reports, and the highest log holds it. Fewer than all may miss just that one, since those
//! that lost the record need not have stopped at the same time. For this, w members of the configuration must have each
//! record synced, or have got it before it was committed; rule 4's guard sees to that when members are dropped
//! (`Prospect` in `change.rs`), and a winner by remains syncs its log before it takes the shard. Adding members, or another
//! `ack`, drops none. The winner alone is the new ISR: it may be the only one
//! that holds what w others held before, so nobody else may be elected until others have caught up.
//!
//! The register keeps the epoch that began so. A replica that knows a record as committed which the log of such an epoch
//! does not have is not wrong: it discards its data ([`Ready::discard`](crate::Ready::discard)).

use crate::{
    bug::Bug,
    desk::Kind,
    election::Election,
    member::{Inc, Member},
    options::Options,
    ready::{Answer, Ask, Candidate},
    register::{Configuration, Register},
    replica::{Replica, Role},
};

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
    /// Since when.
    pub since_us: u64,
    /// Of what its log holds a sync was asked for.
    asked_sync: bool,
}

impl Stand {
    fn new(register: Register, since_us: u64) -> Self {
        Self {
            register,
            stood: false,
            candidates: Vec::new(),
            best: None,
            is_spare: false,
            passed: Vec::new(),
            taking: None,
            since_us,
            asked_sync: false,
        }
    }

    /// The register has changed, and who leads has not. Whoever was passed over gets another chance.
    pub fn restart(&mut self, register: Register) {
        let candidates = std::mem::take(&mut self.candidates);
        *self = Self { stood: self.stood, candidates, ..Self::new(register, self.since_us) };
    }

    /// Reports there are and reports needed.
    pub fn reports(&self, me: &Member) -> (usize, usize) {
        let configuration = &self.register.configuration;
        let reports = reports(me, configuration, &self.candidates, None);
        match reports.iter().all(|report| report.is_whole) {
            true => (reports.len(), configuration.reporters()),
            false => (reports.len(), configuration.isr.len()),
        }
    }

    /// The data by which the register names this replica, if it is not its own.
    fn remains_of(&self, me: &Member) -> Option<Inc> {
        let entry = self.register.configuration.entry(&me.name)?;
        (entry.inc != me.inc).then(|| entry.inc.clone())
    }

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

/// What one member of the configuration has reported.
struct Report<'a> {
    candidate: &'a Candidate,
    is_whole: bool,
}

/// One report per member, in the order they were made. Of several by one member the last, for which of its processes
/// lives is not known here; but its own, if it is the one that asks, and once something is only what remains, not what
/// it was before.
fn reports<'a>(
    me: &Member,
    configuration: &Configuration,
    candidates: &'a [Candidate],
    bug: Option<Bug>,
) -> Vec<Report<'a>> {
    let mut reports: Vec<Report> = Vec::new();
    for candidate in candidates {
        let Some(entry) = configuration.entry(&candidate.member.name) else { continue };
        let is_whole = entry.inc == candidate.member.inc || bug == Some(Bug::BareNames);
        if !is_whole && candidate.remains_of.as_ref() != Some(&entry.inc) {
            continue;
        }
        let report = Report { candidate, is_whole };
        match reports.iter_mut().find(|known| known.candidate.member.name == candidate.member.name) {
            Some(known) if known.candidate.member == *me || (is_whole && !known.is_whole) => {}
            Some(known) => *known = report,
            None => reports.push(report),
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

/// Another is to act.
fn await_best(best: &mut Option<(Member, u64)>, member: &Member, now_us: u64) {
    if best.as_ref().is_none_or(|(known, _)| known != member) {
        *best = Some((member.clone(), now_us));
    }
}

impl Replica {
    /// Rule 2: reports only once the promise is durable, and everything that was being written before it.
    pub(crate) fn stand_if_promised(&mut self) {
        let Role::Backup(backup) = &mut self.role else { return };
        let Election::Promising { register } = &backup.election else { return };
        let epoch = register.epoch + 1;
        if !self.vow.keeps(epoch) {
            return;
        }
        backup.election = Election::Standing(Box::new(Stand::new(register.clone(), self.now_us)));
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
                let remains_of = stand.remains_of(&self.me);
                let candidate =
                    Candidate { member: self.me.clone(), last: self.history.durable_last(), remains_of };
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
        let remains_of = stand.remains_of(&self.me);
        let is_own = |report: &Candidate| report.member == self.me && report.remains_of == remains_of;
        stand.stood = candidates.iter().any(is_own);
        stand.candidates = candidates;
        self.decide();
    }

    /// Rule 6: with enough reports the highest takes the shard, of equal ones the first.
    pub(crate) fn decide(&mut self) {
        let now_us = self.now_us;
        let bug = self.options.bug.filter(|bug| self.options.has(*bug));
        let Role::Backup(backup) = &mut self.role else { return };
        let Election::Standing(stand) = &mut backup.election else { return };
        if stand.taking.is_some() || backup.office.is_some() {
            return;
        }
        let configuration = &stand.register.configuration;
        let need = self.options.reporters(configuration);
        let reports = reports(&self.me, configuration, &stand.candidates, bug);
        let whole = reports.iter().filter(|report| report.is_whole).map(|report| report.candidate);
        if whole.clone().count() < need {
            return self.decide_by_remains();
        }
        let has_not_passed = |candidate: &&Candidate| !stand.passed.contains(&candidate.member);
        let mut others: Vec<_> = whole.clone().filter(has_not_passed).collect();
        if others.len() < need {
            // A report is gone since, and whoever was passed over is needed.
            others = whole.collect();
            stand.passed.clear();
        }
        loop {
            let best = highest(&others, bug);
            // A report of this data by an earlier process is as good as the own one, and it may be the one that is seen.
            if best.is_copy(&self.me) {
                let mut target = stand.register.clone();
                if bug == Some(Bug::IsrOfReporters) {
                    target.configuration.isr = others.iter().map(|report| report.member.clone()).collect();
                }
                return self.take_shard(target);
            }
            // Any `need` of the reports decide rightly, with or without this one.
            stand.is_spare = others.len() > need;
            await_best(&mut stand.best, &best, now_us);
            if stand.pass_over_at_us(&self.options).is_none_or(|at_us| at_us > now_us) {
                return;
            }
            others.retain(|candidate| candidate.member != best);
            stand.passed.push(best);
        }
    }

    /// There will never be enough whole data again, if everybody has reported.
    fn decide_by_remains(&mut self) {
        let now_us = self.now_us;
        let bug = self.options.bug.filter(|bug| self.options.has(*bug));
        let Role::Backup(backup) = &mut self.role else { return };
        let Election::Standing(stand) = &mut backup.election else { return };
        let configuration = &stand.register.configuration;
        let reports = reports(&self.me, configuration, &stand.candidates, bug);
        let need = match bug {
            Some(Bug::LosesByQuorum) => configuration.reporters(),
            _ => configuration.isr.len(),
        };
        stand.is_spare = false;
        let all: Vec<_> = reports.iter().map(|report| report.candidate).collect();
        if all.len() < need {
            // An order is for when nothing else helps: others may be about to report.
            if self.ordered_until_us.is_none() || now_us < stand.since_us + self.options.pass_over_us {
                return;
            }
        } else {
            let best = highest(&all, bug);
            if !best.is_copy(&self.me) {
                return await_best(&mut stand.best, &best, now_us);
            }
        }
        if self.history.synced() < self.history.last().index && bug != Some(Bug::WinsUnsynced) {
            // It will be the only one, with records that are old and that it may have got just now.
            self.ready.sync |= !std::mem::replace(&mut stand.asked_sync, true);
            return;
        }
        let reporters = all.iter().map(|report| report.member.clone()).collect();
        let isr = if bug == Some(Bug::LosesWithIsr) { reporters } else { vec![self.me.clone()] };
        let target = Register {
            configuration: Configuration { isr, ..*configuration },
            loss_epoch: stand.register.epoch + 1,
            ..stand.register.clone()
        };
        self.take_shard(target);
    }

    /// An operator gives up what only the other members hold: this replica shall take the shard by its own report alone, in
    /// sync or not, as if the rest were gone for good. That is theirs to be sure of: while a primary that cannot be reached
    /// goes on, what it acknowledges is lost, and what it answers may be old. Records that only others hold are lost; their
    /// data is discarded when they come back ([`Register::loss_epoch`]). Of several survivors the one to name is that with the
    /// highest [`Status::last`](crate::Status::last).
    ///
    /// It does not happen while this replica, or a member that can be reached, is bound to a primary, or enough members
    /// report. Before the compare-and-set is sent it is forgotten after [`Options::wish_us`]; and when the register names
    /// somebody else. `false`: this replica leads, or hears who does.
    pub fn order_takeover(&mut self, now_us: u64) -> bool {
        let ordered = self.input(now_us, |replica| {
            let now_us = replica.now_us;
            let Role::Backup(backup) = &mut replica.role else { return false };
            if backup.hears(now_us, &replica.options) {
                return false;
            }
            backup.patience_us = backup.patience_us.min(now_us);
            replica.ordered_until_us = Some(now_us + replica.options.wish_us);
            replica.decide();
            true
        });
        ordered.unwrap_or(false)
    }

    fn take_shard(&mut self, target: Register) {
        let Role::Backup(backup) = &mut self.role else { return };
        let Election::Standing(stand) = &mut backup.election else { return };
        let primary = Some((self.me.name.clone(), self.me.run.clone()));
        let target = Register { epoch: target.epoch + 1, primary, ..target };
        stand.best = None;
        stand.taking = Some(target.clone());
        self.desk.ask(self.now_us, Kind::CompareAndSet, Ask::CompareAndSet(target), &mut self.ready);
    }

    pub(crate) fn repeat_taking(&mut self) {
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
