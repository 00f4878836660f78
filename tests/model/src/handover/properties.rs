//! What must be true in every state.

use stateright::Property;

use super::{
    book::Mark,
    rules::{Action, Bounds, Handover},
    state::{Change, Outcome, State},
};

/// Whoever serves has of each key the last write that was committed anywhere, and no other: none is lost, none comes back, none
/// is there that nobody committed.
pub const TRUE: &str = "who serves has what was committed";
/// The slot is served by one shard at most.
pub const ONE_OWNER: &str = "one shard serves";
/// Once nothing fails any more, the hand-over is closed and one shard serves.
pub const ENDS: &str = "every hand-over ends";
/// Not a property of the rules: the exploration came as far as it should.
pub const WENT: &str = "reached: the slot has moved, and was written there";
/// The same.
pub const STAYED: &str = "reached: the slot was sealed, stayed, and was written again";

/// Steps of a recovery; what takes more goes round in circles.
const STEPS_MAX: usize = 60;

/// All of them.
pub fn all(bounds: &Bounds) -> Vec<Property<Handover>> {
    let mut all = vec![
        Property::always(TRUE, |rules: &Handover, state: &State| {
            (0..2).all(|shard| {
                !rules.serves(state, shard) || state.shards[usize::from(shard)].book.rows == state.truth
            })
        }),
        Property::always(ONE_OWNER, |rules: &Handover, state: &State| {
            !(rules.serves(state, 0) && rules.serves(state, 1))
        }),
        Property::sometimes(WENT, |rules: &Handover, state: &State| {
            let last = state.tables.last();
            last.is_some_and(|table| table.tenure > 0 && rules.serves(state, table.owner))
                && state.shards.iter().any(|shard| shard.book.tenure > 0 && !shard.book.history.is_empty())
        }),
        Property::sometimes(STAYED, |_, state: &State| {
            state.told.iter().any(|told| {
                let after =
                    |write: &(usize, &(u8, u8))| told.sealed.is_some_and(|at| write.0 >= usize::from(at));
                let shard = state
                    .shards
                    .iter()
                    .find(|shard| shard.book.tenure == 0 && !shard.book.history.is_empty());
                shard.is_some_and(|shard| {
                    shard.book.mark == Mark::Held
                        && shard.book.history.iter().enumerate().any(|write| after(&write))
                })
            })
        }),
    ];
    if bounds.ends {
        all.push(Property::always(ENDS, |rules: &Handover, state: &State| rules.stuck(state).is_none()));
    }
    all
}

impl Handover {
    /// What is done from a state in which the hand-over cannot be brought to its end, and the state in which that ends.
    pub fn stuck(&self, state: &State) -> Option<(Vec<Action>, State)> {
        let mut state = state.clone();
        let mut steps = Vec::new();
        while steps.len() < STEPS_MAX {
            let ended = state.tables.last().is_some_and(|table| table.open.is_none());
            let serving = (0..2).filter(|shard| self.serves(&state, *shard)).count();
            if ended && serving == 1 && state.shards.iter().all(|shard| shard.tail.is_empty()) {
                return None;
            }
            let step = healing(&state).into_iter().find(|step| self.allows(&state, *step));
            let Some(step) = step else { break };
            state = self.after(&state, step);
            steps.push(step);
        }
        Some((steps, state))
    }
}

/// In this order: what is appended is committed, everybody reads the table, what follows from it is logged and told, and the
/// leader goes on.
fn healing(state: &State) -> Vec<Action> {
    let shards = [0, 1];
    let mut steps: Vec<Action> = shards.map(Action::Commit).into();
    steps.extend(shards.map(|shard| Action::Learn(shard, state.version())));
    steps.extend(shards.map(Action::Unseal).into_iter().chain(shards.map(Action::Clean)));
    steps.extend(shards.map(Action::Report).into_iter().chain(shards.map(Action::Done)));
    for change in [Change::Close, Change::Decide(Outcome::Moved), Change::Decide(Outcome::Aborted)] {
        steps.extend([Action::Arrive(change), Action::Ask(change)]);
    }
    steps
}
