//! Pace: how fast a shard copies and deletes. Two bounds hold at once.
//!
//! A budget of bytes fills with time, at a rate that gives way to the requests of clients: halved while they take too long,
//! raised again a little at a time while they do not (as TCP does, and for the same reason: nobody knows what the
//! machine can take).
//!
//! And while clients ask, a piece of work that took some time is followed by a rest that is a multiple of it, so that their
//! requests have the larger part of the shard's time whatever a piece costs. Where nobody asks there is no rest.

use crate::Options;

/// Looks at the latency further apart than this count one by one; closer ones are one look.
const LOOK_US: u64 = 100_000;
/// What may be saved up: this part of a second.
const BURST_PARTS: u64 = 10;
/// Longest rest: one slow piece, as on a disk that hangs, says little about the next.
const REST_US_MAX: u64 = 250_000;

/// A rate, and what is left of it.
#[derive(Clone, Debug)]
pub struct Pace {
    rate: u64,
    /// Negative after a part that was larger.
    budget: i64,
    filled_us: u64,
    looked_us: u64,
    asked_us: Option<u64>,
    rested_us: u64,
}

impl Pace {
    /// Begins at the full rate.
    pub fn new(now_us: u64, options: &Options) -> Self {
        let rate = options.rate_max.max(options.rate_min);
        let budget = (rate / BURST_PARTS) as i64;
        Self { rate, budget, filled_us: now_us, looked_us: now_us, asked_us: None, rested_us: now_us }
    }

    /// Bytes per second.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// Clients ask.
    pub fn asked(&mut self, now_us: u64) {
        self.asked_us = Some(now_us);
    }

    /// How long the requests of clients take.
    pub fn look(&mut self, now_us: u64, latency_us: u64, options: &Options) {
        self.asked(now_us);
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

    /// Whether clients ask, too.
    pub fn is_shared(&self, now_us: u64, options: &Options) -> bool {
        self.asked_us.is_some_and(|asked_us| now_us < asked_us.saturating_add(options.quiet_us))
    }

    /// A piece of work took so long.
    pub fn worked(&mut self, now_us: u64, us: u64, options: &Options) {
        if self.is_shared(now_us, options) {
            let percent = options.busy_percent_max.clamp(1, 100);
            let rest_us = us.saturating_mul(100 - percent) / percent;
            self.rested_us = self.rested_us.max(now_us).saturating_add(rest_us).min(now_us + REST_US_MAX);
        }
    }

    /// How long it still rests.
    pub fn rest_us(&self, now_us: u64) -> u64 {
        self.rested_us.saturating_sub(now_us)
    }

    /// Whether more may be read now.
    pub fn allows(&mut self, now_us: u64) -> bool {
        self.fill(now_us);
        self.budget > 0 && self.rest_us(now_us) == 0
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
    fn work_is_followed_by_a_rest_while_clients_ask_and_only_then() {
        let options = Options { busy_percent_max: 20, quiet_us: 1000, ..OPTIONS() };
        let mut pace = Pace::new(0, &options);
        pace.worked(0, 500, &options);
        assert_eq!((pace.rest_us(0), pace.is_shared(0, &options)), (0, false));
        pace.look(100, 1, &options);
        pace.worked(200, 500, &options);
        assert_eq!((pace.rest_us(200), pace.allows(2199), pace.allows(2200)), (2000, false, true));
        pace.asked(3000);
        pace.worked(3000, 500, &options);
        pace.worked(3000, 500, &options);
        assert_eq!(pace.rest_us(3000), 4000, "of both");
        pace.worked(3500, u64::MAX, &options);
        assert_eq!(pace.rest_us(3500), REST_US_MAX);
        assert!(!pace.is_shared(4000, &options), "nobody has asked for long");
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
