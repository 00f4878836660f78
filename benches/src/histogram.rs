//! How long operations took, counted by length: a bucket is 3 % wide at most, whatever the length.

/// Parts that each doubling is cut into.
const PARTS: u64 = 32;
/// Below it a bucket for each microsecond.
const EXACT_BELOW: u64 = 2 * PARTS;

/// Counts by length. A program writes its buckets down, `cargo xtask bench migrate` reads them.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Histogram {
    /// Counts an operation that took so many microseconds.
    pub fn add(&mut self, us: u64) {
        let at = bucket(us);
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
    }

    /// The buckets that are not empty, `BUCKET:COUNT` each, with a blank before each; then it is empty.
    pub fn take_text(&mut self) -> String {
        let mut text = String::new();
        for (at, count) in self.counts.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            text.push_str(&format!(" {at}:{count}"));
            *count = 0;
        }
        text
    }
}

/// The bucket of a length.
pub fn bucket(us: u64) -> usize {
    if us < EXACT_BELOW {
        return us as usize;
    }
    let doublings = u64::from((us / PARTS).ilog2());
    (doublings * PARTS + (us >> doublings)) as usize
}

/// The shortest length of a bucket, in microseconds.
pub fn floor_us(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < EXACT_BELOW {
        return bucket;
    }
    let doublings = (bucket - PARTS) / PARTS;
    (bucket - doublings * PARTS) << doublings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_in_a_bucket_that_begins_at_most_3_percent_below() {
        let mut last = 0;
        for us in (0..5000).chain([10_000, 65_535, 65_536, 1_000_000, 60_000_000]) {
            let at = bucket(us);
            assert!(at == last || at == last + 1 || us >= 5000, "{us}");
            last = at;
            let floor = floor_us(at);
            assert!(floor <= us && (us - floor) * PARTS <= us, "{us} in {at}, which begins at {floor}");
            assert!(floor_us(at + 1) > us, "{us} in {at}");
        }
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let mut histogram = Histogram::default();
        [3, 3, 40].into_iter().for_each(|us| histogram.add(us));
        assert_eq!(histogram.take_text(), " 3:2 40:1");
        assert_eq!(histogram.take_text(), "");
    }
}
