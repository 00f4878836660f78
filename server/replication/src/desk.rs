//! Desk: questions to the coordinator, at most one of a kind at a time, asked again after a while.

use crate::{
    ready::{Ask, Ready},
    register::Register,
};

/// Which kind of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    CompareAndSet,
    Stand,
    Candidates,
}

/// What is asked, and the newest register known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desk {
    next_id: u64,
    open: [Option<u64>; 4],
    /// When a kind was asked last.
    asked_us: [u64; 4],
    /// The newest version seen.
    pub known: Option<Register>,
}

impl Desk {
    pub fn is_open(&self, kind: Kind) -> bool {
        self.open[kind as usize].is_some()
    }

    /// Asks, unless the same kind is open. A question that nobody waits for any more is given up by [`Self::give_up`].
    pub fn ask(&mut self, now_us: u64, kind: Kind, ask: Ask, ready: &mut Ready) {
        if self.is_open(kind) {
            return;
        }
        self.next_id += 1;
        self.open[kind as usize] = Some(self.next_id);
        self.asked_us[kind as usize] = now_us;
        ready.asks.push((self.next_id, ask));
    }

    pub fn read(&mut self, now_us: u64, ready: &mut Ready) {
        self.ask(now_us, Kind::Read, Ask::Read, ready);
    }

    /// The kind that an answer is for; `None` if nobody waits for it.
    pub fn close(&mut self, id: u64) -> Option<Kind> {
        let kinds = [Kind::Read, Kind::CompareAndSet, Kind::Stand, Kind::Candidates];
        let kind = kinds.into_iter().find(|kind| self.open[*kind as usize] == Some(id))?;
        self.open[kind as usize] = None;
        Some(kind)
    }

    /// The answer does not matter any more.
    pub fn give_up(&mut self, kind: Kind) {
        self.open[kind as usize] = None;
    }

    /// When this kind may be asked again.
    pub fn due_us(&self, kind: Kind, interval_us: u64) -> u64 {
        self.asked_us[kind as usize] + interval_us
    }

    /// Keeps what was read. `false`: something newer was read before, a read may be old.
    pub fn learn(&mut self, register: &Register) -> bool {
        let is_old = self.known.as_ref().is_some_and(|known| known.version > register.version);
        if !is_old {
            self.known = Some(register.clone());
        }
        !is_old
    }
}
