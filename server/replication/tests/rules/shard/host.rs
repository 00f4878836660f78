//! Host: carries out what the replicas of a shard ask for.

use super::*;

/// Rounds of messages that one input may cause.
const SETTLE_COUNT_MAX: usize = 10_000;

impl Shard {
    /// Until nothing is on its way.
    pub fn settle(&mut self) {
        for _ in 0..SETTLE_COUNT_MAX {
            let mut is_quiet = true;
            for (replica, name) in NAMES.iter().enumerate().take(self.replicas.len()) {
                let Some(machine) = &mut self.replicas[replica] else { continue };
                if !self.has_more {
                    machine.tell_commit(self.now_us);
                }
                let ready = machine.ready();
                is_quiet &= ready.is_empty();
                self.carry_out(replica, ready);
                let violation = self.replicas[replica].as_ref().and_then(Replica::violation);
                assert_eq!(violation, None, "{name}");
            }
            while let Some(message) = self.network.pop_front() {
                is_quiet = false;
                self.deliver(message);
            }
            if is_quiet {
                return;
            }
        }
        let (sent, asked) = (self.sent.len().saturating_sub(6), self.asked.len().saturating_sub(6));
        panic!("it does not come to rest: {:?}, {:?}", &self.sent[sent..], &self.asked[asked..]);
    }

    fn deliver(&mut self, message: Message) {
        let place = |name: &Name| NAMES.iter().position(|known| *known == name.as_str()).unwrap();
        let (from, to) = (place(&message.from.name), place(&message.to));
        let now_us = self.now_us;
        if self.cut.contains(&(from, to)) || (self.loses)(&message) {
            return;
        }
        if let Some(Some(replica)) = self.replicas.get_mut(to) {
            replica.step(now_us, message);
        }
    }

    fn carry_out(&mut self, replica: usize, ready: Ready) {
        self.halts.extend(ready.halt);
        self.discards.extend(ready.discard.map(|why| (replica, why)));
        self.stopped.extend(ready.stopped);
        self.reads.extend(ready.reads);
        self.syncs.extend(ready.sync.then_some(replica));
        self.closes.extend(ready.closes);
        self.commits.extend(ready.commit.map(|commit| (replica, commit.index, commit.acknowledges)));
        for (id, write) in ready.writes {
            match &write {
                Write::Append(records) => {
                    self.logs[replica].extend(records.iter().map(|record| record.position));
                }
                Write::Barrier(position) => self.logs[replica].push(*position),
                Write::Cut(index) => self.logs[replica].truncate(*index as usize),
                Write::Part(part) => {
                    if part.number == 0 {
                        self.staged[replica].clear();
                    }
                    self.staged[replica].extend(unpack(&part.bytes));
                }
                Write::Install(at) => {
                    self.logs[replica] = std::mem::take(&mut self.staged[replica]);
                    assert_eq!(self.logs[replica].last(), Some(at), "a snapshot is whole");
                }
                Write::Promise(_) => {}
            }
            if self.stalled.contains(&replica) {
                self.unfinished[replica].push((id, write));
            } else {
                self.keep(replica, &write);
                self.finish(replica, id);
            }
        }
        for message in ready.messages {
            self.sent.push(message.clone());
            self.network.push_back(message);
        }
        for (id, ask) in ready.asks {
            self.asked.push((replica, id, ask.clone()));
            let holds = self.holds_changes && matches!(ask, Ask::CompareAndSet(_));
            if holds || self.cut_off.contains(&replica) {
                self.unanswered.push((replica, id));
            } else {
                let answer = self.coordinate(&ask);
                let now_us = self.now_us;
                self.get(replica).answered(now_us, id, answer);
            }
        }
        self.loads.extend(ready.loads.into_iter().map(|load| (replica, load)));
        if !self.holds_loads {
            self.load(usize::MAX);
        }
        for fetch in ready.fetches {
            let record = |index: u64| Record {
                position: self.logs[replica][index as usize - 1],
                payload: Vec::from(*b"payload").into(),
            };
            let records = (fetch.from_index..=fetch.upto_index).map(record).collect();
            let now_us = self.now_us;
            self.get(replica).fetched(now_us, &fetch.to, fetch.from_index, records);
        }
    }

    /// Hands in parts of snapshots that were asked for, of one record each.
    pub fn load(&mut self, count: usize) {
        for _ in 0..count.min(self.loads.len()) {
            let (replica, load) = self.loads.remove(0);
            let commit = self.get(replica).commit_index();
            let begin = || self.logs[replica][..commit as usize].to_vec();
            let (log, read) = self.reading.entry((replica, load.snapshot)).or_insert_with(|| (begin(), 0));
            let bytes = pack(&log[*read..*read + 1]);
            *read += 1;
            let chunk = Chunk { at_index: log.len() as u64, bytes, is_last: *read == log.len() };
            let now_us = self.now_us;
            self.get(replica).loaded(now_us, load.snapshot, Some(chunk));
        }
    }

    pub(super) fn keep(&mut self, replica: usize, write: &Write) {
        if let Write::Promise(promise) = write {
            self.promises[replica] = *promise;
        }
    }

    pub(super) fn finish(&mut self, replica: usize, id: u64) {
        let now_us = self.now_us;
        if self.stalled.contains(&replica) {
            return;
        }
        if let Some(replica) = &mut self.replicas[replica] {
            replica.written(now_us, id);
        }
    }

    /// The coordinator.
    pub fn coordinate(&mut self, ask: &Ask) -> Answer {
        match ask {
            Ask::Read => Answer::Register(self.register.clone()),
            Ask::CompareAndSet(target) if target.version == self.register.version => {
                self.register = Register { version: target.version + 1, ..target.clone() };
                Answer::Written(self.register.version)
            }
            Ask::CompareAndSet(_) => Answer::Conflict,
            Ask::Stand(epoch, candidate) => {
                self.candidates.entry(*epoch).or_default().push(candidate.clone());
                Answer::Standing
            }
            Ask::Candidates(epoch) => {
                Answer::Candidates(self.candidates.get(epoch).cloned().unwrap_or_default())
            }
        }
    }
}
