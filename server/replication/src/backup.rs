//! Backup: the following role. Obeys the primary of the epoch it has promised: finds where the logs part (rule 8), takes
//! records, grants (rule 5). What it does without a primary is in `election.rs`.

use crate::{
    bug::Bug,
    check::Order,
    election::Election,
    history::Position,
    member::{Member, Name},
    message::{Body, Record},
    options::Options,
    ready::Commit,
    register::Register,
    replica::{Replica, Role},
    snapshot::Receiving,
    status::Standing,
    vow::Promise,
};

/// A replica that does not lead.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backup {
    /// Who leads the promised epoch, once it was heard.
    pub primary: Option<Name>,
    pub heard_us: u64,
    /// Whether the primary counts this replica.
    pub counted: bool,
    pub flow: Follow,
    /// The primary waits until this record is synced; 0: it does not wait.
    awaited_sync: u64,
    /// The highest commit index that the primary of this epoch has told.
    told_commit: u64,
    /// The last record when a gap was told.
    told_gap: Option<u64>,
    /// No election is begun before.
    pub patience_us: u64,
    /// The highest epoch that the register was seen to have.
    pub seen_epoch: u64,
    pub election: Election,
    /// The register names this process; to be followed once the epoch is promised.
    pub office: Option<Register>,
    /// It is about to lead: others give it time until then, as when its disk takes long over the promise, or the coordinator
    /// over telling it so.
    pub office_until_us: u64,
}

/// What a heartbeat says.
pub(crate) struct Beat {
    pub sequence: u64,
    pub sent_us: u64,
    pub commit: u64,
    pub counted: bool,
    pub streaming: bool,
    pub sync_index: u64,
    pub echo: u64,
    pub order: Order,
}

/// How this log becomes the primary's.
#[derive(Clone, Debug, Default)]
pub(crate) enum Follow {
    /// Nothing is known.
    #[default]
    Idle,
    /// Asked where an epoch ends.
    Asking { nonce: u64, asked_us: u64 },
    /// The logs agree up to the last record here; waits until that is durable.
    Settling,
    /// This log is the beginning of the primary's.
    Streaming,
    /// The primary's log begins behind where the logs part.
    AwaitingSnapshot { from_index: u64, asked_us: u64 },
    /// One is coming in.
    Receiving(Receiving),
    /// It is being put in place.
    Installing(Receiving),
}

impl Backup {
    /// Waits until then before it looks for a primary by itself.
    pub fn waiting(patience_us: u64) -> Self {
        Self { patience_us, ..Self::default() }
    }

    /// From when on it counts as not hearing its primary, if none of its messages comes.
    pub fn unheard_at_us(&self, options: &Options) -> Option<u64> {
        self.primary.is_some().then_some(self.heard_us + 2 * options.lease_us)
    }

    pub fn hears(&self, now_us: u64, options: &Options) -> bool {
        self.unheard_at_us(options).is_some_and(|at_us| now_us < at_us)
    }

    pub fn standing(&self, me: &Member, now_us: u64, options: &Options) -> Standing {
        match (&self.election, &self.flow) {
            (election, _) if election.is_on() => {
                let (have, need) = election.reports(me);
                Standing::Electing { have, need }
            }
            _ if !self.hears(now_us, options) => Standing::Alone,
            (_, Follow::AwaitingSnapshot { .. } | Follow::Receiving(_) | Follow::Installing(_)) => {
                Standing::TakingSnapshot
            }
            (_, Follow::Streaming) if self.counted => Standing::InSync,
            _ => Standing::CatchingUp,
        }
    }
}

impl Replica {
    /// Rule 2: whether this primary is to be obeyed. It is if its epoch is promised durably; a higher one is promised
    /// first, and what the message says is left to the next one.
    pub(crate) fn obey(&mut self, from: &Member, epoch: u64) -> bool {
        let made = self.vow.made.epoch;
        if epoch < made {
            let kept = self.vow.kept.epoch;
            let Role::Backup(backup) = &self.role else {
                self.send(&from.name, kept, Body::Refused);
                return false;
            };
            if self.options.has(Bug::ObeysLower) && backup.primary.as_ref() == Some(&from.name) {
                return true;
            }
            if kept > epoch {
                self.send(&from.name, kept, Body::Refused);
            }
            return false;
        }
        self.meet(epoch);
        if self.leads() == Some(epoch) {
            if !self.options.has(Bug::ResumesEpoch) {
                self.halt(format!("{from:?} leads epoch {epoch}, too"));
            }
            return false;
        }
        if epoch > made {
            self.follow_nobody();
            self.promise(epoch);
        }
        let impatient = self.options.has(Bug::IgnoresOwnGrant);
        let patience_us = if impatient { self.options.lease_us / 3 } else { self.options.lease_us };
        let patience_us = self.now_us + patience_us + self.spread_us();
        let Role::Backup(backup) = &mut self.role else { return false };
        backup.primary = Some(from.name.clone());
        backup.heard_us = self.now_us;
        backup.patience_us = patience_us;
        backup.seen_epoch = backup.seen_epoch.max(epoch);
        backup.office.take_if(|register| register.epoch <= epoch);
        backup.office_until_us = 0;
        if backup.election.is_on() {
            self.end_election();
        }
        self.vow.keeps(epoch)
    }

    /// The primary that was followed, if any, is none any more.
    pub(crate) fn follow_nobody(&mut self) {
        let keeps_flow = self.options.has(Bug::ObeysLower);
        let Role::Backup(backup) = &mut self.role else { return };
        if !keeps_flow {
            backup.primary = None;
            if !matches!(backup.flow, Follow::Installing(_)) {
                backup.flow = Follow::Idle;
            }
        }
        backup.counted = false;
        backup.told_commit = 0;
        backup.told_gap = None;
    }

    pub(crate) fn hear_heartbeat(&mut self, from: &Member, epoch: u64, beat: &Beat) {
        if !self.obey(from, epoch) {
            return;
        }
        let &Beat { sequence, sent_us, commit, counted, streaming, .. } = beat;
        let now_us = self.now_us;
        let lease_us = if epoch == self.vow.made.epoch { self.grant() } else { 0 };
        self.hear_echo(beat.echo, commit);
        self.sync_if_asked(beat.sync_index);
        let (synced, stamp, health) = (self.synced_of_stream(), self.stamp(), self.health());
        self.send(&from.name, epoch, Body::Alive { sequence, sent_us, lease_us, synced, stamp, health });
        self.hear_order(&beat.order, counted);
        let resend_us = self.options.resend_us;
        let all_is_written = self.all_is_written();
        let Role::Backup(backup) = &mut self.role else { return };
        backup.counted = counted;
        match backup.flow {
            Follow::Idle => self.ask_for_end(None),
            Follow::Asking { asked_us, .. } | Follow::AwaitingSnapshot { asked_us, .. }
                if asked_us + resend_us <= now_us =>
            {
                self.ask_for_end(None);
            }
            Follow::Receiving(ref receiving) if receiving.heard_us + 4 * resend_us <= now_us => {
                self.ask_for_end(None);
            }
            Follow::Streaming if !streaming && all_is_written => self.tell_matched(),
            _ => {}
        }
        self.hear_commit(commit);
    }

    /// Up to where the primary's log is synced here.
    fn synced_of_stream(&self) -> u64 {
        match &self.role {
            Role::Backup(backup) if matches!(backup.flow, Follow::Streaming) => self.history.synced(),
            _ => 0,
        }
    }

    fn sync_if_asked(&mut self, index: u64) {
        let durable = self.history.durable();
        let is_due = self.synced_of_stream() < index && self.history.synced() < durable;
        let Role::Backup(backup) = &mut self.role else { return };
        backup.awaited_sync = if is_due { index.min(durable) } else { 0 };
        self.ready.sync |= is_due;
    }

    /// A sync was reported.
    pub(crate) fn backup_synced(&mut self) {
        let (synced, durable, epoch) = (self.synced_of_stream(), self.history.durable(), self.vow.made.epoch);
        let Role::Backup(backup) = &mut self.role else { return };
        // A sync that was under way when the primary asked may have covered less.
        if (1..=synced).contains(&backup.awaited_sync)
            && let Some(primary) = backup.primary.clone()
        {
            backup.awaited_sync = 0;
            self.send(&primary, epoch, Body::Held { durable, synced });
        }
        self.decide();
    }

    /// Rule 5: promises not to promise a higher epoch for a while. The longest such while must be on the disk first.
    fn grant(&mut self) -> u64 {
        let lease_us = self.options.lease_us;
        if self.vow.kept.lease_us < lease_us {
            // Not before the first grant: who never grants, as the only copy of a shard, need not wait after a restart.
            if self.vow.made.lease_us < lease_us {
                self.vow_to(Promise { lease_us, ..self.vow.made });
            }
            return 0;
        }
        self.vow.grant(self.now_us, lease_us);
        lease_us
    }

    /// Rule 8: asks where `of_epoch` ends at the primary; first of all, the last epoch of this log.
    fn ask_for_end(&mut self, of_epoch: Option<u64>) {
        let of_epoch = of_epoch.unwrap_or(self.history.last().epoch);
        let nonce = self.nonce();
        let (now_us, epoch) = (self.now_us, self.vow.made.epoch);
        let streams_unmatched = self.options.has(Bug::StreamsUnmatched);
        let Role::Backup(backup) = &mut self.role else { return };
        let Some(primary) = backup.primary.clone() else { return };
        if streams_unmatched {
            backup.flow = Follow::Settling;
            return self.settle_backup();
        }
        backup.flow = Follow::Asking { nonce, asked_us: now_us };
        self.send(&primary, epoch, Body::Match { nonce, of_epoch });
    }

    /// Rule 8: the primary's log ends epoch `end.epoch` at `end.index`.
    pub(crate) fn hear_end(
        &mut self,
        from: &Member,
        epoch: u64,
        nonce: u64,
        end: Option<Position>,
        begin: Position,
        loss_epoch: u64,
    ) {
        if !self.obey(from, epoch) {
            return;
        }
        let now_us = self.now_us;
        let takes_old = self.options.has(Bug::TakesOldEnd);
        let Role::Backup(backup) = &mut self.role else { return };
        let is_asked = match backup.flow {
            Follow::Asking { nonce: asked, .. } => asked == nonce || takes_old,
            _ => false,
        };
        if !is_asked {
            return;
        }
        let Some(end) = end else {
            if begin.index <= self.commit {
                // Its log has nothing of the epochs of this one, and what it has behind is committed, too.
                let why =
                    format!("the log of epoch {epoch} begins with {begin}, and {} is committed", self.commit);
                return self.end_apart(loss_epoch, why);
            }
            backup.flow = Follow::AwaitingSnapshot { from_index: begin.index, asked_us: now_us };
            return;
        };
        let Some(own) = self.history.end_of_epoch(end.epoch) else {
            // Everything up to where this log begins is committed, so the primary has it.
            let why = format!("the primary of epoch {epoch} lacks what a snapshot here holds");
            return self.end_apart(loss_epoch, why);
        };
        if own.epoch < end.epoch {
            // This log has nothing of that epoch: one step down.
            return self.ask_for_end(Some(own.epoch));
        }
        let mut at = own.index.min(end.index);
        if self.options.has(Bug::CutsToCommit) {
            at = self.commit;
        }
        if at < self.commit && !self.options.has(Bug::AppliesUnmatched) {
            let committed = self.commit;
            let why = format!(
                "the primary of epoch {epoch} asks to cut the log at {at}, but {committed} is committed"
            );
            return self.end_apart(loss_epoch, why);
        }
        if at < self.history.last().index {
            self.cut(at.max(self.history.begin().index));
        }
        let Role::Backup(backup) = &mut self.role else { return };
        backup.flow = Follow::Settling;
    }

    /// What is committed here is not in the primary's log. That must never be, unless the shard has lost it.
    fn end_apart(&mut self, loss_epoch: u64, why: String) {
        if self.history.epoch_at(self.commit).is_some_and(|epoch| epoch < loss_epoch) {
            self.halted = true;
            self.ready.discard = Some(format!("{why}; epoch {loss_epoch} began without it"));
        } else {
            self.halt(why);
        }
    }

    /// What was cut, or not yet synced, is on the disk: the primary may count it.
    pub(crate) fn settle_backup(&mut self) {
        let settled = self.all_is_written() && self.vow.keeps(self.vow.made.epoch);
        let Role::Backup(backup) = &mut self.role else { return };
        if settled && matches!(backup.flow, Follow::Settling) && backup.primary.is_some() {
            backup.flow = Follow::Streaming;
            self.tell_matched();
            self.advance_told_commit();
        }
        if self.ordered_until_us.is_some() {
            // What an order waits for may be over with any input.
            self.decide();
        }
    }

    fn tell_matched(&mut self) {
        let (at, epoch) = (self.history.last(), self.vow.made.epoch);
        let Role::Backup(backup) = &self.role else { return };
        let Some(primary) = backup.primary.clone() else { return };
        self.send(&primary, epoch, Body::Matched { at });
    }

    pub(crate) fn hear_append(
        &mut self,
        from: &Member,
        epoch: u64,
        before: Position,
        mut records: Vec<Record>,
        commit: u64,
    ) {
        if !self.obey(from, epoch) {
            return;
        }
        let last = self.history.last();
        let Role::Backup(backup) = &mut self.role else { return };
        if !matches!(backup.flow, Follow::Streaming) {
            return;
        }
        if before.index > last.index {
            // Once is enough: everything behind the gap that is on its way would ask for the same again.
            if backup.told_gap.replace(last.index) == Some(last.index) {
                return;
            }
            return self.send(&from.name, epoch, Body::Gap { last: last.index });
        }
        // Once matched, whatever of the primary's epoch arrives late or doubled is a part of the same log.
        let known = records.iter().take_while(|record| record.position.index <= last.index).count();
        let differs = records[..known].iter().any(|record| {
            record.position.index > self.history.begin().index && !self.history.holds(record.position)
        });
        if differs && !self.options.has(Bug::StreamsUnmatched) {
            return self.halt(format!("epoch {epoch}: a record differs from the one that is in the log"));
        }
        records.drain(..known);
        if records.is_empty() || !self.may_queue_write() {
            let (durable, synced) = (self.history.durable(), self.history.synced());
            self.send(&from.name, epoch, Body::Held { durable, synced });
        } else {
            self.append_received(records);
        }
        self.hear_commit(commit);
    }

    pub(crate) fn hear_committed(&mut self, from: &Member, epoch: u64, commit: u64) {
        if self.obey(from, epoch) {
            self.hear_commit(commit);
        }
    }

    fn hear_commit(&mut self, commit: u64) {
        let Role::Backup(backup) = &mut self.role else { return };
        backup.told_commit = backup.told_commit.max(commit);
        self.advance_told_commit();
    }

    /// Rule 3: the commit index is about the primary's log, so it counts here only as far as this log was matched.
    fn advance_told_commit(&mut self) {
        let Role::Backup(backup) = &self.role else { return };
        let matched = matches!(backup.flow, Follow::Streaming) || self.options.has(Bug::AppliesUnmatched);
        let index = backup.told_commit.min(self.history.durable());
        if matched && index > self.commit {
            self.commit = index;
            self.ready.commit = Some(Commit { index, acknowledges: false });
        }
    }

    /// Writes were reported: records, or what lets matching begin, a promise or a snapshot.
    pub(crate) fn backup_written(&mut self, holds_more: bool, may_begin: bool) {
        let (durable, synced) = (self.history.durable(), self.history.synced());
        let epoch = self.vow.made.epoch;
        let keeps = self.vow.keeps(epoch);
        let Role::Backup(backup) = &self.role else { return };
        if may_begin && keeps && matches!(backup.flow, Follow::Idle) {
            // There is no need to wait for the next heartbeat.
            self.ask_for_end(None);
        } else if holds_more && keeps && matches!(backup.flow, Follow::Streaming) {
            if let Some(primary) = backup.primary.clone() {
                self.send(&primary, epoch, Body::Held { durable, synced });
            }
            self.advance_told_commit();
        }
        self.stand_if_promised();
        self.assume_if_promised();
    }

    /// The disk is full: the host could not append what was asked for, or not write a part of a snapshot. It leaves out,
    /// and reports, all appends, parts and installations up to the [`Write::Cut`](crate::Write::Cut) that comes up now. What is missing then
    /// is sent again.
    pub fn append_failed(&mut self, now_us: u64) {
        self.input(now_us, |replica| {
            replica.stop("the disk is full");
            replica.forget_parts();
            replica.cut(replica.history.durable());
            if let Role::Backup(backup) = &mut replica.role {
                backup.flow = Follow::Idle;
            }
        });
    }
}
