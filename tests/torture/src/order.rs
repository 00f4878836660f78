//! Whether the operations of one key can have happened one after the other, each at an instant between its begin and its
//! end: linearizability, by the search of Wing and Gong with Lowe's memory of what was tried. Versions have no part in it,
//! so a store that gives wrong ones to hide what it lost is found as well.
//!
//! What makes every check decide, though many ends are unknown after a fault: values are unique, so each has one writer. An
//! operation that may have been applied is therefore taken only right before one that cannot do without it: before
//! anything else it either changes nothing that matters, or may as well come later, as it has no end.

use std::collections::{BTreeMap, HashMap};

use slotkv_tests::simulation::history::{Call, End, Event};

/// States looked at before a check is given up.
pub const STATES_MAX: usize = 1_000_000;

/// What came of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// There is one.
    Found,
    /// There is none; how far the longest came.
    None(String),
    /// Given up after [`STATES_MAX`] states.
    Undecided,
}

/// What a key holds; `None`: nothing. A counter that does not exist is one of 0.
type State = Option<u64>;

/// What an operation finds.
#[derive(Clone, Copy, Debug)]
enum Needs {
    Anything,
    Exactly(State),
    Present,
    /// Something, and not this.
    Other(u64),
}

impl Needs {
    fn hold(self, state: State) -> bool {
        match self {
            Needs::Anything => true,
            Needs::Exactly(wanted) => state == wanted,
            Needs::Present => state.is_some(),
            Needs::Other(value) => state.is_some_and(|held| held != value),
        }
    }
}

/// What an operation leaves.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    AsItIs,
    Holding(State),
    OneMore,
}

impl Leaves {
    fn after(self, state: State) -> State {
        match self {
            Leaves::AsItIs => state,
            Leaves::Holding(state) => state,
            Leaves::OneMore => Some(state.unwrap_or(0) + 1),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Step {
    event: usize,
    begun: u64,
    ended: u64,
    needs: Needs,
    leaves: Leaves,
}

/// Looks for an order of the operations of one key.
pub fn find(events: &[Event]) -> Order {
    find_within(events, STATES_MAX)
}

fn find_within(events: &[Event], states_max: usize) -> Order {
    let (mut sure, mut open) = (Vec::new(), Vec::new());
    let is_counter = events.iter().any(|event| event.call == Call::Increment);
    let values = values(events);
    for (at, event) in events.iter().enumerate() {
        let step =
            |(needs, leaves)| Step { event: at, begun: event.begun, ended: event.ended, needs, leaves };
        match event.end {
            End::Failed => {}
            End::Unknown => open.extend(attempt(&event.call, &values).map(step)),
            _ => match done(event, is_counter, &values) {
                Some(what) => sure.push(step(what)),
                None => return Order::None(format!("nobody can have written what {event:?} compares with")),
            },
        }
    }
    sure.sort_by_key(|step| step.begun);
    open.sort_by_key(|step| step.begun);
    let mut search = Search {
        used: vec![0; open.len().div_ceil(64)],
        taken: vec![false; sure.len()],
        sure,
        open,
        seen: HashMap::new(),
        mark: 0,
        states: 0,
        states_max,
        longest: 0,
        stuck: (Vec::new(), None),
    };
    let begin = if is_counter { Some(0) } else { None };
    match search.go_on(0, 0, begin) {
        Some(true) => Order::Found,
        None => Order::Undecided,
        Some(false) => {
            let (next, state) = search.stuck;
            let next: Vec<String> = next.iter().map(|&event| format!("{:?}", events[event])).collect();
            Order::None(format!(
                "no order explains more than {} of {} operations; then the key holds {state:?}, and these come next: {}",
                search.longest,
                search.sure.len(),
                next.join(", ")
            ))
        }
    }
}

/// The value of each version that somebody knows.
fn values(events: &[Event]) -> BTreeMap<u64, u64> {
    let value = |event: &Event| match (&event.end, event.call.value()) {
        (End::Read(Some((version, value))), _) => Some((*version, *value)),
        (End::Written(version), Some(value)) => Some((*version, value)),
        _ => None,
    };
    events.iter().filter_map(value).collect()
}

/// What an operation with a known end found and left. `None`: it met a condition that names a value of nobody's.
fn done(event: &Event, is_counter: bool, values: &BTreeMap<u64, u64>) -> Option<(Needs, Leaves)> {
    let nothing = if is_counter { Some(0) } else { None };
    Some(match (&event.call, &event.end) {
        (_, End::Read(read)) => (Needs::Exactly(read.map_or(nothing, |it| Some(it.1))), Leaves::AsItIs),
        (Call::Put(value), End::Written(_)) => (Needs::Anything, Leaves::Holding(Some(*value))),
        (Call::PutIfAbsent(value), End::Written(_)) => (Needs::Exactly(None), Leaves::Holding(Some(*value))),
        (Call::CompareAndSet { version, value }, End::Written(_)) => {
            let expected = if *version == 0 { None } else { Some(*values.get(version)?) };
            (Needs::Exactly(expected), Leaves::Holding(Some(*value)))
        }
        (_, End::Deleted(_)) => (Needs::Present, Leaves::Holding(None)),
        (_, End::NotFound | End::Unmet(0)) => (Needs::Exactly(None), Leaves::AsItIs),
        (Call::CompareAndSet { version, .. }, End::Unmet(_)) => {
            (values.get(version).map_or(Needs::Present, |&value| Needs::Other(value)), Leaves::AsItIs)
        }
        (_, End::Unmet(_)) => (Needs::Present, Leaves::AsItIs),
        (_, End::Number(number)) => {
            (Needs::Exactly(Some(number.checked_sub(1)?)), Leaves::Holding(Some(*number)))
        }
        // Ends that do not fit their calls are refused where lines are read.
        _ => (Needs::Anything, Leaves::AsItIs),
    })
}

/// What an operation without a known end does if it is applied. `None`: nothing, or nothing that can be.
fn attempt(call: &Call, values: &BTreeMap<u64, u64>) -> Option<(Needs, Leaves)> {
    Some(match call {
        Call::Get => return None,
        Call::Put(value) => (Needs::Anything, Leaves::Holding(Some(*value))),
        Call::PutIfAbsent(value) | Call::CompareAndSet { version: 0, value } => {
            (Needs::Exactly(None), Leaves::Holding(Some(*value)))
        }
        Call::CompareAndSet { version, value } => {
            (Needs::Exactly(Some(*values.get(version)?)), Leaves::Holding(Some(*value)))
        }
        Call::Delete => (Needs::Anything, Leaves::Holding(None)),
        Call::Increment => (Needs::Anything, Leaves::OneMore),
    })
}

struct Search {
    /// Operations that were certainly applied, by begin, and whether each has its place.
    sure: Vec<Step>,
    taken: Vec<bool>,
    /// Those that may have been.
    open: Vec<Step>,
    /// As bits, those that have a place.
    used: Vec<u64>,
    /// What was tried: by the places taken and what the key held then, the sets of used operations.
    seen: HashMap<u128, Vec<Vec<u64>>>,
    /// Of the places now taken.
    mark: u128,
    states: usize,
    states_max: usize,
    longest: usize,
    /// The operations that could have come next when the longest order ended, and what the key held.
    stuck: (Vec<usize>, State),
}

impl Search {
    /// Whether the rest has an order; `first` is the first operation without a place, `count` how many have one. `None`:
    /// given up.
    fn go_on(&mut self, mut first: usize, mut count: usize, state: State) -> Option<bool> {
        let mut here = Vec::new();
        // A read of what is there now may always come now.
        let next = loop {
            while first < self.sure.len() && self.taken[first] {
                first += 1;
            }
            if first == self.sure.len() {
                return Some(true);
            }
            let next = self.next(first);
            let read = next.iter().copied().find(|&at| {
                let step = &self.sure[at];
                matches!(step.leaves, Leaves::AsItIs) && step.needs.hold(state)
            });
            match read {
                Some(at) => {
                    self.take(at, true);
                    here.push(at);
                    count += 1;
                }
                None => break next,
            }
        };
        if count >= self.longest {
            self.longest = count;
            self.stuck = (next.iter().map(|&at| self.sure[at].event).collect(), state);
        }
        let found = match self.is_new(state) {
            false => Some(false),
            true if self.states > self.states_max => None,
            true => self.branch(first, count, state, &next),
        };
        for at in here {
            self.take(at, false);
        }
        found
    }

    fn branch(&mut self, first: usize, count: usize, state: State, next: &[usize]) -> Option<bool> {
        let end = self.end(first);
        for &at in next {
            let step = self.sure[at];
            for chain in self.chains(state, step.needs, end) {
                let mut held = state;
                for &open in &chain {
                    held = self.open[open].leaves.after(held);
                    self.switch(open);
                }
                self.take(at, true);
                let found = self.go_on(first, count + 1, step.leaves.after(held));
                self.take(at, false);
                for &open in &chain {
                    self.switch(open);
                }
                if found != Some(false) {
                    return found;
                }
            }
        }
        Some(false)
    }

    /// The first end of those without a place.
    fn end(&self, first: usize) -> u64 {
        let mut end = u64::MAX;
        for at in first..self.sure.len() {
            if self.sure[at].begun > end {
                break;
            }
            if !self.taken[at] {
                end = end.min(self.sure[at].ended);
            }
        }
        end
    }

    /// Those that may come next: begun before any that has no place had ended.
    fn next(&self, first: usize) -> Vec<usize> {
        let end = self.end(first);
        let range = first..self.sure.len();
        range.take_while(|&at| self.sure[at].begun <= end).filter(|&at| !self.taken[at]).collect()
    }

    /// The chains of operations that may have been applied, each needed by the one after it, that lead to what is needed;
    /// an empty one alone if that holds.
    fn chains(&self, state: State, needs: Needs, end: u64) -> Vec<Vec<usize>> {
        if needs.hold(state) {
            return vec![Vec::new()];
        }
        match needs {
            Needs::Anything => Vec::new(),
            Needs::Exactly(wanted) => self.exactly(state, wanted, end).into_iter().collect(),
            Needs::Present => self.some(state, None, end),
            Needs::Other(value) => self.some(state, Some(value), end),
        }
    }

    fn some(&self, state: State, other_than: Option<u64>, end: u64) -> Vec<Vec<usize>> {
        let mut chains = Vec::new();
        for (at, step) in self.usable(end) {
            let Leaves::Holding(Some(value)) = step.leaves else { continue };
            if Some(value) == other_than {
                continue;
            }
            if step.needs.hold(state) {
                chains.push(vec![at]);
            } else if let Needs::Exactly(wanted) = step.needs
                && let Some(mut chain) = self.exactly(state, wanted, end)
                && !chain.contains(&at)
            {
                chain.push(at);
                chains.push(chain);
            }
        }
        chains
    }

    /// The chain to one value: each has one writer, deletions are alike, and so are increments.
    fn exactly(&self, state: State, wanted: State, end: u64) -> Option<Vec<usize>> {
        let (mut chain, mut wanted) = (Vec::new(), wanted);
        while wanted != state {
            let (at, step) = self.usable(end).find(|(at, step)| {
                !chain.contains(at)
                    && match step.leaves {
                        Leaves::Holding(held) => held == wanted,
                        Leaves::OneMore => wanted > state,
                        Leaves::AsItIs => false,
                    }
            })?;
            chain.push(at);
            match (step.leaves, step.needs) {
                (Leaves::OneMore, _) => wanted = wanted.map(|number| number - 1),
                (_, Needs::Exactly(needed)) => wanted = needed,
                _ => break,
            }
        }
        chain.reverse();
        Some(chain)
    }

    fn usable(&self, end: u64) -> impl Iterator<Item = (usize, &Step)> {
        let steps = self.open.iter().enumerate();
        steps
            .take_while(move |(_, step)| step.begun <= end)
            .filter(|(at, _)| self.used[at / 64] & 1 << (at % 64) == 0)
    }

    /// Whether this was not tried yet. What has no order with some operations still to use has none with fewer of them.
    fn is_new(&mut self, state: State) -> bool {
        let here = self.mark ^ state.map_or(mark(2, 0), |value| mark(1, value));
        let tried = self.seen.entry(here).or_default();
        let within = |less: &[u64], more: &[u64]| less.iter().zip(more).all(|(less, more)| less & !more == 0);
        if tried.iter().any(|used| within(used, &self.used)) {
            return false;
        }
        tried.retain(|used| !within(&self.used, used));
        tried.push(self.used.clone());
        self.states += 1;
        true
    }

    fn take(&mut self, at: usize, is_taken: bool) {
        self.taken[at] = is_taken;
        self.mark ^= mark(0, at as u64);
    }

    fn switch(&mut self, at: usize) {
        self.used[at / 64] ^= 1 << (at % 64);
    }
}

/// A number for a fact; the exclusive or of many stands for all of them. In 128 bits no two sets meet by chance.
fn mark(kind: u64, fact: u64) -> u128 {
    let mixed = |seed: u64| {
        let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let low = mixed(mixed(fact) ^ kind);
    u128::from(low) | u128::from(mixed(low ^ mixed(fact.wrapping_add(kind << 32)))) << 64
}

#[cfg(test)]
mod tests;
