//! Flag values that need more than `FromStr`: sizes in bytes, durations, weights.

use std::{ops::RangeInclusive, time::Duration};

/// What a shard copies at least while requests take long, and more than any disk can.
const RATE: RangeInclusive<u64> = 1 << 20..=1 << 40;

/// A number of bytes, as `4096`, `64KiB`, `64MiB` or `2GiB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" | "K" | "k" => 1 << 10,
        "MiB" | "M" | "m" => 1 << 20,
        "GiB" | "G" | "g" => 1 << 30,
        unit => return Err(format!("unknown unit {unit:?}; known are B, KiB, MiB and GiB")),
    };
    let number: u64 = digits.trim().parse().map_err(|_| format!("{digits:?} is not a number of bytes"))?;
    number.checked_mul(unit).ok_or_else(|| format!("{text} does not fit into 64 bits"))
}

/// Bytes per second at which slots are copied, as [`bytes`].
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        rate if RATE.contains(&rate) => Ok(rate),
        _ => Err(format!("wants {} MiB to {} GiB", RATE.start() >> 20, RATE.end() >> 30)),
    }
}

/// A duration, as `500` (milliseconds), `500ms`, `10s`, `2m`, `3h` or `30d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let unit_ms: u64 = match &text[digits.len()..] {
        "" | "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        unit => return Err(format!("unknown unit {unit:?}; known are ms, s, m, h and d")),
    };
    let number: u64 = digits.trim().parse().map_err(|_| format!("{digits:?} is not a whole number"))?;
    number
        .checked_mul(unit_ms)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text} is longer than 64 bits of milliseconds"))
}

/// A share of the slots; 0 is none. The cluster's placement may allow less.
pub(crate) fn weight(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(weight) if weight.is_finite() && weight >= 0.0 => Ok(weight),
        Ok(_) => Err("wants a finite number from 0 on".to_owned()),
        Err(_) => Err(format!("{text:?} is not a number; wants a finite one from 0 on")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_multiply_and_unknown_ones_are_refused_by_name() {
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert!(bytes("64MB").unwrap_err().contains("\"MB\""));
        assert!(bytes("MiB").is_err());
        assert!(bytes("99999999999999GiB").is_err());
        assert_eq!(rate("1MiB"), Ok(1 << 20));
        assert!(rate("1023KiB").unwrap_err().contains("1 MiB"));
        assert!(rate("1025GiB").unwrap_err().contains("1024 GiB"));
        assert_eq!(duration("250"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("2w").unwrap_err().contains("\"w\""));
    }

    #[test]
    fn a_weight_is_finite_and_not_below_nothing() {
        assert_eq!((weight("0.5"), weight("0")), (Ok(0.5), Ok(0.0)));
        for bad in ["NaN", "inf", "-inf", "-1", "1e999", "", "much"] {
            assert!(weight(bad).unwrap_err().contains("from 0 on"), "{bad}");
        }
    }
}
