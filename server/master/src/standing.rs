//! What a master is at the moment, as it believes itself. Belief is enough for `Ping` and status; what the leader
//! writes is fenced by its epoch.

/// What a master does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duty {
    /// It has no session with the coordinator, and serves the table it knew last.
    #[default]
    Away,
    /// It serves the table and waits for its turn to lead.
    Standby,
    /// It leads.
    Leader,
}

/// What a master is at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What it does.
    pub duty: Duty,
    /// The master epoch, if it leads; else 0.
    pub epoch: u64,
    /// Why it cannot do what it should, in words for people.
    pub problem: Option<String>,
}

impl Standing {
    /// Whether it leads.
    pub fn leads(&self) -> bool {
        self.duty == Duty::Leader
    }

    pub(crate) fn away(problem: Option<String>) -> Self {
        Self { duty: Duty::Away, epoch: 0, problem }
    }

    pub(crate) fn standby() -> Self {
        Self { duty: Duty::Standby, epoch: 0, problem: None }
    }

    pub(crate) fn leader(epoch: u64, problem: Option<String>) -> Self {
        Self { duty: Duty::Leader, epoch, problem }
    }
}
