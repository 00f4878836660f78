//! What the rounds say: tables, the figures that were wanted, JSON.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::table::{Table, thousands};
use crate::{Outcome, project};

use super::{Round, Seen};

/// Texts of errors by which an application meets a redirect.
const REDIRECTS: [&str; 4] = ["MOVED", "ASK", "TRYAGAIN", "NOT_PRIMARY"];
/// Commonest errors that are shown of each side.
const ERRORS_SHOWN: usize = 5;

/// Medians of one side's rounds, over all its probes.
#[derive(Clone, Debug)]
struct Side {
    name: &'static str,
    seconds: f64,
    keys: u64,
    slots: u64,
    steady: [f64; 3],
    moving: [f64; 3],
    behind: [f64; 3],
    steady_gaps: Vec<f64>,
    pauses: Vec<f64>,
    reported: Vec<f64>,
    failed: usize,
    seen: usize,
    redirects: Option<u64>,
    rss_max: u64,
}

impl Side {
    fn of(name: &'static str, rounds: &[&Round]) -> Self {
        let median_of = |what: &dyn Fn(&Round) -> f64| median(rounds.iter().map(|round| what(round)));
        let load = |part: &dyn Fn(&Round) -> &Seen| {
            [
                median_of(&|round| part(round).rate),
                median_of(&|round| part(round).p50_us),
                median_of(&|round| part(round).p99_us),
            ]
        };
        let all = |what: &dyn Fn(&Round) -> Vec<f64>| sorted(rounds.iter().flat_map(|round| what(round)));
        let errors = || rounds.iter().flat_map(|round| &round.moving.errors);
        let is_redirect = |error: &&String| REDIRECTS.iter().any(|word| error.contains(word));
        let redirects: Option<Vec<f64>> =
            rounds.iter().map(|round| round.redirects.map(|count| count as f64)).collect();
        Self {
            name,
            seconds: median_of(&|round| round.moved.length.as_secs_f64()),
            keys: median_of(&|round| round.moved.keys as f64) as u64,
            slots: median_of(&|round| round.moved.slots as f64) as u64,
            steady: load(&|round| &round.steady),
            moving: load(&|round| &round.moving),
            behind: load(&|round| &round.behind),
            steady_gaps: all(&|round| round.steady.gaps_ms.clone()),
            pauses: all(&|round| round.pauses_ms.clone()),
            reported: all(&|round| round.moved.pauses_ms.clone()),
            failed: errors().count(),
            seen: errors().filter(is_redirect).count(),
            redirects: redirects.map(|counts| median(counts.into_iter()) as u64),
            rss_max: median_of(&|round| round.rss_max as f64) as u64,
        }
    }

    /// Medians of each round's ratio: throughput while slots move, and p99, both of what they were before.
    fn ratios(rounds: &[&Round]) -> [f64; 2] {
        [
            median(rounds.iter().map(|round| round.moving.rate / round.steady.rate)),
            median(rounds.iter().map(|round| round.moving.p99_us / round.steady.p99_us)),
        ]
    }
}

fn sides(rounds: &[Round]) -> Vec<(Side, [f64; 2])> {
    let mut names: Vec<&'static str> = rounds.iter().map(|round| round.side).collect();
    names.sort_unstable();
    names.dedup();
    // slotkv first.
    names.reverse();
    let of = |name: &'static str| {
        let its: Vec<&Round> = rounds.iter().filter(|round| round.side == name).collect();
        (Side::of(name, &its), Side::ratios(&its))
    };
    names.into_iter().map(of).collect()
}

/// For the terminal.
pub fn text(rounds: &[Round]) -> String {
    let tables = tables(rounds);
    let mut text: String = tables.iter().map(|table| table.text() + "\n").collect();
    for (side, _) in sides(rounds) {
        for (error, count) in errors(rounds, side.name) {
            text += &format!("{}: {count} x {error}\n", side.name);
        }
    }
    text
}

/// For docs/benchmarks.md.
pub fn markdown(rounds: &[Round]) -> String {
    tables(rounds).iter().map(|table| table.markdown() + "\n").collect()
}

fn tables(rounds: &[Round]) -> Vec<Table> {
    let sides = sides(rounds);
    let mut load = Table::new(&[
        "system",
        "slots",
        "keys",
        "seconds",
        "ops/s before",
        "while slots move",
        "share",
        "behind, by 3 shards",
        "p50 before, us",
        "moving",
        "p99 before, us",
        "moving",
        "behind",
    ]);
    let mut trouble = Table::new(&[
        "system",
        "not served p50, ms",
        "p99",
        "longest",
        "without a move p99, ms",
        "failed calls",
        "redirects the application saw",
        "the client met",
        "RSS, MB",
    ]);
    for (side, [share, _]) in &sides {
        load.row([
            side.name.to_owned(),
            thousands(side.slots),
            if side.keys == 0 { "-".to_owned() } else { thousands(side.keys) },
            format!("{:.1}", side.seconds),
            thousands(side.steady[0] as u64),
            thousands(side.moving[0] as u64),
            format!("{:.0} %", share * 100.0),
            thousands(side.behind[0] as u64),
            format!("{:.0}", side.steady[1]),
            format!("{:.0}", side.moving[1]),
            format!("{:.0}", side.steady[2]),
            format!("{:.0}", side.moving[2]),
            format!("{:.0}", side.behind[2]),
        ]);
        trouble.row([
            side.name.to_owned(),
            ms(percentile(&side.pauses, 50)),
            ms(percentile(&side.pauses, 99)),
            ms(percentile(&side.pauses, 100)),
            ms(percentile(&side.steady_gaps, 99)),
            side.failed.to_string(),
            side.seen.to_string(),
            side.redirects.map_or("-".to_owned(), thousands),
            format!("{:.0}", side.rss_max as f64 / 1e6),
        ]);
    }
    let mut tables = vec![load, trouble];
    tables.extend(wanted(&sides));
    tables
}

/// The figures that were wanted, if slotkv was measured.
fn wanted(sides: &[(Side, [f64; 2])]) -> Option<Table> {
    let (ours, [share, p99]) = sides.iter().find(|(side, _)| side.name == "slotkv")?;
    let peer = sides.iter().find(|(side, _)| side.name != "slotkv").map(|(side, _)| side);
    let mut table = Table::new(&["wanted of slotkv", "at most or least", "found", "met"]);
    let mut row = |what: &str, bound: &str, found: String, is_met: bool| {
        let met = if is_met { "yes" } else { "no" };
        table.row([what.to_owned(), bound.to_owned(), found, met.to_owned()]);
    };
    if let Some(peer) = peer {
        let part = ours.seconds / peer.seconds;
        row("time, of Redis's", "<= 0.33", format!("{part:.2}"), part <= 1.0 / 3.0);
    }
    row("throughput, of the steady one", ">= 0.80", format!("{share:.2}"), *share >= 0.8);
    row("p99, of the steady one", "<= 2.0", format!("{p99:.2}"), *p99 <= 2.0);
    let [p50, p99] = [percentile(&ours.pauses, 50), percentile(&ours.pauses, 99)];
    row("a slot is not served, p50, ms", "<= 20", ms(p50), p50 <= 20.0);
    row("a slot is not served, p99, ms", "<= 100", ms(p99), p99 <= 100.0);
    if !ours.reported.is_empty() {
        let [p50, p99] = [percentile(&ours.reported, 50), percentile(&ours.reported, 99)];
        row("the same as servers report it, p50, ms", "<= 20", ms(p50), p50 <= 20.0);
        row("the same as servers report it, p99, ms", "<= 100", ms(p99), p99 <= 100.0);
    }
    row("failed calls", "0", ours.failed.to_string(), ours.failed == 0);
    row("redirects the application saw", "0", ours.seen.to_string(), ours.seen == 0);
    Some(table)
}

/// All figures, under the target directory.
pub fn write_json(rounds: &[Round], command: &str) -> Outcome<()> {
    let part = |seen: &Seen| {
        json!({
            "operations_per_second": seen.rate,
            "p50_us": seen.p50_us,
            "p99_us": seen.p99_us,
            "gaps_ms": seen.gaps_ms,
            "failed": seen.errors.len(),
        })
    };
    let shown: Vec<Value> = rounds
        .iter()
        .map(|round| {
            json!({
                "side": round.side,
                "seconds": round.moved.length.as_secs_f64(),
                "keys": round.moved.keys,
                "slots": round.moved.slots,
                "hand_overs": round.moved.hand_overs,
                "steady": part(&round.steady),
                "moving": part(&round.moving),
                "behind": part(&round.behind),
                "pauses_ms": round.pauses_ms,
                "reported_pauses_ms": round.moved.pauses_ms,
                "redirects": round.redirects,
                "rss_max": round.rss_max,
                "errors": errors(std::slice::from_ref(round), round.side),
            })
        })
        .collect();
    let file = project::scratch().join("bench-migrate.json");
    fs::write(&file, serde_json::to_vec_pretty(&json!({ "command": command, "rounds": shown }))?)?;
    eprintln!("wrote {}", file.display());
    Ok(())
}

/// The commonest errors of a side.
fn errors(rounds: &[Round], side: &str) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for error in rounds.iter().filter(|round| round.side == side).flat_map(|round| &round.moving.errors) {
        *counts.entry(error.chars().take(100).collect()).or_default() += 1;
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.truncate(ERRORS_SHOWN);
    counts
}

fn sorted(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    percentile(&sorted(numbers), 50)
}

fn percentile(sorted: &[f64], hundredths: usize) -> f64 {
    let at = (sorted.len() * hundredths / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

fn ms(number: f64) -> String {
    if number.is_nan() { "-".to_owned() } else { format!("{number:.0}") }
}
