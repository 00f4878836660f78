//! Primary: the leading role. Heartbeats, streams of records, commit (rules 3 and 10).

use std::collections::{BTreeMap, VecDeque};

use crate::{
    bug::Bug,
    change::{Leaving, Prospect, Wish},
    desk::Kind,
    health::Watch,
    history::Position,
    member::{Member, Name},
    message::Body,
    options::PEER_COUNT_MAX,
    peer::{Flow, Peer},
    reads::Read,
    ready::{Commit, Refusal},
    register::{Ack, Configuration, Register, reached_by_all},
    replica::{Replica, Role},
    status::Standing,
    writes::Effect,
};

/// Who leads an epoch, while it does.
#[derive(Clone, Debug)]
pub(crate) struct Primary {
    pub epoch: u64,
    /// The epoch's first record (rule 7).
    pub barrier: u64,
    /// The newest version of the register that is known.
    pub confirmed: Register,
    /// The change under way, with the version that it expects: from before it is sent until its outcome is known.
    pub pending: Option<Register>,
    /// The change that comes next, once it may be sent.
    pub prospect: Option<Prospect>,
    pub peers: BTreeMap<Name, Peer>,
    /// Of the last heartbeat.
    pub sequence: u64,
    pub heartbeat_due_us: u64,
    /// Reads that wait for a round.
    pub reads: VecDeque<Read>,
    pub leaving: Option<Leaving>,
    /// To whom the lead shall go, once the coordinator has answered something.
    pub heir: Option<Member>,
    /// What an operator asked for.
    pub wished_ack: Option<Wish<Ack>>,
    pub wished_primary: Option<Wish<Name>>,
    /// The log here held nothing of an epoch that began with a loss, or of a later one, before this one's.
    pub begins_after_loss: bool,
    pub watch: Watch,
    /// Up to here `Committed` has been told to the peers.
    told_commit: u64,
    /// Up to here everything is to be synced soon.
    wished_sync: u64,
}

impl Primary {
    pub fn new(me: &Member, register: Register, before: Position, now_us: u64) -> Self {
        let others = register.configuration.isr.iter().filter(|copy| copy.name != me.name);
        let peers = others.map(|copy| (copy.name.clone(), Peer::new(copy.clone(), now_us))).collect();
        Self {
            epoch: register.epoch,
            barrier: before.index + 1,
            begins_after_loss: before.epoch < register.loss_epoch,
            confirmed: register,
            pending: None,
            prospect: None,
            peers,
            sequence: 0,
            heartbeat_due_us: now_us,
            reads: VecDeque::new(),
            leaving: None,
            heir: None,
            wished_ack: None,
            wished_primary: None,
            watch: Watch::new(now_us),
            told_commit: 0,
            wished_sync: 0,
        }
    }

    /// Every configuration that the register may have now, and the one that it shall have next.
    pub fn configurations(&self, bug: Option<Bug>) -> impl Iterator<Item = &Configuration> {
        let pending = self.pending.as_ref().map(|target| &target.configuration);
        let confirmed = match (bug, pending) {
            (Some(Bug::CountsPendingOnly), Some(_)) => None,
            _ => Some(&self.confirmed.configuration),
        };
        let prospect = self.prospect.as_ref().map(|prospect| &prospect.configuration);
        confirmed.into_iter().chain(pending).chain(prospect)
    }

    /// What w members have reached in every configuration: their acks, grants or answers. Only data that is named
    /// counts; of the primary itself, what is given.
    pub fn reached(&self, me: &Member, own: u64, of: impl Fn(&Peer) -> u64, bug: Option<Bug>) -> u64 {
        let reached = |copy: &Member| {
            if copy.name == me.name {
                return own;
            }
            match self.peers.get(&copy.name) {
                Some(peer) if peer.member.inc == copy.inc || bug == Some(Bug::BareNames) => of(peer),
                _ => 0,
            }
        };
        reached_by_all(self.configurations(bug), reached, bug)
    }

    /// A compare-and-set was asked for, and what came of it is not known.
    pub fn awaits_outcome(&self) -> bool {
        self.pending.is_some() || self.leaving.as_ref().is_some_and(|leaving| leaving.asked)
    }

    /// The fewest copies in sync that there may be now.
    pub fn isr_min(&self) -> usize {
        self.configurations(None).map(|configuration| configuration.isr.len()).min().unwrap_or(0)
    }

    fn counts(&self, peer: &Peer) -> bool {
        self.configurations(None)
            .any(|configuration| configuration.counts(&peer.member.name, &peer.member.inc))
    }
}

impl Replica {
    /// Whether a client's write may be appended now. The records go into the epoch that is returned.
    pub fn may_write(&self) -> Result<u64, Refusal> {
        let epoch = self.may_write_internal()?;
        let Role::Primary(primary) = &self.role else { return Err(Refusal::NotPrimary) };
        let (have, need) = (primary.isr_min(), primary.confirmed.min_isr);
        // Rule 10: refused before it is appended, so that it has certainly failed.
        if have < need { Err(Refusal::ReadOnly { have, need }) } else { Ok(epoch) }
    }

    /// The same for records of the shard's own: `min_isr` does not hold them up.
    pub fn may_write_internal(&self) -> Result<u64, Refusal> {
        let Role::Primary(primary) = &self.role else { return Err(Refusal::NotPrimary) };
        if let Some(leaving) = &primary.leaving {
            return Err(Refusal::Leaving { to: leaving.to.name.clone() });
        }
        if !self.is_serving() {
            return Err(Refusal::Beginning);
        }
        if self.history.last().index - self.commit >= self.options.uncommitted_count_max {
            return Err(Refusal::Busy);
        }
        Ok(primary.epoch)
    }

    /// The host has appended `count` records of the epoch that [`Self::may_write`] returned, and nothing else happened in
    /// between. Returns the id under which their sync is to be reported.
    pub fn appended(&mut self, now_us: u64, count: u64) -> Option<u64> {
        self.input(now_us, |replica| {
            let Some(epoch) = replica.leads() else {
                replica.halt("records were appended by a replica that does not lead".into());
                return None;
            };
            replica.history.append(epoch, count);
            Some(replica.expect(Effect::Durable(replica.history.last().index)))
        })?
    }

    /// Whether clients may be served: everything that earlier primaries committed is known to be committed (rule 7).
    pub fn is_serving(&self) -> bool {
        match &self.role {
            Role::Primary(primary) => {
                let begun = self.commit >= primary.barrier || self.options.has(Bug::SkipsBarrier);
                begun && (primary.leaving.is_none() || self.options.has(Bug::ReadsWhileLeaving))
            }
            Role::Backup(_) => false,
        }
    }

    /// Up to where what is committed cannot be lost by unclean stops of any members but w: as many have synced it, in every
    /// configuration that the register may have. Where records are synced before they are acked that is the commit index. 0 where
    /// this replica does not lead.
    pub fn settled_index(&self) -> u64 {
        let Role::Primary(primary) = &self.role else { return 0 };
        if !self.syncs_apart {
            return self.commit;
        }
        primary.reached(&self.me, self.history.synced(), |peer| peer.synced, None).min(self.commit)
    }

    /// Others wait until this record is settled: it is to be synced now, here and at the backups, and not at the interval.
    pub fn wish_settled(&mut self, now_us: u64, index: u64) {
        self.input(now_us, |replica| {
            let is_settled = replica.settled_index() >= index;
            let synced = replica.history.synced();
            let Role::Primary(primary) = &mut replica.role else { return };
            if is_settled || primary.wished_sync >= index {
                return;
            }
            primary.wished_sync = index;
            replica.ready.sync |= synced < index;
            replica.heartbeat();
        });
    }

    pub(crate) fn tick_primary(&mut self) {
        let (now_us, retry_us) = (self.now_us, self.options.retry_us);
        let Role::Primary(primary) = &mut self.role else { return };
        for peer in primary.peers.values_mut() {
            if let Flow::Streaming(stream) = &mut peer.flow
                && stream.stuck_at_us(&self.options).is_some_and(|at_us| at_us <= now_us)
            {
                stream.rewind(peer.held, now_us);
            }
        }
        self.resend_parts();
        let Role::Primary(primary) = &mut self.role else { return };
        let isr = &primary.confirmed.configuration;
        primary.peers.retain(|name, peer| {
            isr.entry(name).is_some()
                || primary.pending.is_some()
                || now_us < peer.forgotten_at_us(&self.options)
        });
        if primary.heir.is_some() && self.desk.due_us(Kind::Read, retry_us) <= now_us {
            self.desk.read(now_us, &mut self.ready);
        }
        if primary.awaits_outcome()
            && !self.desk.is_open(Kind::CompareAndSet)
            && self.desk.due_us(Kind::CompareAndSet, retry_us) <= now_us
        {
            self.repeat_change();
        }
        if let Role::Primary(primary) = &self.role
            && primary.heartbeat_due_us <= now_us
        {
            self.heartbeat();
        }
    }

    /// After every input: commit, confirm reads, change what is due, send.
    pub(crate) fn settle_primary(&mut self) {
        self.drop_wishes();
        self.advance_commit();
        self.confirm_reads();
        self.examine();
        self.change_if_due();
        self.fetch();
        self.load();
    }

    /// Rule 3.
    pub(crate) fn advance_commit(&mut self) {
        let bug = self.options.bug.filter(|bug| self.options.has(*bug));
        let durable = self.history.durable();
        let Role::Primary(primary) = &mut self.role else { return };
        let reached = primary.reached(&self.me, durable, |peer| peer.held, bug);
        // The own engine must not get ahead of the own log, even where w others hold more.
        let reached = reached.min(durable);
        // Only a record of the own epoch decides. An older one that w members hold may still be replaced: by a log
        // that is shorter and of a later epoch, whose primary did not see it.
        let decides = reached >= primary.barrier || bug == Some(Bug::CommitsOlderByCount);
        if decides && reached > self.commit {
            self.commit = reached;
            // Rule 10: not acknowledged if the ISR may have become too small meanwhile.
            let acknowledges = primary.isr_min() >= primary.confirmed.min_isr;
            self.ready.commit = Some(Commit { index: reached, acknowledges });
        }
    }

    /// The host has nothing more to append now. Who waits for no records is told by a message of its own how far they are
    /// committed; else the next records say it, or the next heartbeat.
    pub fn tell_commit(&mut self, now_us: u64) {
        if matches!(&self.role, Role::Primary(primary) if primary.told_commit < self.commit) {
            self.input(now_us, Self::tell_idle);
        }
    }

    fn tell_idle(&mut self) {
        let (commit, last) = (self.commit, self.history.last().index);
        let Role::Primary(primary) = &mut self.role else { return };
        primary.told_commit = commit;
        let idle = |peer: &&Peer| matches!(&peer.flow, Flow::Streaming(stream) if stream.next > last);
        let names: Vec<Name> =
            primary.peers.values().filter(idle).map(|peer| peer.member.name.clone()).collect();
        let epoch = primary.epoch;
        for name in names {
            self.send(&name, epoch, Body::Committed { commit });
        }
    }

    /// Tells everybody who leads, asks for grants and answers (rule 5).
    pub(crate) fn heartbeat(&mut self) {
        let (now_us, commit, last) = (self.now_us, self.commit, self.history.last().index);
        let echoes = self.echoes();
        let Role::Primary(primary) = &mut self.role else { return };
        primary.sequence += 1;
        primary.heartbeat_due_us = now_us + self.options.heartbeat_us;
        for peer in primary.peers.values_mut() {
            peer.measure(last, now_us);
        }
        let Role::Primary(primary) = &self.role else { return };
        let (epoch, sequence) = (primary.epoch, primary.sequence);
        let floor = primary.prospect.as_ref().map_or(0, |prospect| prospect.floor);
        let wished = if self.settled_index() < primary.wished_sync { primary.wished_sync } else { 0 };
        let sync_index = floor.max(wished);
        let mut beats = Vec::with_capacity(primary.peers.len());
        for (name, peer) in &primary.peers {
            let streaming = matches!(peer.flow, Flow::Streaming(_));
            let counted = primary.counts(peer);
            let (sent_us, echo) = (now_us, if echoes { peer.stamp } else { 0 });
            let order = self.order(primary, peer, counted);
            let beat =
                Body::Heartbeat { sequence, sent_us, commit, counted, streaming, sync_index, echo, order };
            beats.push((name.clone(), beat));
        }
        for (name, body) in beats {
            self.send(&name, epoch, body);
        }
    }

    /// Another has promised a higher epoch. Rule 2: if it counts, an election is on, and this primary stops. If it does not,
    /// as a member that was removed while it stood, nobody waits for it; but it cannot follow any more, so the lead goes on
    /// in an epoch that it can.
    pub(crate) fn hear_higher(&mut self, from: &Member, epoch: u64) {
        let Role::Primary(primary) = &mut self.role else { return };
        if epoch <= primary.epoch {
            return;
        }
        if primary.configurations(None).any(|configuration| configuration.entry(&from.name).is_some()) {
            return self.meet(epoch);
        }
        primary.heir.get_or_insert_with(|| self.me.clone());
        self.read_register();
    }

    pub(crate) fn hear_join(&mut self, from: Member) {
        let now_us = self.now_us;
        if self.leads().is_none() && self.desk.due_us(Kind::Read, self.options.retry_us) <= now_us {
            // The register names this replica, and it may not know.
            return self.read_register();
        }
        let Role::Primary(primary) = &mut self.role else { return };
        if !primary.peers.contains_key(&from.name) {
            if primary.peers.len() >= PEER_COUNT_MAX {
                return;
            }
            primary.peers.insert(from.name.clone(), Peer::new(from, now_us));
        }
        primary.heartbeat_due_us = now_us;
    }

    /// A peer of this very epoch, by name and data.
    pub(crate) fn peer(&mut self, from: &Member, epoch: u64) -> Option<&mut Peer> {
        let Role::Primary(primary) = &mut self.role else { return None };
        let peer = primary.peers.get_mut(&from.name)?;
        (primary.epoch == epoch && peer.member.inc == from.inc).then_some(peer)
    }

    /// `false`: it cannot have been said to this primary.
    pub(crate) fn hear_alive(
        &mut self,
        from: &Member,
        epoch: u64,
        sequence: u64,
        sent_us: u64,
        lease_us: u64,
    ) -> bool {
        let now_us = self.now_us;
        let Role::Primary(primary) = &mut self.role else { return false };
        if primary.epoch != epoch || sequence > primary.sequence || sent_us > now_us {
            return false;
        }
        let Some(peer) = primary.peers.get_mut(&from.name) else { return false };
        peer.answered(from, sequence, now_us);
        if peer.member.inc == from.inc {
            let counted_from_us = if self.options.has(Bug::LeaseFromReceipt) { now_us } else { sent_us };
            let until_us = counted_from_us + self.options.counted_lease_us(lease_us);
            peer.lease_until_us = peer.lease_until_us.max(until_us);
        }
        true
    }

    pub(crate) fn primary_standing(&self) -> Standing {
        match (self.may_write_internal(), self.may_write()) {
            (Err(Refusal::Leaving { to }), _) => Standing::Leaving { to },
            (Err(Refusal::Beginning), _) => Standing::Beginning,
            (_, Err(Refusal::ReadOnly { have, need })) => Standing::ReadOnly { have, need },
            _ => Standing::Leader,
        }
    }
}
