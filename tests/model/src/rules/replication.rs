//! Rules 1, 2, 8: a primary appends and sends, its followers promise, match their logs, take and ack.

use crate::log::{Epoch, Index, Log, Record};
use crate::replica::Name;
use crate::shard::Shard;
use crate::state::{State, Wrong};
use crate::variant::Variant;

impl Shard {
    /// Rule 9: a primary that has begun a fail-back takes no more writes. Rule 10: below `min_isr` a write is
    /// refused before the append; the ISR may be any that the register may hold.
    pub(crate) fn may_append(&self, state: &State, a: Name) -> bool {
        let office = state.replicas[a].office.as_ref();
        state.left.writes > 0 && office.is_some_and(|office| !office.stopped && self.has_min_isr(office))
    }

    /// Writes are numbered, so that no two records are alike by chance.
    pub(crate) fn append(&self, state: &mut State, a: Name) {
        let number = self.bounds.writes - state.left.writes + 1;
        state.left.writes -= 1;
        let Some(epoch) = state.replicas[a].office.as_ref().map(|office| office.epoch) else { return };
        if let Some(stream) = &mut state.streams[usize::from(epoch)] {
            stream.log = stream.log.with(Record { epoch, write: Some(number) });
        }
    }

    /// A primary's disk may be behind what it sent.
    pub(crate) fn may_sync(&self, state: &State, a: Name) -> bool {
        let replica = &state.replicas[a];
        let office = replica.office.as_ref();
        let stream = office.and_then(|office| state.stream(office.epoch));
        stream.is_some_and(|stream| replica.log.len() < stream.log.len())
    }

    /// Rule 3 counts the primary among the holders, by what it has synced.
    pub(crate) fn sync(&self, state: &mut State, a: Name) {
        let Some(epoch) = state.replicas[a].office.as_ref().map(|office| office.epoch) else { return };
        let Some(sent) = state.stream(epoch).map(|stream| stream.log) else { return };
        let replica = &mut state.replicas[a];
        replica.log = replica.log.with(sent.at(replica.log.len() + 1));
        let (incarnation, len) = (replica.incarnation, replica.log.len());
        if let Some(office) = &mut replica.office {
            office.acked[a][incarnation as usize] = len;
        }
    }

    /// Rule 2: nothing below the promise is obeyed. Rule 5: the primary of a higher epoch that was elected is
    /// obeyed at once, whatever lease was granted: it has the reports of enough others, or the old primary's
    /// word.
    pub(crate) fn may_follow(&self, state: &State, b: Name, epoch: Epoch) -> bool {
        let replica = &state.replicas[b];
        let sent = state.stream(epoch).is_some_and(|stream| stream.primary != b);
        sent && epoch >= replica.promised && replica.follows != epoch
    }

    /// Rule 2: the promise is synced first, and a primary that meets a higher epoch stops. Rule 8: then the
    /// log is cut to where it agrees, and it would be a bug if that were below what is known to be committed.
    /// This much is held in the new epoch, and acked.
    pub(crate) fn follow(&self, state: &mut State, b: Name, epoch: Epoch) {
        let Some(sent) = state.stream(epoch).map(|stream| stream.log) else { return };
        let replica = &mut state.replicas[b];
        let agreed = agreement(replica.log, sent);
        if agreed < replica.known {
            state.wrong.get_or_insert(Wrong::KnownCut);
        }
        replica.log = replica.log.cut_to(agreed);
        replica.promised = epoch;
        replica.follows = epoch;
        replica.office = None;
        self.ack(state, b, epoch);
    }

    /// A follower takes records in their order.
    pub(crate) fn may_take(&self, state: &State, b: Name) -> bool {
        let replica = &state.replicas[b];
        let stream = state.stream(replica.follows);
        stream.is_some_and(|stream| replica.log.len() < stream.log.len())
    }

    /// It acks what it has synced.
    pub(crate) fn take(&self, state: &mut State, b: Name) {
        let epoch = state.replicas[b].follows;
        let Some(sent) = state.stream(epoch).map(|stream| stream.log) else { return };
        let replica = &mut state.replicas[b];
        replica.log = replica.log.with(sent.at(replica.log.len() + 1));
        self.ack(state, b, epoch);
    }

    /// Rule 3: acks are of one epoch, after the logs were matched in it, and of one incarnation.
    fn ack(&self, state: &mut State, b: Name, epoch: Epoch) {
        let Some(primary) = state.stream(epoch).map(|stream| stream.primary) else { return };
        let (incarnation, len) = (state.replicas[b].incarnation, state.replicas[b].log.len());
        let office = state.replicas[primary].office.as_mut().filter(|office| office.epoch == epoch);
        if let Some(office) = office {
            let mut place = incarnation as usize;
            if self.is(Variant::BareNames) {
                place = 0;
            }
            office.acked[b][place] = office.acked[b][place].max(len);
        }
        self.learn_committed(state, b);
    }

    /// Rule 3: a follower uses its primary's commit index only up to what it has matched.
    pub(crate) fn learn_committed(&self, state: &mut State, b: Name) {
        let epoch = state.replicas[b].follows;
        let Some(primary) = state.stream(epoch).map(|stream| stream.primary) else { return };
        let Some(committed) = state.office_in(primary, epoch).map(|office| office.committed) else { return };
        let replica = &mut state.replicas[b];
        replica.known = replica.known.max(committed.min(replica.log.len()));
    }
}

/// Rule 8: the follower asks for the end of its own last epoch. If the primary has records of it, both agree
/// up to the nearer end (rule 1); if not, none of the follower's of that epoch can stay, and the epoch before
/// is asked for.
fn agreement(own: Log, primary: Log) -> Index {
    let mut len = own.len();
    loop {
        let epoch = own.cut_to(len).last_epoch();
        match primary.end_of(epoch) {
            Some(end) => return len.min(end),
            None if len == 0 => return 0,
            None => len = own.start_of(epoch).map_or(0, |start| start - 1),
        }
    }
}
