//! Pace: how fast a shard copies. A budget of bytes that fills with time, at a rate that gives way to the requests of clients:
//! halved while they take too long, raised again a little at a time while they do not (as TCP does, and for the same
//! reason: nobody knows what the machine can take).

use crate::Options;

/// Looks at the latency further apart than this count one by one; closer ones are one look.
const LOOK_US: u64 = 100_000;
/// What may be saved up: this part of a second.
const BURST_PARTS: u64 = 10;

/// A rate, and what is left of it.
#[derive(Clone, Debug)]
pub struct Pace {
    rate: u64,
    /// Negative after a part that was larger.
    budget: i64,
    filled_us: u64,
    looked_us: u64,
}

impl Pace {
    /// Begins at the full rate.
    pub fn new(now_us: u64, options: &Options) -> Self {
        let rate = options.rate_max.max(options.rate_min);
        Self { rate, budget: (rate / BURST_PARTS) as i64, filled_us: now_us, looked_us: now_us }
    }

    /// Bytes per second.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// How long the requests of clients take.
    pub fn look(&mut self, now_us: u64, latency_us: u64, options: &Options) {
        self.fill(now_us);
        if now_us < self.looked_us + LOOK_US {
            return;
        }
        self.looked_us = now_us;
        let rate = match latency_us > options.latency_us_max {
            true => self.rate / 2,
            false => self.rate + options.rate_max / 16,
        };
        self.rate = rate.min(options.rate_max).max(options.rate_min);
    }

    /// Whether more may be read now.
    pub fn allows(&mut self, now_us: u64) -> bool {
        self.fill(now_us);
        self.budget > 0
    }

    /// So much was.
    pub fn spend(&mut self, bytes: usize) {
        self.budget -= bytes as i64;
    }

    fn fill(&mut self, now_us: u64) {
        let us = now_us.saturating_sub(self.filled_us).min(1_000_000);
        let bytes = (self.rate * us / 1_000_000) as i64;
        if bytes > 0 {
            self.filled_us = now_us;
            self.budget = (self.budget + bytes).min((self.rate / BURST_PARTS).max(1) as i64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: fn() -> Options =
        || Options { rate_max: 1_000_000, rate_min: 10_000, latency_us_max: 1000, ..Options::default() };

    /// Bytes that go in a second, in parts of 1 kB.
    fn second(pace: &mut Pace, from_us: u64) -> usize {
        let mut bytes = 0;
        for ms in 0..1000 {
            while pace.allows(from_us + ms * 1000) {
                pace.spend(1000);
                bytes += 1000;
            }
        }
        bytes
    }

    #[test]
    fn a_second_takes_what_the_rate_allows_and_a_burst() {
        let mut pace = Pace::new(0, &OPTIONS());
        assert!((1_000_000..1_110_000).contains(&second(&mut pace, 0)));
        assert!((990_000..1_010_000).contains(&second(&mut pace, 1_000_000)));
    }

    #[test]
    fn slow_requests_slow_copying_down_to_the_least_and_quick_ones_let_it_recover() {
        let (options, mut pace) = (OPTIONS(), Pace::new(0, &OPTIONS()));
        for look in 1..20 {
            pace.look(look * LOOK_US, 2000, &options);
        }
        assert_eq!(pace.rate(), 10_000);
        assert!(second(&mut pace, 2_000_000) < 20_000);
        for look in 0..20 {
            pace.look(4_000_000 + look * LOOK_US, 500, &options);
        }
        assert_eq!(pace.rate(), 1_000_000);
    }

    #[test]
    fn a_part_larger_than_the_budget_is_paid_off_later() {
        let mut pace = Pace::new(0, &OPTIONS());
        pace.spend(600_000);
        assert!(!pace.allows(400_000));
        assert!(pace.allows(600_000));
    }

    #[test]
    fn many_looks_at_once_are_one() {
        let (options, mut pace) = (OPTIONS(), Pace::new(0, &OPTIONS()));
        (0..100).for_each(|at| pace.look(LOOK_US + at, 2000, &options));
        assert_eq!(pace.rate(), 500_000);
    }
}
