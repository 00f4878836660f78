//! Coordinator: one register and the candidates of each epoch. It answers late, old, or not at all.

use std::collections::{BTreeMap, BTreeSet};

use slotkv_replication::{Answer, Ask, Candidate, Register};

/// Versions that an old read may still show.
const OLD_COUNT: usize = 4;

/// Of a host's process.
type Session = (usize, u64);

pub struct Coordinator {
    pub register: Register,
    old: Vec<Register>,
    /// By epoch; each with the session that the node belongs to.
    candidates: BTreeMap<u64, Vec<(Session, Candidate)>>,
    expired: BTreeSet<Session>,
}

impl Coordinator {
    pub fn new(register: Register) -> Self {
        Self { register, old: Vec::new(), candidates: BTreeMap::new(), expired: BTreeSet::new() }
    }

    pub fn carry_out(&mut self, session: Session, ask: &Ask, old: bool) -> Answer {
        match ask {
            Ask::Read if old && !self.old.is_empty() => Answer::Register(self.old[0].clone()),
            Ask::Read => Answer::Register(self.register.clone()),
            Ask::CompareAndSet(target) if target.version == self.register.version => {
                self.write(Register { version: target.version + 1, ..target.clone() });
                Answer::Written(self.register.version)
            }
            Ask::CompareAndSet(_) => Answer::Conflict,
            Ask::Stand(..) if self.expired.contains(&session) => Answer::Unknown,
            Ask::Stand(epoch, candidate) => {
                self.candidates.entry(*epoch).or_default().push((session, candidate.clone()));
                Answer::Standing
            }
            Ask::Candidates(epoch) => {
                let found = self.candidates.get(epoch);
                let found = found.into_iter().flatten().map(|(_, candidate)| candidate.clone());
                Answer::Candidates(found.collect())
            }
        }
    }

    pub fn write(&mut self, register: Register) {
        let old = std::mem::replace(&mut self.register, register);
        self.old.push(old);
        if self.old.len() > OLD_COUNT {
            self.old.remove(0);
        }
        self.candidates.retain(|epoch, _| *epoch > self.register.epoch);
    }

    /// A session ends, with the nodes that were made in it.
    pub fn expire(&mut self, session: Session) {
        for candidates in self.candidates.values_mut() {
            candidates.retain(|(owner, _)| *owner != session);
        }
        self.expired.insert(session);
    }
}
