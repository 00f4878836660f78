//! No dead end: from any state, whenever enough replicas are alive, the network heals and nothing more fails,
//! the rules lead to a primary that serves, within a bounded number of their own steps.
//!
//! *Enough* are the reporters that an election needs, n - w + 1 members of the register's ISR by the data it
//! names. They are tried in every combination, with whatever is still on its way to the register arriving
//! first, or never.

use std::fmt;

use crate::action::Action;
use crate::bounds::RECOVERY_EPOCHS;
use crate::log::{EPOCHS, Epoch};
use crate::properties;
use crate::replica::{Name, Names};
use crate::shard::Shard;
use crate::state::State;

/// The most steps of a recovery. What takes more is going round in circles.
const STEPS_MAX: usize = 100;

/// A recovery that does not come to an end.
pub struct DeadEnd {
    /// Who is alive.
    pub alive: Names,
    /// What they did.
    pub steps: Vec<Action>,
    /// What came of it.
    pub state: State,
}

impl fmt::Display for DeadEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  with only {} alive from here on:", self.alive)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "      {step}"))?;
        writeln!(f, "   => {}", self.state)?;
        writeln!(f, "  and nothing more can be done")
    }
}

impl Shard {
    /// A combination of living replicas that should come to serve, and does not.
    pub fn dead_end(&self, state: &State) -> Option<DeadEnd> {
        if state.wrong.is_some() {
            return None;
        }
        let healed = self.healed();
        let arrivals = [Action::Arrive(0), Action::Arrive(1)].into_iter();
        let arrived = arrivals.filter(|arrival| healed.allows(state, *arrival));
        let starts = arrived.map(|arrival| healed.after(state, arrival)).chain([state.clone()]);
        starts.into_iter().find_map(|start| {
            let combinations = Names::sets().filter(|alive| could_serve(&start, *alive));
            combinations.into_iter().find_map(|alive| healed.stuck(&start, alive))
        })
    }

    /// The same rules with room for what a recovery does: elections and reconfigurations.
    fn healed(&self) -> Shard {
        let mut healed = self.clone();
        healed.bounds.epochs = (usize::from(self.bounds.epochs) + RECOVERY_EPOCHS).min(EPOCHS - 1) as Epoch;
        healed
    }

    fn stuck(&self, start: &State, alive: Names) -> Option<DeadEnd> {
        let mut state = start.clone();
        state.left.changes = u8::MAX;
        let mut steps = Vec::new();
        while steps.len() < STEPS_MAX {
            if self.serves(&state, alive) {
                return None;
            }
            let Some(action) = self.healing_step(&state, alive) else { break };
            state = self.after(&state, action);
            steps.push(action);
        }
        Some(DeadEnd { alive, steps, state })
    }

    /// Whether the primary that the register names knows it, has committed all it sent, has
    /// everything that was ever committed, and takes requests.
    fn serves(&self, state: &State, alive: Names) -> bool {
        let (primary, epoch) = (state.register.primary, state.register.epoch);
        let Some(office) = state.office_in(primary, epoch) else { return false };
        let sent = state.stream(epoch).map_or(0, |stream| stream.log.len());
        let settled = office.is_settled() && office.committed == sent && office.pending.is_none();
        alive.contains(primary) && settled && !office.stopped && properties::is_durable(self, state)
    }

    /// What the living do next: learn what is in the register, follow its primary if it can lead, elect
    /// another one if not.
    fn healing_step(&self, state: &State, alive: Names) -> Option<Action> {
        let steps = self.learning(state, alive);
        let steps =
            steps.chain(if self.can_lead(state, alive) { leading(state, alive) } else { electing(alive) });
        steps.into_iter().find(|action| self.allows(state, *action))
    }

    /// A primary reads the register when it has changed, and repeats a compare-and-set until it is through.
    fn learning(&self, state: &State, alive: Names) -> impl Iterator<Item = Action> {
        let office = |name: Name| state.replicas[name].office.as_ref();
        let behind = alive
            .iter()
            .filter(|name| office(*name).is_some_and(|known| known.version != state.register.version));
        let asking = (0..2u8).filter(|place| {
            let request = state.requests[usize::from(*place)].as_ref();
            request.is_some_and(|request| alive.contains(request.sender) && office(request.sender).is_some())
        });
        let steps: Vec<Action> = (behind.map(Action::Reread))
            .chain(asking.map(Action::Arrive))
            .chain(alive.iter().map(Action::TakeOffice))
            .collect();
        steps.into_iter()
    }

    /// Whether the primary that the register names is in office and nobody alive has promised a higher epoch,
    /// at which it would stop.
    fn can_lead(&self, state: &State, alive: Names) -> bool {
        let (primary, epoch) = (state.register.primary, state.register.epoch);
        let obeyed = alive.iter().all(|name| state.replicas[name].promised <= epoch);
        let office = state.office_in(primary, epoch);
        alive.contains(primary) && obeyed && office.is_some_and(|office| !office.stopped)
    }
}

fn could_serve(state: &State, alive: Names) -> bool {
    let configuration = &state.register.configuration;
    let present = configuration.members().filter(|(name, incarnation)| {
        alive.contains(*name) && state.replicas[*name].incarnation == *incarnation
    });
    present.count() >= configuration.reports_needed()
}

/// The others take what the primary has, it commits, and removes who is absent.
fn leading(state: &State, alive: Names) -> Vec<Action> {
    let (primary, epoch) = (state.register.primary, state.register.epoch);
    let others = alive.iter().filter(|name| *name != primary);
    let mut absent = Names::default();
    let members = state.register.configuration.members();
    let gone = members.filter(|(name, incarnation)| {
        !alive.contains(*name) || state.replicas[*name].incarnation != *incarnation
    });
    gone.for_each(|(name, _)| absent.insert(name));
    (others.clone().map(|name| Action::Follow(name, epoch)))
        .chain(others.map(Action::Take))
        .chain([Action::Sync(primary), Action::Commit(primary)])
        .chain((!absent.is_empty()).then_some(Action::Remove(primary, absent)))
        .chain(absent.iter().map(|name| Action::Remove(primary, Names::only(name))))
        .collect()
}

/// Leases run out, all who may report, and one of them takes the shard.
fn electing(alive: Names) -> Vec<Action> {
    let sets = Names::sets().filter(|set| set.iter().all(|name| alive.contains(name)));
    let elections = sets.flat_map(|set| set.iter().map(move |winner| Action::Elect(winner, set)));
    [Action::Tick].into_iter().chain(alive.iter().map(Action::Report)).chain(elections).collect()
}
