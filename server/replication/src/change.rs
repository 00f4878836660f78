//! Change: what a primary writes into the register. Reconfiguration (rule 4) and resignation (rule 9), one at a time,
//! repeated with the same expected version until the outcome is known.

use crate::{
    bug::Bug,
    desk::Kind,
    member::{Member, Name},
    message::Body,
    peer::{Flow, Peer},
    primary::Primary,
    ready::{Answer, Ask, Refusal},
    register::{Ack, Configuration, Register},
    replica::{Replica, Role},
};

/// Handing the lead over. From its beginning this primary serves nothing for good in its epoch.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    pub to: Member,
    pub since_us: u64,
    /// The compare-and-set has been asked for, and may be done at any time from now on.
    pub asked: bool,
}

/// What an operator asked for, and until when it is remembered.
#[derive(Clone, Debug)]
pub(crate) struct Wish<T> {
    pub what: T,
    pub until_us: u64,
}

/// A change that drops members, and may not be sent yet. Under `interval` durability those that stay may hold records which
/// they have just got and not synced, and which are old and synced on the one that goes. So first w members of the new
/// configuration sync up to `floor`; and since that takes a while, what comes behind is committed in both configurations
/// meanwhile, so that w members of the new one have it in time.
#[derive(Clone, Debug)]
pub(crate) struct Prospect {
    pub configuration: Configuration,
    pub floor: u64,
}

fn nobody_else(configuration: &Configuration) -> Refusal {
    let have = configuration.isr.len();
    Refusal::ReadOnly { have, need: have + 1 }
}

impl Replica {
    /// An operator wishes another `ack`. It is taken on as soon as rule 4 allows it: once w members as the new one counts
    /// them hold what is committed. What was not possible within [`Options::wish_us`](crate::Options::wish_us) is forgotten, and so is what this
    /// primary was asked for when it stops leading; the register tells what holds. Refused if it does not lead.
    pub fn wish_ack(&mut self, now_us: u64, ack: Ack) -> Result<(), Refusal> {
        self.wish(now_us, |primary, until_us| {
            primary.wished_ack = Some(Wish { what: ack, until_us });
            Ok(())
        })
    }

    /// An operator wishes another primary: the lead goes to it by rule 9 as soon as it keeps up, without the wait of
    /// [`Options::hand_back_after_us`](crate::Options::hand_back_after_us). Refused unless it is in sync. A wish for this very replica only takes an earlier one
    /// back. What was not possible within [`Options::wish_us`](crate::Options::wish_us) is forgotten. A `preferred` that the register still names
    /// then takes its turn, so an operator writes that first.
    pub fn wish_primary(&mut self, now_us: u64, name: &Name) -> Result<(), Refusal> {
        self.wish(now_us, |primary, until_us| {
            let configuration = &primary.confirmed.configuration;
            if configuration.entry(name).is_none() {
                return Err(nobody_else(configuration));
            }
            primary.wished_primary = Some(Wish { what: name.clone(), until_us });
            Ok(())
        })
    }

    /// This process is going to end: the lead shall go to whoever holds most. Returns to whom; refused if nobody else is
    /// in sync.
    pub fn wish_successor(&mut self, now_us: u64) -> Result<Name, Refusal> {
        let options = self.options.clone();
        self.wish(now_us, |primary, until_us| {
            let configuration = &primary.confirmed.configuration;
            let in_sync = primary.peers.values().filter(|peer| {
                configuration.counts(&peer.member.name, &peer.member.inc)
                    && peer.is_free()
                    && peer.is_close(now_us, &options)
            });
            let best = in_sync.max_by_key(|peer| peer.held).ok_or_else(|| nobody_else(configuration))?;
            let name = best.member.name.clone();
            primary.wished_primary = Some(Wish { what: name.clone(), until_us });
            Ok(name)
        })
    }

    /// `note` is told until when the wish is remembered.
    fn wish<T>(
        &mut self,
        now_us: u64,
        note: impl FnOnce(&mut Primary, u64) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let noted = self.input(now_us, |replica| match &mut replica.role {
            Role::Primary(primary) => note(primary, replica.now_us + replica.options.wish_us),
            Role::Backup(_) => Err(Refusal::NotPrimary),
        });
        noted.unwrap_or(Err(Refusal::NotPrimary))
    }

    /// Those that are fulfilled, or were not possible for too long.
    pub(crate) fn drop_wishes(&mut self) {
        let now_us = self.now_us;
        let Role::Primary(primary) = &mut self.role else { return };
        let ack = primary.pending.is_none().then_some(primary.confirmed.configuration.ack);
        primary.wished_ack.take_if(|wish| Some(wish.what) == ack || wish.until_us <= now_us);
        primary.wished_primary.take_if(|wish| wish.what == self.me.name || wish.until_us <= now_us);
    }

    /// The host finds that it cannot do a primary's work, as with a disk that does not finish: others are elected.
    pub fn give_up(&mut self, now_us: u64, why: &'static str) {
        self.input(now_us, |replica| {
            let patience_us = replica.now_us + 4 * replica.options.lease_us;
            replica.stop(why);
            if let Role::Backup(backup) = &mut replica.role {
                backup.patience_us = patience_us;
            }
        });
    }

    pub(crate) fn change_if_due(&mut self) {
        let Role::Primary(primary) = &self.role else { return };
        if primary.pending.is_some() {
            return;
        }
        if primary.leaving.is_some() {
            return self.resign_if_due();
        }
        // A question of an earlier role may still be open; its slot is needed.
        if self.desk.is_open(Kind::CompareAndSet) {
            return;
        }
        if let Some(target) = self.next_configuration() {
            if self.is_synced(&target) {
                self.change(target);
            }
            return;
        }
        if self.drop_prospect() {
            // What waited for it need not any more.
            self.advance_commit();
            self.confirm_reads();
        }
        if let Some(to) = self.successor()
            && let Role::Primary(primary) = &mut self.role
            && primary.heir.as_ref() != Some(&to)
        {
            primary.heir = Some(to);
            self.read_register();
        }
    }

    fn drop_prospect(&mut self) -> bool {
        match &mut self.role {
            Role::Primary(primary) => primary.prospect.take().is_some(),
            Role::Backup(_) => false,
        }
    }

    /// Rule 4 under `interval` durability: whether a change may be sent as far as syncs go. If not yet, it is prepared.
    fn is_synced(&mut self, target: &Configuration) -> bool {
        let Role::Primary(primary) = &self.role else { return false };
        let stays = |copy: &Member| target.counts(&copy.name, &copy.inc);
        if primary.confirmed.configuration.isr.iter().all(stays) || self.options.has(Bug::ShrinksUnsynced) {
            self.drop_prospect();
            return true;
        }
        let known = primary.prospect.as_ref().filter(|prospect| prospect.configuration == *target);
        let floor = known.map_or(self.commit.max(primary.barrier), |prospect| prospect.floor);
        let synced = |copy: &Member| match primary.peers.get(&copy.name) {
            _ if copy.name == self.me.name => self.history.synced(),
            Some(peer) if peer.member.inc == copy.inc => peer.synced,
            _ => 0,
        };
        let (is_new, is_synced) = (known.is_none(), target.reached_by_holders(synced) >= floor);
        if is_synced {
            self.drop_prospect();
        } else if is_new && let Role::Primary(primary) = &mut self.role {
            primary.prospect = Some(Prospect { configuration: target.clone(), floor });
            self.ready.sync |= self.history.synced() < floor;
            self.heartbeat();
        }
        is_synced
    }

    /// The coordinator has just answered, so it is there to write the successor's name: only then this primary stops
    /// serving.
    fn leave_if_wished(&mut self) {
        let Role::Primary(primary) = &mut self.role else { return };
        let Some(heir) = primary.heir.take() else { return };
        let may_leave =
            primary.pending.is_none() && primary.leaving.is_none() && self.commit >= primary.barrier;
        // Much may have happened since it was chosen.
        if may_leave && (heir == self.me || self.successor().as_ref() == Some(&heir)) {
            self.leave(heir);
        }
    }

    /// What the configuration should be next; `None`: what it is.
    fn next_configuration(&self) -> Option<Configuration> {
        let Role::Primary(primary) = &self.role else { return None };
        let current = &primary.confirmed.configuration;
        let ack = primary.wished_ack.as_ref().map_or(current.ack, |wish| wish.what);
        if ack != current.ack {
            // What does not fit now may fit once the ISR has changed.
            let target = Configuration { ack, ..current.clone() };
            if self.guards(primary, &target) {
                return Some(target);
            }
        }
        let ack = current.ack;
        let stays = |copy: &&Member| copy.name == self.me.name || self.stays(primary, copy);
        if !current.isr.iter().all(|copy| stays(&copy)) {
            let isr = current.isr.iter().filter(stays).cloned().collect();
            let target = Configuration { isr, ack };
            return self.guards(primary, &target).then_some(target);
        }
        let joins = primary.peers.values().find(|peer| self.may_join(primary, peer));
        if let Some(peer) = joins {
            let mut target = current.clone();
            target.isr.push(peer.member.clone());
            return (self.guards(primary, &target) || self.options.has(Bug::GrowsUnguarded))
                .then_some(target);
        }
        self.refreshed(primary)
    }

    /// Whether another is still as the configuration names it, heard and keeping up.
    fn stays(&self, primary: &Primary, copy: &Member) -> bool {
        let now_us = self.now_us;
        primary.peers.get(&copy.name).is_some_and(|peer| {
            let is_absent = || peer.absent_at_us(&self.options).is_some_and(|at_us| at_us <= now_us);
            peer.member.inc == copy.inc
                && peer.is_sound()
                && now_us < peer.lost_at_us(&self.options)
                && (self.commit >= primary.barrier || !is_absent())
        })
    }

    /// Rule 4: w members of the new configuration hold everything up to the commit index; up to the barrier while that is
    /// not committed, for then the commit index may be behind what earlier primaries committed.
    fn guards(&self, primary: &Primary, target: &Configuration) -> bool {
        let floor = self.commit.max(primary.barrier);
        let held = |copy: &Member| match primary.peers.get(&copy.name) {
            _ if copy.name == self.me.name => self.history.durable(),
            Some(peer) if peer.member.inc == copy.inc => peer.held,
            _ => 0,
        };
        target.reached_by_holders(held) >= floor || self.options.has(Bug::ShrinksUnguarded)
    }

    /// Rules 4 and 7: it holds what is committed and keeps up, and the barrier is committed.
    fn may_join(&self, primary: &Primary, peer: &Peer) -> bool {
        let current = &primary.confirmed.configuration;
        if current.entry(&peer.member.name).is_some() || current.isr.len() >= primary.confirmed.replicas {
            return false;
        }
        if self.options.has(Bug::GrowsUnguarded) {
            return true;
        }
        self.commit >= primary.barrier
            && peer.held >= self.commit
            && peer.is_free()
            // Who has just caught up would be removed again at once, for how long it took.
            && self.now_us < peer.lost_at_us(&self.options)
            && peer.is_close(self.now_us, &self.options)
    }

    /// The same copies in the processes that have them now, for routes.
    fn refreshed(&self, primary: &Primary) -> Option<Configuration> {
        let current = &primary.confirmed.configuration;
        let process = |copy: &Member| match primary.peers.get(&copy.name) {
            _ if copy.name == self.me.name => Some(&self.me),
            Some(peer) if matches!(peer.flow, Flow::Streaming(_)) => Some(&peer.member),
            _ => None,
        };
        let present = |copy: &Member| {
            let process = process(copy).filter(|process| process.inc == copy.inc);
            process.map_or(&copy.run, |process| &process.run).clone()
        };
        if self.commit < primary.barrier || current.isr.iter().all(|copy| copy.run == present(copy)) {
            return None;
        }
        let isr = current.isr.iter().map(|copy| Member { run: present(copy), ..copy.clone() }).collect();
        let target = Configuration { isr, ack: current.ack };
        self.guards(primary, &target).then_some(target)
    }

    fn change(&mut self, configuration: Configuration) {
        let Role::Primary(primary) = &mut self.role else { return };
        let target = Register { configuration, ..primary.confirmed.clone() };
        // It counts from before it is sent.
        primary.pending = Some(target.clone());
        self.desk.ask(self.now_us, Kind::CompareAndSet, Ask::CompareAndSet(target), &mut self.ready);
    }

    /// Rule 9: who shall lead instead, now.
    fn successor(&self) -> Option<Member> {
        let Role::Primary(primary) = &self.role else { return None };
        let other = |name: &&Name| **name != self.me.name;
        let substitute = self.substitute(primary);
        let wished = substitute.as_ref().or(primary.wished_primary.as_ref().map(|wish| &wish.what));
        let name = wished.or(primary.confirmed.preferred.as_ref().filter(other))?;
        let peer = primary.peers.get(name)?;
        let steady_us = if wished.is_some() { 0 } else { self.options.hand_back_after_us };
        let is_steady = peer.steady_since_us.is_some_and(|since| since + steady_us <= self.now_us);
        let fits = primary.confirmed.configuration.counts(name, &peer.member.inc)
            && self.commit >= primary.barrier
            && is_steady
            && (peer.is_free() || substitute.is_some())
            && peer.is_close(self.now_us, &self.options);
        fits.then(|| peer.member.clone())
    }

    fn leave(&mut self, to: Member) {
        let now_us = self.now_us;
        let Role::Primary(primary) = &mut self.role else { return };
        primary.leaving = Some(Leaving { to, since_us: now_us, asked: false });
        if !self.options.has(Bug::ReadsWhileLeaving) {
            self.ready.reads_refused.extend(primary.reads.drain(..).map(|read| read.token));
        }
        self.resign_if_due();
    }

    /// Once the other holds the whole log; itself, for a new epoch, once all of it is committed, so that no write ends as
    /// unknown. If that takes too long the shard elects somebody.
    fn resign_if_due(&mut self) {
        let last = self.history.last().index;
        let Role::Primary(primary) = &mut self.role else { return };
        let Some(leaving) = &mut primary.leaving else { return };
        if leaving.since_us + self.options.hand_back_us <= self.now_us {
            return self.stop("could not hand the lead over in time");
        }
        let holds = match primary.peers.get(&leaving.to.name) {
            Some(peer) => peer.member.inc == leaving.to.inc && peer.held >= last,
            None => leaving.to == self.me && self.commit >= last,
        };
        if (!holds && !self.options.has(Bug::LeavesEarly)) || leaving.asked {
            return;
        }
        leaving.asked = true;
        self.repeat_change();
    }

    /// Rule 4: the same again, on the same version.
    pub(crate) fn repeat_change(&mut self) {
        let Role::Primary(primary) = &self.role else { return };
        let target = match (&primary.pending, &primary.leaving) {
            (Some(target), _) => target.clone(),
            (None, Some(leaving)) => Register {
                epoch: primary.epoch + 1,
                primary: Some((leaving.to.name.clone(), leaving.to.run.clone())),
                ..primary.confirmed.clone()
            },
            (None, None) => return,
        };
        self.desk.ask(self.now_us, Kind::CompareAndSet, Ask::CompareAndSet(target), &mut self.ready);
        self.read_register();
    }

    pub(crate) fn change_written(&mut self, answer: Answer) {
        let Role::Primary(primary) = &mut self.role else { return };
        match answer {
            Answer::Written(version) if primary.pending.is_some() => {
                if let Some(target) = primary.pending.take() {
                    primary.confirmed = Register { version, ..target };
                }
                self.change_settled();
            }
            Answer::Written(version) => {
                let epoch = primary.epoch + 1;
                let named = primary.leaving.as_ref().map(|leaving| &leaving.to);
                let named = named.map(|to| (to.name.clone(), to.run.clone()));
                let register = Register { version, epoch, primary: named, ..primary.confirmed.clone() };
                self.resigned(register);
            }
            // An earlier attempt may be what made the version another.
            _ => self.read_register(),
        }
    }

    fn change_settled(&mut self) {
        let Role::Primary(primary) = &mut self.role else { return };
        self.desk.learn(&primary.confirmed);
        // Whoever has joined shall know it, and grant, at once.
        primary.heartbeat_due_us = self.now_us;
    }

    fn resigned(&mut self, register: Register) {
        let Role::Primary(primary) = &self.role else { return };
        let Some(leaving) = &primary.leaving else { return };
        let (to, epoch) = (leaving.to.clone(), primary.epoch + 1);
        if to == self.me {
            self.stop("goes on in a new epoch");
            return self.prepare_office(register);
        }
        self.send(&to.name, epoch, Body::Yielded);
        self.stop("handed the lead over");
    }

    /// Rules 1 and 4: what the register says decides. An older or the same version proves nothing.
    pub(crate) fn primary_reads(&mut self, register: Register) {
        let Role::Primary(primary) = &mut self.role else { return };
        if register.version == primary.confirmed.version && self.options.has(Bug::ReadProvesFailure) {
            primary.pending = None;
        }
        if register.version <= primary.confirmed.version {
            return self.leave_if_wished();
        }
        let is_resumed = self.options.has(Bug::ResumesEpoch) && register.epoch == primary.epoch;
        if register.epoch != primary.epoch || (!register.names(&self.me) && !is_resumed) {
            let is_resigned =
                primary.leaving.as_ref().is_some_and(|leaving| leaving.asked && register.names(&leaving.to));
            return if is_resigned {
                self.resigned(register)
            } else {
                self.stop("the register names another primary")
            };
        }
        // Whatever made the version grow, our change has either been it or cannot be done any more; the register holds
        // what came of it. Nobody but the primary changes who counts.
        let counts_like = |known: &Register| register.configuration.counts_like(&known.configuration);
        if !counts_like(&primary.confirmed) && !primary.pending.as_ref().is_some_and(counts_like) {
            return self.stop("the configuration was changed by another than the primary");
        }
        if !self.options.has(Bug::RepeatsVersion) {
            primary.pending = None;
        }
        primary.confirmed = register;
        if let Some(leaving) = &mut primary.leaving {
            // Lost to an operator's edit: repeated on the new version.
            leaving.asked = false;
        }
        self.desk.give_up(Kind::CompareAndSet);
        self.change_settled();
        self.leave_if_wished();
    }
}
