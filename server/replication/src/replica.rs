//! Replica: one copy of a shard, its inputs and its outputs. What an input means depends on the role; the roles are in
//! `backup.rs` with `election.rs`, and `primary.rs` with `change.rs` and `reads.rs`. A role is left in one way only
//! (`Replica::stop`) and taken in one way only (`office.rs`).

use std::collections::VecDeque;

use crate::{
    backup::{Backup, Beat},
    bug::Bug,
    desk::{Desk, Kind},
    fresh::Fresh,
    health::Care,
    history::History,
    member::{Inc, Member, Name},
    message::{Body, Message},
    options::Options,
    primary::Primary,
    ready::{Answer, Ready, Stopped},
    register::Register,
    status::{Standing, Status},
    vow::{Promise, Vow},
    writes::Effect,
};

/// What a process starts with.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its name, its data, and itself.
    pub member: Member,
    /// The incarnations that this data was before an unclean stop that may have taken a tail, since a register last named the
    /// present one.
    pub remains_of: Vec<Inc>,
    /// The stored promise; default: none was ever made.
    pub promise: Promise,
    /// The log as it was opened, all of it durable.
    pub history: History,
    /// What the engine has applied: committed records only.
    pub applied_index: u64,
    /// What spreads attempts in time and names questions. Different in every process.
    pub seed: u64,
}

/// One copy of a shard. A clone goes on by itself, which is for tests.
#[derive(Clone, Debug)]
pub struct Replica {
    pub(crate) me: Member,
    pub(crate) remains_of: Vec<Inc>,
    pub(crate) options: Options,
    chance: u64,
    pub(crate) now_us: u64,
    pub(crate) vow: Vow,
    pub(crate) history: History,
    pub(crate) commit: u64,
    /// The last epoch in which this process led: no epoch is led twice.
    pub(crate) office_epoch: u64,
    pub(crate) desk: Desk,
    pub(crate) role: Role,
    pub(crate) ready: Ready,
    pub(crate) last_snapshot: u64,
    /// Those that the host may have begun.
    pub(crate) open_snapshots: Vec<u64>,
    pub(crate) next_write: u64,
    /// Writes that are not reported yet, and what they make true.
    pub(crate) unreported: VecDeque<(u64, Effect)>,
    /// Written, and not synced: the last id of a report, and up to where the log was durable with it.
    pub(crate) unsynced: VecDeque<(u64, u64)>,
    pub(crate) syncs_apart: bool,
    /// Until then an operator's order to take the shard is remembered.
    pub(crate) ordered_until_us: Option<u64>,
    /// What was answered to heartbeats, and when; see `fresh.rs`.
    pub(crate) stamps: VecDeque<(u64, u64)>,
    pub(crate) fresh: VecDeque<Fresh>,
    pub(crate) care: Care,
    standing: Standing,
    since_us: u64,
    pub(crate) halted: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Role {
    Backup(Box<Backup>),
    Primary(Box<Primary>),
}

impl Replica {
    /// A replica that has just started: a backup without a primary, whatever it was before (rule 1).
    pub fn new(start: Start, options: Options, now_us: u64) -> Self {
        let mut vow = Vow::new(start.promise, now_us);
        if options.has(Bug::ForgetsLease) {
            vow.quiet_until_us = 0;
        }
        let mut replica = Self {
            me: start.member,
            remains_of: start.remains_of,
            chance: start.seed,
            now_us,
            vow,
            commit: start.applied_index.max(start.history.begin().index),
            history: start.history,
            office_epoch: 0,
            desk: Desk::default(),
            role: Role::Backup(Box::default()),
            ready: Ready::default(),
            last_snapshot: 0,
            open_snapshots: Vec::new(),
            next_write: 0,
            unreported: VecDeque::new(),
            unsynced: VecDeque::new(),
            syncs_apart: false,
            ordered_until_us: None,
            stamps: VecDeque::new(),
            fresh: VecDeque::new(),
            care: Care::default(),
            standing: Standing::Alone,
            since_us: now_us,
            halted: false,
            options,
        };
        replica.desk.read(now_us, &mut replica.ready);
        replica
    }

    /// A message has arrived.
    pub fn step(&mut self, now_us: u64, message: Message) {
        if message.to == self.me.name && message.from.name != self.me.name {
            self.input(now_us, |replica| replica.dispatch(message));
        }
    }

    fn dispatch(&mut self, message: Message) {
        let Message { from, epoch, body, .. } = message;
        match body {
            Body::Heartbeat { sequence, sent_us, commit, counted, streaming, sync_index, echo, order } => {
                let beat = Beat { sequence, sent_us, commit, counted, streaming, sync_index, echo, order };
                self.hear_heartbeat(&from, epoch, &beat);
            }
            Body::End { nonce, end, begin, loss_epoch } => {
                self.hear_end(&from, epoch, nonce, end, begin, loss_epoch);
            }
            Body::Append { before, records, commit } => {
                self.hear_append(&from, epoch, before, records, commit);
            }
            Body::Committed { commit } => self.hear_committed(&from, epoch, commit),
            Body::Refused => self.hear_higher(&from, epoch),
            Body::Join => {
                self.hear_higher(&from, epoch);
                self.hear_join(from);
            }
            Body::Alive { sequence, sent_us, lease_us, synced, stamp, health } => {
                if self.hear_alive(&from, epoch, sequence, sent_us, lease_us) {
                    self.hear_synced(&from, epoch, synced);
                    self.hear_stamp(&from, epoch, sequence, stamp);
                    self.hear_health(&from, epoch, sequence, health);
                }
            }
            Body::Match { nonce, of_epoch } => self.hear_match(&from, epoch, nonce, of_epoch),
            Body::Matched { at } => self.hear_matched(&from, epoch, at),
            Body::Held { durable, synced } => {
                self.hear_held(&from, epoch, durable);
                self.hear_synced(&from, epoch, synced);
            }
            Body::Gap { last } => self.hear_gap(&from, epoch, last),
            Body::Part(part) => self.hear_part(&from, epoch, part),
            Body::Taken { snapshot, count } => self.hear_taken(&from, epoch, snapshot, count),
            Body::Canvass { nonce, inc } => self.hear_canvass(&from, epoch, nonce, &inc),
            Body::Canvassed { nonce, wait_us, holds } => {
                self.hear_canvassed(&from, nonce, wait_us, holds);
            }
            Body::Yielded => self.hear_yielded(epoch),
        }
    }

    /// Time has passed. To be called at [`Replica::next_deadline_us`], and harmless at any other time.
    pub fn tick(&mut self, now_us: u64) {
        self.input(now_us, |replica| {
            replica.ordered_until_us.take_if(|until_us| *until_us <= replica.now_us);
            match replica.role {
                Role::Backup(_) => replica.tick_backup(),
                Role::Primary(_) => replica.tick_primary(),
            }
            // Rule 17: what watches tell is a hint, so the register is read without one now and then.
            if replica.desk.due_us(Kind::Read, replica.options.reread_us) <= replica.now_us {
                replica.read_register();
            }
        });
    }

    pub(crate) fn read_register(&mut self) {
        self.desk.read(self.now_us, &mut self.ready);
    }

    /// A watch says that something in the coordinator has changed.
    pub fn hint(&mut self, now_us: u64) {
        self.input(now_us, |replica| {
            replica.read_register();
            replica.look_at_candidates();
        });
    }

    /// The coordinator has answered.
    pub fn answered(&mut self, now_us: u64, id: u64, answer: Answer) {
        self.input(now_us, |replica| replica.take_answer(id, answer));
    }

    fn take_answer(&mut self, id: u64, answer: Answer) {
        match (self.desk.close(id), answer) {
            (None, _) => {}
            (Some(_), Answer::Register(register)) => self.learn(register),
            (Some(Kind::CompareAndSet), Answer::Unknown) => self.read_register(),
            (Some(Kind::CompareAndSet), answer) => match self.role {
                Role::Backup(_) => self.election_written(answer),
                Role::Primary(_) => self.change_written(answer),
            },
            (Some(Kind::Stand), Answer::Standing) => self.stands(),
            (Some(Kind::Candidates), Answer::Candidates(candidates)) => self.candidates(candidates),
            _ => {}
        }
    }

    fn learn(&mut self, register: Register) {
        if !self.desk.learn(&register) && !self.options.has(Bug::ReadProvesFailure) {
            return;
        }
        match self.role {
            Role::Backup(_) => self.backup_reads(register),
            Role::Primary(_) => self.primary_reads(register),
        }
    }

    /// What came up since the last time.
    pub fn ready(&mut self) -> Ready {
        std::mem::take(&mut self.ready)
    }

    /// The log begins behind `index` now.
    pub fn trimmed(&mut self, index: u64) {
        self.input(self.now_us, |replica| replica.history.trim(index.min(replica.commit)));
    }

    /// Where this replica stands.
    pub fn status(&self) -> Status {
        Status {
            member: self.me.clone(),
            standing: self.standing.clone(),
            since_us: self.since_us,
            epoch: self.vow.made.epoch,
            primary: match &self.role {
                Role::Backup(backup) => backup.primary.clone(),
                Role::Primary(_) => Some(self.me.name.clone()),
            },
            last: self.history.last(),
            durable_index: self.history.durable(),
            commit_index: self.commit,
        }
    }

    /// The outline of the log.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The last record known to be committed.
    pub fn commit_index(&self) -> u64 {
        self.commit
    }

    /// The epoch that this process leads now.
    pub fn leads(&self) -> Option<u64> {
        match &self.role {
            Role::Primary(primary) => Some(primary.epoch),
            Role::Backup(_) => None,
        }
    }

    /// The newest version of the register that is known here; `None` before the first answer of the coordinator.
    pub fn register(&self) -> Option<&Register> {
        match &self.role {
            Role::Primary(primary) => Some(&primary.confirmed),
            Role::Backup(_) => self.desk.known.as_ref(),
        }
    }

    /// Whether this process leads, and its BARRIER is the first record since the shard went on without records that may have
    /// been committed ([`Register::loss_epoch`]). Mostly its epoch is that one; but its primary may have ended before it
    /// wrote a BARRIER, and then the next one's has to tell.
    pub fn began_with_loss(&self) -> bool {
        matches!(&self.role, Role::Primary(primary) if primary.begins_after_loss)
    }

    /// Rule 2: whoever leads and meets a higher epoch stops at once.
    pub(crate) fn meet(&mut self, epoch: u64) {
        if self.leads().is_some_and(|own| epoch > own) {
            self.stop("met a higher epoch");
        }
    }

    /// Leads no more. What it has appended may yet be committed by the next primary.
    pub(crate) fn stop(&mut self, why: &'static str) {
        let patience_us = self.now_us + self.spread_us();
        let role = std::mem::replace(&mut self.role, Role::Backup(Box::new(Backup::waiting(patience_us))));
        let Role::Primary(primary) = role else { return };
        self.ready.stopped = Some(Stopped { epoch: primary.epoch, why });
        self.ready.reads_refused.extend(primary.reads.iter().map(|read| read.token));
        self.ready.fetches.clear();
        self.ready.loads.clear();
        self.desk.give_up(Kind::CompareAndSet);
        self.forget_reading();
        self.read_register();
    }

    pub(crate) fn send(&mut self, to: &Name, epoch: u64, body: Body) {
        self.ready.messages.push(Message { from: self.me.clone(), to: to.clone(), epoch, body });
    }

    /// A number that nobody can guess and that does not come twice.
    pub(crate) fn nonce(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.chance ^ (self.chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Keeps replicas from trying at the same time.
    pub(crate) fn spread_us(&mut self) -> u64 {
        self.nonce() % self.options.canvass_us.max(1)
    }

    pub(crate) fn halt(&mut self, why: String) {
        self.halted = true;
        self.ready.halt = Some(why);
    }

    /// Takes an input at its time, and does what it has made possible. A replica that has halted takes none.
    pub(crate) fn input<T>(&mut self, now_us: u64, act: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.halted {
            return None;
        }
        self.now_us = self.now_us.max(now_us);
        let outcome = act(self);
        self.settle();
        Some(outcome)
    }

    fn settle(&mut self) {
        match self.role {
            Role::Backup(_) => self.settle_backup(),
            Role::Primary(_) => self.settle_primary(),
        }
        self.close_snapshots();
        let standing = match &self.role {
            Role::Backup(backup) => backup.standing(&self.me, self.now_us, &self.options),
            Role::Primary(_) => self.primary_standing(),
        };
        if standing != self.standing {
            self.standing = standing;
            self.since_us = self.now_us;
        }
    }
}
