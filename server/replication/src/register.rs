//! Register: the shard's node in the coordinator, as far as replication goes by it. A *configuration* is what decides
//! who counts: the ISR and `ack`.

use crate::{
    bug::Bug,
    member::{Inc, Member, Name, Run},
};

/// How many of the ISR must hold a record durably before it is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ack {
    /// All of them.
    #[default]
    All,
    /// The primary and one other, if there is one.
    One,
}

/// Who counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The copies in sync, the primary's included. `run` says where a copy was when it came in sync, for routes only.
    pub isr: Vec<Member>,
    /// How many of them.
    pub ack: Ack,
}

impl Configuration {
    /// w: how many must hold a record.
    pub fn holders(&self) -> usize {
        match self.ack {
            Ack::All => self.isr.len(),
            Ack::One => self.isr.len().min(2),
        }
    }

    /// n - w + 1: how many must report in an election. Each set of so many shares a member with each set of w.
    pub fn reporters(&self) -> usize {
        self.isr.len() - self.holders() + 1
    }

    /// Whether this member with this data is in sync.
    pub fn counts(&self, name: &Name, inc: &Inc) -> bool {
        self.isr.iter().any(|copy| copy.name == *name && copy.inc == *inc)
    }

    /// The entry of a name, whatever its data.
    pub fn entry(&self, name: &Name) -> Option<&Member> {
        self.isr.iter().find(|copy| copy.name == *name)
    }

    /// The greatest value that w members have reached.
    pub(crate) fn reached_by_holders(&self, mut reached: impl FnMut(&Member) -> u64) -> u64 {
        let mut values: Vec<u64> = self.isr.iter().map(&mut reached).collect();
        values.sort_unstable_by(|a, b| b.cmp(a));
        values.get(self.holders().saturating_sub(1)).copied().unwrap_or(0)
    }

    /// Whether two configurations count the same copies in the same way.
    pub fn counts_like(&self, other: &Configuration) -> bool {
        self.ack == other.ack
            && self.isr.len() == other.isr.len()
            && self.isr.iter().all(|copy| other.counts(&copy.name, &copy.inc))
    }
}

/// One version of the shard's register. The coordinator's node holds more; a compare-and-set leaves that as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// Of the node: orders all of its states. In a compare-and-set the version that is expected.
    pub version: u64,
    /// Grows with every change of the primary.
    pub epoch: u64,
    /// Who leads; a restarted process does not any more.
    pub primary: Option<(Name, Run)>,
    /// Who counts.
    pub configuration: Configuration,
    /// Fewer copies in sync than this: no writes.
    pub min_isr: usize,
    /// How many copies there shall be.
    pub replicas: usize,
    /// Who shall lead when it can.
    pub preferred: Option<Name>,
    /// The last epoch that began with what unclean stops had left, so that records of earlier ones may be lost although
    /// they were committed; 0: none did.
    pub loss_epoch: u64,
}

impl Register {
    /// Whether this process is the primary.
    pub fn names(&self, member: &Member) -> bool {
        self.primary.as_ref().is_some_and(|(name, run)| *name == member.name && *run == member.run)
    }
}

/// What must hold in every configuration that the register may have now (rule 3).
pub(crate) fn reached_by_all<'a>(
    configurations: impl Iterator<Item = &'a Configuration>,
    mut reached: impl FnMut(&Member) -> u64,
    bug: Option<Bug>,
) -> u64 {
    if bug == Some(Bug::UnionQuorum) {
        return union(configurations).reached_by_holders(reached);
    }
    configurations.map(|configuration| configuration.reached_by_holders(&mut reached)).min().unwrap_or(0)
}

/// The mistake of [`Bug::UnionQuorum`]: one configuration of all members.
fn union<'a>(configurations: impl Iterator<Item = &'a Configuration>) -> Configuration {
    let mut all = Configuration { isr: Vec::new(), ack: Ack::One };
    for configuration in configurations {
        all.ack = configuration.ack;
        for copy in &configuration.isr {
            if !all.counts(&copy.name, &copy.inc) {
                all.isr.push(copy.clone());
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(names: &[&str], ack: Ack) -> Configuration {
        let member = |name: &&str| Member { name: (*name).into(), inc: "i".into(), run: "r".into() };
        Configuration { isr: names.iter().map(member).collect(), ack }
    }

    #[test]
    fn holders_and_reporters_always_share_a_member() {
        let names = ["a", "b", "c", "d", "e"];
        for n in 1..=names.len() {
            for ack in [Ack::All, Ack::One] {
                let configuration = configuration(&names[..n], ack);
                assert!(configuration.holders() + configuration.reporters() > n);
                assert!(configuration.holders() >= n.min(2));
            }
        }
    }

    #[test]
    fn what_is_reached_is_reached_in_every_configuration() {
        let (old, new) = (configuration(&["a", "b", "c"], Ack::One), configuration(&["a", "b"], Ack::One));
        let held = |member: &Member| match member.name.as_str() {
            "a" => 9,
            "b" => 4,
            _ => 7,
        };
        assert_eq!(old.reached_by_holders(held), 7);
        assert_eq!(reached_by_all([&old, &new].into_iter(), held, None), 4);
    }
}
