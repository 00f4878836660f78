//! Weather: how much of what goes wrong in a seed.

use rand::{Rng, rngs::SmallRng};

use super::MS;

/// Kinds of what [`World::nemesis`](super::World) does.
const NEMESIS_COUNT: usize = 13;
/// That of a replica that has just caught up.
pub const RISE: usize = 11;

/// Shares are of all the messages, questions, writes or moments that they concern.
pub struct Weather {
    pub loss: f64,
    pub doubles: f64,
    /// What is not late arrives in order, as on one connection.
    pub ordered: bool,
    pub late: f64,
    pub unknown: f64,
    pub old_reads: f64,
    pub slow_disk: f64,
    pub full_disk: f64,
    /// How often an engine cannot be read.
    pub unreadable: f64,
    /// Disks are synced so often, and writes acked before.
    pub interval_us: Option<u64>,
    /// How often a replica is struck at a moment that matters to it.
    pub ambush: f64,
    /// Whoever takes office falls soon after, so that epochs follow each other with a record or two.
    pub stumbles: bool,
    /// At the end all members but one are gone, and an operator believes that they are for good.
    pub gone: bool,
    /// Weights of the nemeses.
    pub nemeses: [u32; NEMESIS_COUNT],
    /// How long things go wrong.
    pub trouble_us: u64,
    pub nemesis_us: u64,
    pub client_us: u64,
}

impl Weather {
    pub fn new(rng: &mut SmallRng) -> Self {
        let mut some = |p: f64, max: f64| if rng.random_bool(p) { rng.random_range(0.0..max) } else { 0.0 };
        let (loss, doubles, late) = (some(0.6, 0.1), some(0.5, 0.4), some(0.5, 0.1));
        let (unknown, old_reads, slow_disk) = (some(0.6, 0.4), some(0.6, 0.5), some(0.5, 0.02));
        let (full_disk, ambush, unreadable) = (some(0.3, 0.01), some(0.6, 1.0), some(0.3, 0.1));
        let mut nemeses = [0; NEMESIS_COUNT];
        for weight in &mut nemeses {
            *weight = if rng.random_bool(0.6) { rng.random_range(1..10) } else { 0 };
        }
        nemeses[0] += 1;
        // Short ones end before a silent member is missed, long ones do not.
        let (short, long) = (rng.random_range(20..1000) * MS, rng.random_range(1000..5000) * MS);
        let mut interval_us = rng.random_bool(0.4).then(|| if rng.random_bool(0.7) { short } else { long });
        let mut nemesis_us = rng.random_range(100..1500) * MS;
        let mut client_us = rng.random_range(1..20) * MS;
        let mut trouble_us = if rng.random_bool(0.03) { 60_000 * MS } else { 15_000 * MS };
        if interval_us.is_some() && rng.random_bool(0.2) {
            // Little else, so that it gets far.
            nemeses = [0; NEMESIS_COUNT];
            (nemeses[0], nemeses[RISE]) = (1, 9);
            interval_us = Some(rng.random_range(1000..3000) * MS);
            (nemesis_us, trouble_us) = (rng.random_range(2000..5000) * MS, 45_000 * MS);
            client_us *= 3;
        }
        Self {
            loss,
            doubles,
            ordered: rng.random_bool(0.5),
            late,
            unknown,
            old_reads,
            slow_disk,
            full_disk,
            unreadable,
            interval_us,
            ambush,
            stumbles: rng.random_bool(0.15),
            gone: rng.random_bool(0.1),
            nemeses,
            trouble_us,
            nemesis_us,
            client_us,
        }
    }
}
