//! Health: what follows when the data of replicas differs, or rows of one have rotted.
//!
//! Nobody gives its data up by itself, for it may be the only one that has some rows right. A backup whose data is in doubt
//! is a *suspect*; the primary then reads all of its own rows first, and only if they are what they should be is the suspect
//! removed from the ISR (rule 4, so the rest holds what is committed) and told to give up its data. A primary that is
//! *unfit*, because its rows have rotted or most others agree on other data, tells nobody to; it hands the lead to one
//! that is not in doubt, and is a suspect there. Without such a one it goes on, and says so ([`Trouble`]).
//!
//! Of two replicas that differ, both read their rows. If those of one have rotted the other keeps its data; if neither's
//! have, the primary does, since what it holds is what clients have been told; if both's have, both do, and people must
//! decide.

use std::{collections::VecDeque, fmt};

use crate::{
    check::{Check, Health, Order, Verdict, judge},
    member::{Member, Name},
    options::{CHECK_COUNT_MAX, Options},
    peer::{Flow, Peer},
    primary::Primary,
    replica::{Replica, Role},
};

/// What a replica knows of its own data.
#[derive(Clone, Debug, Default)]
pub(crate) struct Care {
    /// The last checks.
    checks: VecDeque<Check>,
    rotten: bool,
    /// The reading that was asked for, and the last that found everything well.
    asked: u64,
    read: u64,
    different: u64,
    /// Something of this has changed, or of what peers say.
    has_news: bool,
}

/// What a primary makes of the data of its shard, in its epoch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// Index of the last CHECK, and when it was logged.
    logged: u64,
    logged_us: u64,
    /// Since when some differ, and others have not spoken.
    differs_since_us: Option<u64>,
    /// Most others agree on other data.
    outvoted: bool,
    /// The reading of all rows that decides about suspects; 0: none has been needed.
    reading: u64,
    /// A suspect that it does not decide about.
    has_new: bool,
    /// Who was told to give its data up. What comes in its place is a copy of this data, and not what the log would make of
    /// it, for then the two would differ again.
    owed: Vec<Name>,
}

/// What is held against a peer's data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doubt {
    /// Nothing.
    #[default]
    Free,
    /// It differs, or its rows have rotted; whether the primary's are any better is not known.
    Suspect,
    /// It differs from what most agree on: it counts for nothing any more.
    Outvoted,
    /// The same, and the primary's own rows are what they should be: it is to be given up.
    Condemned,
}

/// What is wrong with a replica's data, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its rows have rotted, and nobody else can lead.
    RottenAlone,
    /// Most others agree on other data, and none of them can lead.
    OutvotedAlone,
    /// Its rows have rotted; it waits until the primary knows its own to be well.
    Rotten,
    /// Others differ: all of its rows are being read.
    Reading,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::RottenAlone => "rows have rotted, and no other replica is fit to lead",
            Trouble::OutvotedAlone => "its data differs from that of most others, none of which can lead now",
            Trouble::Rotten => "rows have rotted; the data is copied anew once the primary has read its own",
            Trouble::Reading => "data of replicas differs or has rotted; all rows are being read",
        })
    }
}

impl Watch {
    pub fn new(now_us: u64) -> Self {
        Self { logged_us: now_us, ..Self::default() }
    }

    fn due_us(&self, options: &Options) -> u64 {
        // The first one follows soon: the predecessor may have been unfit.
        let after_us =
            if self.logged == 0 { options.check_us.min(options.silence_us) } else { options.check_us };
        self.logged_us + after_us
    }

    /// Whether this replica begins with a full copy, whatever the log holds.
    pub fn owes(&self, name: &Name) -> bool {
        self.owed.contains(name)
    }

    /// When whoever has not spoken is not waited for any more.
    pub fn late_at_us(&self, options: &Options) -> Option<u64> {
        self.differs_since_us.map(|since_us| since_us + 2 * options.silence_us)
    }
}

impl Peer {
    fn says(&self, check: &Check) -> Option<u64> {
        self.health.checked.filter(|said| said.at == check.at).map(|said| said.hash)
    }

    /// Whether it may count, join and follow.
    pub fn is_sound(&self) -> bool {
        !matches!(self.doubt, Doubt::Outvoted | Doubt::Condemned)
    }

    /// Whether nothing is known against its data.
    pub fn is_free(&self) -> bool {
        self.doubt == Doubt::Free && !self.health.rotten
    }
}

impl Replica {
    /// The host has applied a CHECK, and nothing behind it; this is what its data amounts to.
    pub fn checked(&mut self, now_us: u64, check: Check) {
        self.input(now_us, |replica| {
            if replica.care.checks.len() >= CHECK_COUNT_MAX {
                replica.care.checks.pop_front();
            }
            replica.care.checks.push_back(check);
            replica.care.has_news = true;
        });
    }

    /// The host has found rows that are not what was written.
    pub fn found_rotten(&mut self, now_us: u64) {
        self.input(now_us, |replica| {
            replica.care.rotten = true;
            replica.care.has_news = true;
        });
    }

    /// The reading of all rows that the host is to make, as fast as the work beside it allows. Whatever it reads must have been
    /// read after this was first returned.
    pub fn reading(&self) -> Option<u64> {
        let Care { asked, read, rotten, .. } = self.care;
        (asked != 0 && asked != read && !rotten && !self.halted).then_some(asked)
    }

    /// That reading is done, and every row is what it should be. Refused if some were found that are not.
    pub fn has_read(&mut self, now_us: u64, reading: u64) {
        self.input(now_us, |replica| {
            if replica.care.asked == reading && !replica.care.rotten {
                replica.care.read = reading;
                replica.care.has_news = true;
            }
        });
    }

    /// Whether the host shall log a CHECK now, under [`Replica::may_write_internal`]. Only with something to compare: others in
    /// sync, and something that was committed, or somebody who came, since the last one.
    pub fn is_check_due(&self) -> bool {
        let Role::Primary(primary) = &self.role else { return false };
        let watch = &primary.watch;
        if self.now_us < watch.due_us(&self.options) || !self.is_serving() {
            return false;
        }
        let in_sync = |peer: &&Peer| {
            primary.confirmed.configuration.counts(&peer.member.name, &peer.member.inc)
                && matches!(peer.flow, Flow::Streaming(_))
        };
        let mut others = primary.peers.values().filter(in_sync).peekable();
        let is_new = |peer: &Peer| peer.health.checked.is_none_or(|check| check.at.index < watch.logged);
        others.peek().is_some() && (self.commit > watch.logged || others.any(is_new))
    }

    /// The host has logged a CHECK as this record.
    pub fn check_logged(&mut self, now_us: u64, index: u64) {
        self.input(now_us, |replica| {
            if let Role::Primary(primary) = &mut replica.role {
                (primary.watch.logged, primary.watch.logged_us) = (index, replica.now_us);
            }
        });
    }

    /// What is wrong with the data here.
    pub fn trouble(&self) -> Option<Trouble> {
        match &self.role {
            Role::Primary(primary) if self.is_unfit(primary) => {
                let is_alone = primary.leaving.is_none() && self.substitute(primary).is_none();
                let why = if self.care.rotten { Trouble::RottenAlone } else { Trouble::OutvotedAlone };
                is_alone.then_some(why)
            }
            Role::Backup(_) if self.care.rotten => Some(Trouble::Rotten),
            _ => self.reading().map(|_| Trouble::Reading),
        }
    }

    /// How many copies, the own included, this replica has found to differ as a primary since this was called.
    pub fn take_different(&mut self) -> u64 {
        std::mem::take(&mut self.care.different)
    }

    /// Leads or follows another: what was asked for before is not asked for any more.
    pub(crate) fn forget_reading(&mut self) {
        self.care.asked = 0;
        self.care.has_news = true;
    }

    /// The data is another.
    pub(crate) fn forget_health(&mut self) {
        self.care = Care { different: self.care.different, ..Care::default() };
    }

    /// What a backup says.
    pub(crate) fn health(&self) -> Health {
        Health { checked: self.care.checks.back().copied(), read: self.care.read, rotten: self.care.rotten }
    }

    /// A peer has answered a heartbeat so.
    pub(crate) fn hear_health(&mut self, from: &Member, epoch: u64, sequence: u64, health: Health) {
        if let Some(peer) = self.peer(from, epoch)
            && peer.answered == sequence
        {
            let is_new = std::mem::replace(&mut peer.health, health) != health;
            self.care.has_news |= is_new;
        }
    }

    /// What a primary tells this peer.
    pub(crate) fn order(&self, primary: &Primary, peer: &Peer, counted: bool) -> Order {
        let is_given_up = peer.doubt == Doubt::Condemned && !counted && !self.is_unfit(primary);
        Order { read: primary.watch.reading, give_up: is_given_up.then(|| peer.member.inc.clone()) }
    }

    /// A backup is told so. Only data that no configuration names may go.
    pub(crate) fn hear_order(&mut self, order: &Order, counted: bool) {
        if order.give_up.as_ref() == Some(&self.me.inc) && !counted {
            self.halted = true;
            self.ready.discard = Some("it is not what the other replicas hold, or has rotted".into());
        }
        self.care.asked = order.read;
    }

    fn is_unfit(&self, primary: &Primary) -> bool {
        self.care.rotten || primary.watch.outvoted
    }

    /// Who shall lead in place of an unfit primary, now. `None`: it is fit, or nobody can.
    pub(crate) fn substitute(&self, primary: &Primary) -> Option<Name> {
        if !self.is_unfit(primary) {
            return None;
        }
        let may_lead = |peer: &&Peer| {
            // Of two that differ the one whose rows are what it says they are.
            let has_read = primary.watch.reading != 0 && peer.health.read == primary.watch.reading;
            let is_better = self.care.rotten && peer.doubt == Doubt::Suspect && has_read;
            (peer.is_free() || (is_better && !peer.health.rotten))
                && primary.confirmed.configuration.counts(&peer.member.name, &peer.member.inc)
                && peer.is_close(self.now_us, &self.options)
        };
        primary
            .peers
            .values()
            .filter(may_lead)
            .max_by_key(|peer| peer.held)
            .map(|peer| peer.member.name.clone())
    }

    /// After every input of a primary.
    pub(crate) fn examine(&mut self) {
        let now_us = self.now_us;
        let has_news = std::mem::take(&mut self.care.has_news);
        let Role::Primary(primary) = &mut self.role else { return };
        if !has_news && primary.watch.differs_since_us.is_none() {
            return;
        }
        let is_late = primary.watch.late_at_us(&self.options).is_some_and(|at_us| at_us <= now_us);
        let mut waits = false;
        for check in &self.care.checks {
            waits |= compare(primary, check, is_late, &mut self.care.different);
        }
        match waits {
            true => _ = primary.watch.differs_since_us.get_or_insert(now_us),
            false => primary.watch.differs_since_us = None,
        }
        for peer in primary.peers.values_mut().filter(|peer| peer.health.rotten) {
            primary.watch.has_new |= peer.doubt == Doubt::Free;
            peer.doubt = peer.doubt.max(Doubt::Suspect);
        }
        self.decide_about_suspects();
    }

    fn decide_about_suspects(&mut self) {
        let Role::Primary(primary) = &mut self.role else { return };
        if std::mem::take(&mut primary.watch.has_new) {
            let reading = self.nonce().max(1);
            self.care.asked = reading;
            let Role::Primary(primary) = &mut self.role else { return };
            primary.watch.reading = reading;
            return;
        }
        let has_read = primary.watch.reading != 0 && primary.watch.reading == self.care.read;
        if !has_read || self.care.rotten || primary.watch.outvoted {
            return;
        }
        for (name, peer) in primary.peers.iter_mut().filter(|(_, peer)| peer.doubt != Doubt::Free) {
            peer.doubt = Doubt::Condemned;
            if !primary.watch.owes(name) {
                primary.watch.owed.push(name.clone());
            }
        }
    }
}

/// Compares what others say of one check with the own. Returns whether some differ about whom nothing can be said yet.
fn compare(primary: &mut Primary, check: &Check, is_late: bool, different: &mut u64) -> bool {
    if primary.watch.outvoted {
        return false;
    }
    let isr = &primary.confirmed.configuration.isr;
    let in_sync = isr.iter().filter_map(|copy| {
        primary.peers.get(&copy.name).filter(|peer| peer.member.inc == copy.inc && peer.is_sound())
    });
    let votes: Vec<Option<u64>> = in_sync.map(|peer| peer.says(check)).collect();
    let right = match judge(check.hash, &votes, is_late) {
        Verdict::Waiting => return true,
        Verdict::Theirs(hash) => {
            primary.watch.outvoted = true;
            *different += 1;
            hash
        }
        Verdict::Same | Verdict::Own | Verdict::Open => check.hash,
    };
    // A tie or a copy alone proves nothing.
    let is_sure = !primary.watch.outvoted
        && judge(check.hash, &votes, is_late) != Verdict::Open
        && votes.contains(&Some(check.hash));
    let doubt = if is_sure { Doubt::Outvoted } else { Doubt::Suspect };
    let differs = |peer: &&mut Peer| peer.says(check).is_some_and(|hash| hash != right);
    for peer in primary.peers.values_mut().filter(differs) {
        if peer.doubt == Doubt::Free {
            primary.watch.has_new = true;
            *different += 1;
        }
        peer.doubt = peer.doubt.max(doubt);
    }
    false
}
