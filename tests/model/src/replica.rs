//! Names of replicas and incarnations, and tables with a place for each replica.

use std::fmt;
use std::ops::{Index, IndexMut};

/// Places for replicas; a model of two leaves the third unused.
pub const REPLICAS_MAX: usize = 3;

/// Which replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub u8);

/// The replica's *data* (`inc`). A wipe makes the second; a third would show nothing new.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Incarnation {
    /// As it began.
    First,
    /// Begun empty, after the first was lost.
    Second,
}

/// The *process* (`run`), new at every start.
pub type Run = u8;

/// One value for each replica.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PerReplica<T>(pub [T; REPLICAS_MAX]);

impl<T> Index<Name> for PerReplica<T> {
    type Output = T;

    fn index(&self, name: Name) -> &T {
        &self.0[usize::from(name.0)]
    }
}

impl<T> IndexMut<Name> for PerReplica<T> {
    fn index_mut(&mut self, name: Name) -> &mut T {
        &mut self.0[usize::from(name.0)]
    }
}

/// All places, used or not.
pub fn all_names() -> impl DoubleEndedIterator<Item = Name> + Clone {
    (0..REPLICAS_MAX as u8).map(Name)
}

/// Some of the replicas.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Names(u8);

impl Names {
    /// Every set of replicas but the empty one.
    pub fn sets() -> impl Iterator<Item = Names> + Clone {
        (1..1u8 << REPLICAS_MAX).map(Names)
    }

    /// One alone.
    pub fn only(name: Name) -> Names {
        Names(1 << name.0)
    }

    /// Whether `name` is one of them.
    pub fn contains(self, name: Name) -> bool {
        self.0 >> name.0 & 1 == 1
    }

    /// Adds one.
    pub fn insert(&mut self, name: Name) {
        self.0 |= 1 << name.0;
    }

    /// How many.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// One after the other.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Name> + Clone {
        all_names().filter(move |name| self.contains(*name))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", char::from(b'A' + self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|name| write!(f, "{name}"))
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
