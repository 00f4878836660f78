//! Zipfian ranks: rank 0 is asked for most, rank r about as often as 1 / (r + 1)^0.99 (Gray et al.: "Quickly generating
//! billion-record synthetic databases", SIGMOD 1994; the constant is YCSB's).

use super::chance::Chance;

const THETA: f64 = 0.99;
/// Up to here the sum is exact; beyond it an integral stands for it (error below 1e-9).
const EXACT_MAX: u64 = 10_000;

/// A zipfian distribution of ranks below a count that may grow.
#[derive(Clone, Debug)]
pub(crate) struct Zipfian {
    count: u64,
    zeta: f64,
    eta: f64,
    alpha: f64,
    exact: f64,
}

impl Zipfian {
    /// Ranks below `count`, which is not 0.
    pub fn new(count: u64) -> Self {
        let exact = sum(1, EXACT_MAX);
        let mut zipfian = Self { count: 0, zeta: 0.0, eta: 0.0, alpha: 1.0 / (1.0 - THETA), exact };
        zipfian.grow_to(count);
        zipfian
    }

    /// Takes a larger count; a smaller one is ignored.
    pub fn grow_to(&mut self, count: u64) {
        if count <= self.count {
            return;
        }
        self.zeta = match count {
            0..=EXACT_MAX => self.zeta + sum(self.count + 1, count),
            _ => self.exact + integral(EXACT_MAX, count),
        };
        self.count = count;
        let two = sum(1, 2);
        self.eta = (1.0 - (2.0 / count as f64).powf(1.0 - THETA)) / (1.0 - two / self.zeta);
    }

    /// The next rank.
    pub fn next(&self, chance: &mut Chance) -> u64 {
        let fraction = chance.fraction();
        let share = fraction * self.zeta;
        if share < 1.0 {
            return 0;
        }
        if share < 1.0 + 0.5f64.powf(THETA) {
            return 1.min(self.count - 1);
        }
        let rank = self.count as f64 * (self.eta * fraction - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.count - 1)
    }
}

/// Sum of 1 / i^THETA for i from `first` to `last`.
fn sum(first: u64, last: u64) -> f64 {
    (first..=last).map(|i| (i as f64).powf(-THETA)).sum()
}

/// The same from `below` + 1 to `last` by the Euler-Maclaurin formula.
fn integral(below: u64, last: u64) -> f64 {
    let (below, last) = (below as f64, last as f64);
    let area = (last.powf(1.0 - THETA) - below.powf(1.0 - THETA)) / (1.0 - THETA);
    area + (last.powf(-THETA) - below.powf(-THETA)) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_integral_agrees_with_the_sum() {
        let exact = sum(1, 200_000);
        let short = sum(1, EXACT_MAX) + integral(EXACT_MAX, 200_000);
        assert!((exact - short).abs() < 1e-6, "{exact} {short}");
    }

    #[test]
    fn shares_of_the_first_ranks_are_those_of_the_distribution() {
        let zipfian = Zipfian::new(1000);
        let mut chance = Chance::new(7);
        let mut seen = vec![0u32; 1000];
        for _ in 0..1_000_000 {
            seen[zipfian.next(&mut chance) as usize] += 1;
        }
        let share = |rank: usize| f64::from(seen[rank]) / 1e6;
        assert!((share(0) - 1.0 / zipfian.zeta).abs() < 0.002, "{}", share(0));
        assert!((share(1) - 0.5f64.powf(THETA) / zipfian.zeta).abs() < 0.002, "{}", share(1));
        assert!(seen.iter().all(|&count| count > 0));
    }

    #[test]
    fn a_grown_distribution_equals_one_made_at_that_count() {
        let mut grown = Zipfian::new(5);
        for count in [6, 900, 9_999, 10_000, 10_001, 50_000] {
            grown.grow_to(count);
            let made = Zipfian::new(count);
            assert!((grown.zeta - made.zeta).abs() < 1e-9 && (grown.eta - made.eta).abs() < 1e-9, "{count}");
        }
    }

    #[test]
    fn one_or_two_ranks_are_enough() {
        for count in 1..4 {
            let zipfian = Zipfian::new(count);
            let mut chance = Chance::new(1);
            assert!((0..1000).all(|_| zipfian.next(&mut chance) < count));
        }
    }
}
