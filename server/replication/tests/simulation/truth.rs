//! Truth: what everybody has said and done so far, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};

use slotkv_replication::{Body, Inc, Message, Position, Run};

use crate::disk::Entry;

#[derive(Default)]
pub struct Truth {
    /// What has ever been appended anywhere.
    records: BTreeMap<Position, u64>,
    /// What anybody has said to be committed.
    pub committed: Vec<Entry>,
    leaders: BTreeMap<u64, Run>,
    /// Per host: up to where it has said, in which epoch and of which data, that it holds the log.
    said: BTreeMap<usize, (u64, Inc, u64)>,
    /// The highest index that a client has been told of, by a write or by a read.
    visible: u64,
    /// Of each of `committed`: when it was begun and when it was known to be committed, and how many held it.
    spans: Vec<Span>,
    begun_us: BTreeMap<Position, u64>,
    /// Hosts that stopped and may have lost what was not synced.
    stops: Vec<(usize, u64)>,
    lost: BTreeSet<Entry>,
    /// Up to where the log was left, each time the shard lost records.
    losses: Vec<u64>,
    pub now_us: u64,
    /// From when on that was visible.
    seen: Vec<(u64, Floor)>,
}

#[derive(Clone, Copy)]
struct Span {
    from_us: u64,
    upto_us: u64,
    holders: usize,
}

/// What was visible when a read began.
#[derive(Clone, Copy, PartialEq)]
pub struct Floor {
    index: u64,
    loss_count: usize,
}

impl Truth {
    /// (epoch, index) names one record.
    pub fn appended(&mut self, entries: &[Entry], now_us: u64) -> Result<(), String> {
        for (position, id) in entries {
            self.begun_us.entry(*position).or_insert(now_us);
            let known = *self.records.entry(*position).or_insert(*id);
            if known != *id {
                return Err(format!("one record per position: {position} is {known} and {id}"));
            }
        }
        Ok(())
    }

    /// Committed records are the same for all, for good. `holders` must have had each.
    pub fn committed(
        &mut self,
        log: &[Entry],
        (from, upto): (u64, u64),
        now_us: u64,
        holders: usize,
    ) -> Result<(), String> {
        for index in from + 1..=upto {
            let at = index as usize - 1;
            let Some(entry) = log.get(at) else {
                return Err(format!("commit index {upto} is beyond the log"));
            };
            match self.committed.get(at) {
                // Who has not heard of the loss may still learn that it was committed.
                _ if self.lost.contains(entry) => {}
                Some(known) if known != entry => {
                    return Err(format!(
                        "committed records never change: {index} is {known:?} and {entry:?}"
                    ));
                }
                Some(_) => {}
                None if at > self.committed.len() => {
                    return Err(format!("committed records follow each other: {index} is {entry:?}"));
                }
                None => {
                    let from_us = self.begun_us.get(&entry.0).copied().unwrap_or(0);
                    self.committed.push(*entry);
                    self.spans.push(Span { from_us, upto_us: now_us, holders });
                }
            }
        }
        Ok(())
    }

    /// A host stops and may have lost what was not synced.
    pub fn stops(&mut self, host: usize, now_us: u64) {
        self.stops.push((host, now_us));
    }

    /// An epoch begins by what unclean stops have left. What was committed is lost only if all that held it stopped before
    /// they can have synced it; or by an operator's order (no interval).
    pub fn loses(&mut self, log: &[Entry], interval_us: Option<u64>) -> Result<u64, String> {
        let kept = self.committed.iter().zip(log).take_while(|(known, held)| known == held).count();
        for (entry, span) in self.committed.iter().zip(&self.spans).skip(kept) {
            let Some(interval_us) = interval_us else { break };
            let within = span.from_us..=span.upto_us + interval_us;
            let hosts: BTreeSet<usize> =
                self.stops.iter().filter(|stop| within.contains(&stop.1)).map(|stop| stop.0).collect();
            if hosts.len() < span.holders {
                return Err(format!(
                    "nothing older than the interval is lost: {entry:?} was committed at {} ms, and of {} holders {} stopped soon after",
                    span.upto_us / 1000,
                    span.holders,
                    hosts.len()
                ));
            }
        }
        let lost = self.committed.len() - kept;
        self.lost.extend(self.committed.drain(kept..));
        self.spans.truncate(kept);
        // An order may name a replica that knows nothing of an earlier loss: what was lost then is there again.
        while let (None, Some(entry)) = (interval_us, log.get(self.committed.len()))
            && self.lost.remove(entry)
        {
            self.committed.push(*entry);
            self.spans.push(Span { from_us: self.now_us, upto_us: self.now_us, holders: 1 });
        }
        self.visible = self.visible.min(kept as u64);
        self.losses.push(kept as u64);
        self.see();
        Ok(lost as u64)
    }

    pub fn floor(&self) -> Floor {
        Floor { index: self.visible, loss_count: self.losses.len() }
    }

    /// A snapshot holds what is committed up to its record.
    pub fn installs(&self, entries: &[Entry], at: Position) -> Result<(), String> {
        let last = entries.last().map(|entry| entry.0);
        if last == Some(at) && self.committed.get(..entries.len()) == Some(entries) {
            return Ok(());
        }
        Err(format!("a snapshot joins the log exactly: {last:?} is installed for {at}"))
    }

    /// What a host says.
    pub fn says(&mut self, host: usize, message: &Message) {
        let index = match message.body {
            Body::Held { durable, .. } => durable,
            Body::Matched { at } => at.index,
            _ => return,
        };
        let said = self.said.entry(host).or_insert_with(|| (0, message.from.inc.clone(), 0));
        if (said.0, &said.1) != (message.epoch, &message.from.inc) {
            *said = (message.epoch, message.from.inc.clone(), 0);
        }
        said.2 = said.2.max(index);
    }

    /// What was acked in an epoch stays, for the epoch.
    pub fn cut(&self, host: usize, epoch: u64, inc: &Inc, index: u64) -> Result<(), String> {
        match self.said.get(&host) {
            Some((of_epoch, of_inc, acked)) if (*of_epoch, of_inc) == (epoch, inc) && index < *acked => {
                Err(format!("what is acked is kept: {acked} was acked in epoch {epoch}, and cut at {index}"))
            }
            _ => Ok(()),
        }
    }

    /// One primary per epoch.
    pub fn leads(&mut self, epoch: u64, run: &Run) -> Result<(), String> {
        let known = self.leaders.entry(epoch).or_insert_with(|| run.clone());
        if known != run {
            return Err(format!("one primary per epoch: {epoch} is led by {known} and {run}"));
        }
        Ok(())
    }

    /// Who begins to serve has everything that was committed before its epoch.
    pub fn serves(&self, epoch: u64, log: &[Entry]) -> Result<(), String> {
        let earlier = self.committed.iter().take_while(|(position, _)| position.epoch < epoch);
        match earlier.zip(log.iter().map(Some).chain(std::iter::repeat(None))).find(|(a, b)| Some(*a) != *b) {
            Some((lost, held)) => {
                Err(format!("no committed record is lost: {lost:?} is {held:?} in the log of epoch {epoch}"))
            }
            None => Ok(()),
        }
    }

    /// A client is told that its write is done.
    pub fn acknowledged(&mut self, entry: Entry) -> Result<(), String> {
        let index = entry.0.index;
        if self.committed.get(index as usize - 1) != Some(&entry) {
            return Err(format!("acknowledged without being committed: {entry:?}"));
        }
        self.visible = self.visible.max(index);
        self.see();
        Ok(())
    }

    /// A client is told what is there; when it asked, `floor` was visible.
    pub fn read(&mut self, value: u64, floor: Floor) -> Result<(), String> {
        let floor = self.left_of(floor);
        if value < floor {
            return Err(format!("reads are linearizable: {value} was read when {floor} was visible"));
        }
        self.visible = self.visible.max(value);
        self.see();
        Ok(())
    }

    /// What of something visible the shard has not lost since.
    fn left_of(&self, floor: Floor) -> u64 {
        let lost = self.losses[floor.loss_count..].iter().min();
        lost.map_or(floor.index, |kept| floor.index.min(*kept))
    }

    fn see(&mut self) {
        let floor = self.floor();
        if self.seen.last().is_none_or(|(_, last)| *last != floor) {
            self.seen.push((self.now_us, floor));
        }
    }

    /// A backup says that what it has applied holds everything that was visible before `from_us`.
    pub fn read_bounded(&self, value: u64, from_us: u64) -> Result<(), String> {
        let count = self.seen.partition_point(|(at_us, _)| *at_us < from_us);
        let Some((_, floor)) = count.checked_sub(1).map(|at| self.seen[at]) else { return Ok(()) };
        let floor = self.left_of(floor);
        if value < floor {
            let ms = from_us / 1000;
            return Err(format!(
                "bounded reads are as fresh as they say: {value} was read, {floor} visible at {ms} ms"
            ));
        }
        Ok(())
    }

    pub fn leader_count(&self) -> u64 {
        self.leaders.len() as u64
    }
}
