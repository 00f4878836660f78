//! Truth: what everybody has said and done so far, and what must hold of it.

use std::collections::BTreeMap;

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
    pub visible: u64,
}

impl Truth {
    /// (epoch, index) names one record.
    pub fn appended(&mut self, entries: &[Entry]) -> Result<(), String> {
        for (position, id) in entries {
            let known = *self.records.entry(*position).or_insert(*id);
            if known != *id {
                return Err(format!("one record per position: {position} is {known} and {id}"));
            }
        }
        Ok(())
    }

    /// Committed records are the same for all, for good.
    pub fn committed(&mut self, log: &[Entry], from: u64, upto: u64) -> Result<(), String> {
        for index in from + 1..=upto {
            let at = index as usize - 1;
            let Some(entry) = log.get(at) else {
                return Err(format!("commit index {upto} is beyond the log"));
            };
            match self.committed.get(at) {
                Some(known) if known != entry => {
                    return Err(format!(
                        "committed records never change: {index} is {known:?} and {entry:?}"
                    ));
                }
                Some(_) => {}
                None => self.committed.push(*entry),
            }
        }
        Ok(())
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
            Body::Held { durable } => durable,
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
        Ok(())
    }

    /// A client is told what is there; when it asked, `floor` was visible.
    pub fn read(&mut self, value: u64, floor: u64) -> Result<(), String> {
        if value < floor {
            return Err(format!("reads are linearizable: {value} was read when {floor} was visible"));
        }
        self.visible = self.visible.max(value);
        Ok(())
    }

    pub fn leader_count(&self) -> u64 {
        self.leaders.len() as u64
    }
}
