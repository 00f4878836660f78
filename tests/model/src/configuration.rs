//! A configuration, (isr, ack), and the two numbers that follow from it: how many hold a record before it is
//! committed, and how many report before one of them is elected.

use std::fmt;

use crate::replica::{Incarnation, Name, Names, PerReplica, all_names};

/// How many of the ISR hold a record before it is committed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Ack {
    /// The primary or not, any two of them (one, if there is only one).
    One,
    /// All of them.
    All,
}

/// What the register says about who counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Configuration {
    /// The members of the ISR, each by the incarnation that counts.
    pub isr: PerReplica<Option<Incarnation>>,
    /// How many of them must hold a record.
    pub ack: Ack,
}

impl Configuration {
    /// n: how many members the ISR has, the primary included.
    pub fn size(&self) -> usize {
        self.isr.0.iter().flatten().count()
    }

    /// w: how many members must hold a record durably.
    pub fn holders_needed(&self) -> usize {
        match self.ack {
            Ack::One => self.size().min(2),
            Ack::All => self.size(),
        }
    }

    /// n - w + 1: so many reports share a member with every w holders.
    pub fn reports_needed(&self) -> usize {
        self.size() - self.holders_needed() + 1
    }

    /// The members.
    pub fn members(&self) -> impl Iterator<Item = (Name, Incarnation)> {
        all_names().filter_map(|name| self.isr[name].map(|incarnation| (name, incarnation)))
    }

    /// Whether a replica of this name is a member, whatever its data.
    pub fn names(&self, name: Name) -> bool {
        self.isr[name].is_some()
    }

    /// This one without some of its members.
    pub fn without(mut self, gone: Names) -> Self {
        gone.iter().for_each(|name| self.isr[name] = None);
        self
    }

    /// This one with one more member.
    pub fn with(mut self, name: Name, incarnation: Incarnation) -> Self {
        self.isr[name] = Some(incarnation);
        self
    }

    /// This one with the other `ack`.
    pub fn with_other_ack(mut self) -> Self {
        self.ack = match self.ack {
            Ack::One => Ack::All,
            Ack::All => Ack::One,
        };
        self
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, incarnation) in self.members() {
            match incarnation {
                Incarnation::First => write!(f, "{name}")?,
                Incarnation::Second => write!(f, "{name}'")?,
            }
        }
        match self.ack {
            Ack::One => write!(f, "/one"),
            Ack::All => write!(f, "/all"),
        }
    }
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
