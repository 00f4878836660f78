//! Vow: what a replica has promised. An epoch, durably, below which it refuses everything (rule 2); and, to the
//! primary of that epoch, not to promise a higher one for a while (rule 5).

/// What must survive a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// Nothing lower is obeyed.
    pub epoch: u64,
    /// The longest lease that may have been granted.
    pub lease_us: u64,
}

/// The promise as it is on the disk and as it is being written, and the grants.
#[derive(Clone, Debug)]
pub(crate) struct Vow {
    /// On the disk.
    pub kept: Promise,
    /// Asked to be written; refusals go by this one.
    pub made: Promise,
    /// A grant to the primary of `kept.epoch` holds until then.
    pub granted_until_us: u64,
    /// This process does not know what its predecessor granted: until then it promises nothing new.
    pub quiet_until_us: u64,
}

impl Vow {
    pub fn new(stored: Promise, now_us: u64) -> Self {
        let quiet_until_us = now_us + stored.lease_us;
        Self { kept: stored, made: stored, granted_until_us: 0, quiet_until_us }
    }

    /// Whether the promise of `epoch` is on the disk and no higher one is made.
    pub fn keeps(&self, epoch: u64) -> bool {
        self.kept.epoch == epoch && self.made.epoch == epoch
    }

    /// Until when no higher epoch may be promised of this replica's own accord. An elected primary's is obeyed at once: who
    /// elected it had let their grants run out, or had been asked by a primary that stopped for good.
    pub fn bound_until_us(&self) -> u64 {
        self.granted_until_us.max(self.quiet_until_us)
    }

    pub fn grant(&mut self, now_us: u64, lease_us: u64) {
        self.granted_until_us = self.granted_until_us.max(now_us + lease_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarted_process_is_bound_for_the_longest_lease_it_may_have_granted() {
        let vow = Vow::new(Promise { epoch: 3, lease_us: 500 }, 1000);
        assert_eq!(vow.bound_until_us(), 1500);
        assert!(vow.keeps(3) && !vow.keeps(2));
    }

    #[test]
    fn later_grant_never_shortens_an_earlier_one() {
        let mut vow = Vow::new(Promise::default(), 0);
        vow.grant(100, 500);
        vow.grant(200, 100);
        assert_eq!(vow.bound_until_us(), 600);
    }
}
