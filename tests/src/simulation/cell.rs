//! Cell: one step of a hand-over, at which one fault meets one of those that take part. [`Cell::all`] is the whole product.

use slotkv_migration::Step;

/// Whom a fault meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// The primary of the shard that gives.
    Source,
    /// The primary of the shard that gets.
    Target,
    /// The master that leads.
    Leader,
    /// The coordinator.
    Coordinator,
}

/// What happens to it. What each is for each actor stands in `strike.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It is gone at once, and comes back later.
    Crash,
    /// It stands still for longer than a lease and a session last.
    Pause,
    /// The next thing that it does fails.
    Error,
}

/// One of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// When.
    pub step: Step,
    /// Whom.
    pub actor: Actor,
    /// What.
    pub fault: Fault,
}

impl Actor {
    /// All of them.
    pub const ALL: [Actor; 4] = [Actor::Source, Actor::Target, Actor::Leader, Actor::Coordinator];
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 3] = [Fault::Crash, Fault::Pause, Fault::Error];
}

impl Cell {
    /// Every step with every actor and every fault.
    pub fn all() -> Vec<Cell> {
        let mut cells = Vec::new();
        for step in Step::ALL {
            for actor in Actor::ALL {
                cells.extend(Fault::ALL.map(|fault| Cell { step, actor, fault }));
            }
        }
        cells
    }

    /// One of each step; among them every actor with every fault.
    pub fn few(seed: u64) -> Vec<Cell> {
        let pairs = Actor::ALL.len() * Fault::ALL.len();
        let at = |number: usize| number * pairs + (number + seed as usize) % pairs;
        let all = Cell::all();
        (0..Step::ALL.len()).filter_map(|number| all.get(at(number)).copied()).collect()
    }
}
