//! One shard as a state machine: which steps the rules allow in a state, and what a step makes of it.
//! [`crate::rules`] has both, rule by rule.

use stateright::{Model, Property};

use crate::action::{self, Action};
use crate::bounds::Bounds;
use crate::check::Rules;
use crate::properties;
use crate::state::State;
use crate::variant::Variant;

/// The rules within some bounds, right or with one of them wrong.
#[derive(Clone)]
pub struct Shard {
    /// How much may happen.
    pub bounds: Bounds,
    /// The rule that is wrong, if one is.
    pub variant: Option<Variant>,
    candidates: Vec<Action>,
}

impl Shard {
    /// protocol.md's rules.
    pub fn right(bounds: Bounds) -> Shard {
        let candidates = action::candidates(&bounds);
        Shard { bounds, variant: None, candidates }
    }

    /// The same with one mistake.
    pub fn wrong(variant: Variant, bounds: Bounds) -> Shard {
        Shard { variant: Some(variant), ..Shard::right(bounds) }
    }

    /// Whether this mistake is in the rules.
    pub fn is(&self, variant: Variant) -> bool {
        self.variant == Some(variant)
    }

    /// Whether a step may be taken.
    pub fn allows(&self, state: &State, action: Action) -> bool {
        match action {
            Action::Append(a) => self.may_append(state, a),
            Action::Sync(a) => self.may_sync(state, a),
            Action::Commit(a) => self.may_commit(state, a),
            Action::Follow(b, epoch) => self.may_follow(state, b, epoch),
            Action::Take(b) => self.may_take(state, b),
            Action::Remove(a, b) => self.may_remove(state, a, b),
            Action::Add(a, b) => self.may_add(state, a, b),
            Action::ChangeAck(a) => self.may_change_ack(state, a),
            Action::Arrive(place) => self.may_arrive(state, place),
            Action::Reread(a) => self.may_reread(state, a),
            Action::Edit => self.may_edit(state),
            Action::Grant(b) => self.may_grant(state, b),
            Action::Tick => self.may_tick(state),
            Action::CheckLease(a) => self.may_check_lease(state, a),
            Action::BeginRound(a) => self.may_begin_round(state, a),
            Action::Confirm(b, a) => self.may_confirm(state, b, a),
            Action::Report(b) => self.may_report(state, b),
            Action::Elect(a, set) => self.may_elect(state, a, set),
            Action::TakeOffice(a) => self.may_take_office(state, a),
            Action::Resign(a, b) => self.may_resign(state, a, b),
            Action::Restart(b) => self.may_restart(state, b),
            Action::Wipe(b) => self.may_wipe(state, b),
        }
    }

    /// The state after a step that is allowed.
    pub fn after(&self, state: &State, action: Action) -> State {
        let mut next = state.clone();
        match action {
            Action::Append(a) => self.append(&mut next, a),
            Action::Sync(a) => self.sync(&mut next, a),
            Action::Commit(a) => self.commit(&mut next, a),
            Action::Follow(b, epoch) => self.follow(&mut next, b, epoch),
            Action::Take(b) => self.take(&mut next, b),
            Action::Remove(a, b) => self.remove(&mut next, a, b),
            Action::Add(a, b) => self.add(&mut next, a, b),
            Action::ChangeAck(a) => self.change_ack(&mut next, a),
            Action::Arrive(place) => self.arrive(&mut next, place),
            Action::Reread(a) => self.reread(&mut next, a),
            Action::Edit => self.edit(&mut next),
            Action::Grant(b) => self.grant(&mut next, b),
            Action::Tick => self.tick(&mut next),
            Action::CheckLease(a) => self.check_lease(&mut next, a),
            Action::BeginRound(a) => self.begin_round(&mut next, a),
            Action::Confirm(b, a) => self.confirm(&mut next, b, a),
            Action::Report(b) => self.report(&mut next, b),
            Action::Elect(a, set) => self.elect(&mut next, a, set),
            Action::TakeOffice(a) => self.take_office(&mut next, a),
            Action::Resign(a, b) => self.resign(&mut next, a, b),
            Action::Restart(b) => self.restart(&mut next, b),
            Action::Wipe(b) => self.wipe(&mut next, b),
        }
        next.tidy();
        next
    }
}

impl Model for Shard {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(&self.bounds)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.wrong.is_none() {
            actions.extend(self.candidates.iter().filter(|action| self.allows(state, **action)));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let next = self.after(state, action);
        let next = if self.bounds.symmetry { next.least_renamed(self.bounds.replicas) } else { next };
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(&self.bounds)
    }
}

impl Rules for Shard {
    fn epilogue(&self, property: &str, last: &State) -> String {
        let dead_end = (property == properties::NO_DEAD_END).then(|| self.dead_end(last)).flatten();
        dead_end.map(|dead_end| dead_end.to_string()).unwrap_or_default()
    }
}
