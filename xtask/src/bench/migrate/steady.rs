//! benches/src/bin/steady.rs as a process: a load that goes on while slots move, and what it tells of any part of its time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Outcome, process};

/// A program that fills or loads one side.
pub struct Steady<'a> {
    pub program: &'a Path,
    /// `slotkv` or `redis`.
    pub client: &'static str,
    /// A URI, or ports.
    pub to: String,
}

/// Keys that are filled or asked for.
#[derive(Clone, Debug)]
pub struct Keys {
    pub prefix: &'static str,
    pub count: u64,
    pub value_bytes: usize,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Callers {
    /// In a closed loop.
    pub callers: usize,
    /// Each with a key of its own.
    pub probes: usize,
    /// A probe's next call begins so long after the one before.
    pub interval_ms: u64,
}

/// Longest time until the program is connected and every probe has written.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of values on the way at once while keys are filled, about.
const FILL_BYTES: usize = 16 << 20;
/// Puts at once while keys are filled, at most.
const FILL_COUNT_MAX: usize = 500;

impl Steady<'_> {
    /// Writes each key once.
    pub fn fill(&self, keys: &Keys) -> Outcome<()> {
        let in_flight = (FILL_BYTES / keys.value_bytes.max(1)).clamp(1, FILL_COUNT_MAX);
        let mut command = self.command("fill", keys);
        process::output(command.arg(in_flight.to_string()))?;
        Ok(())
    }

    /// Starts a load and waits until every probe has written.
    pub fn load(&self, keys: &Keys, callers: Callers, file: &Path) -> Outcome<Load> {
        let mut command = self.command("load", keys);
        command.args([callers.callers.to_string(), callers.probes.to_string()]);
        command.arg(callers.interval_ms.to_string()).arg(file);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = process::tied(&mut command).spawn()?;
        let stdin = child.stdin.take();
        let mut load = Load { child, stdin, file: file.to_owned() };
        let end = Instant::now() + READY_TIMEOUT;
        while !load.has_written(callers.probes) {
            if let Some(status) = load.child.try_wait()? {
                return Err(format!("the load on {} ended: {status}", self.client).into());
            }
            if Instant::now() > end {
                return Err(format!("not every probe of {} writes", self.client).into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(load)
    }

    fn command(&self, verb: &str, keys: &Keys) -> Command {
        let mut command = Command::new(self.program);
        command.args([self.client, &self.to, verb, keys.prefix]);
        command.args([keys.count.to_string(), keys.value_bytes.to_string()]);
        command
    }
}

/// A load that runs.
pub struct Load {
    child: Child,
    /// Closed to end it.
    stdin: Option<ChildStdin>,
    file: PathBuf,
}

impl Load {
    fn has_written(&self, probes: usize) -> bool {
        let told = fs::read_to_string(&self.file).map(|text| Told::read(&text)).unwrap_or_default();
        let wrote = told.probes.iter().filter(|calls| calls.iter().any(|call| call.error.is_none()));
        wrote.count() == probes
    }

    /// Ends it; all that it told.
    pub fn finish(mut self) -> Outcome<Told> {
        drop(self.stdin.take());
        let end = Instant::now() + LEAVE_TIMEOUT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > end {
                return Err("the load does not end".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Told::read(&fs::read_to_string(&self.file)?))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It has ended, or it does now.
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// What callers ended between two times, by how long it took.
#[derive(Debug)]
struct Part {
    begin_us: u64,
    end_us: u64,
    counts: Vec<(usize, u64)>,
}

/// A probe's call.
#[derive(Debug)]
struct Call {
    end_us: u64,
    error: Option<String>,
}

/// Everything that a load told.
#[derive(Debug, Default)]
pub struct Told {
    parts: Vec<Part>,
    probes: Vec<Vec<Call>>,
    errors: Vec<(u64, String)>,
    redirects: Vec<(u64, u64)>,
}

/// Of a part of the time.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Operations of the callers per second.
    pub rate: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// The longest time between two acknowledged writes of each probe, in milliseconds.
    pub gaps_ms: Vec<f64>,
    /// Of callers and probes.
    pub errors: Vec<String>,
    /// As the client counts them, if it does.
    pub redirects: Option<u64>,
}

impl Told {
    /// Lines that are not whole are left out: the program may be writing.
    fn read(text: &str) -> Self {
        let mut told = Self::default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            // None of another kind is written.
            let _ = told.line(line);
        }
        told
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let (kind, rest) = line.split_once(' ')?;
        match kind {
            "load" => {
                let mut words = rest.split(' ');
                let begin_us = words.next()?.parse().ok()?;
                let end_us = words.next()?.parse().ok()?;
                let pair = |word: &str| {
                    let (bucket, count) = word.split_once(':')?;
                    Some((bucket.parse().ok()?, count.parse().ok()?))
                };
                self.parts.push(Part { begin_us, end_us, counts: words.filter_map(pair).collect() });
            }
            "probe" => {
                let mut words = rest.splitn(4, ' ');
                let probe: usize = words.next()?.parse().ok()?;
                let (_begin, end_us) = (words.next()?, words.next()?.parse().ok()?);
                let error = words.next().filter(|outcome| *outcome != "ok").map(str::to_owned);
                if self.probes.len() <= probe {
                    self.probes.resize_with(probe + 1, Vec::new);
                }
                self.probes[probe].push(Call { end_us, error });
            }
            "error" => {
                let (at, text) = rest.split_once(' ')?;
                self.errors.push((at.parse().ok()?, text.to_owned()));
            }
            _ => {
                let (at, count) = rest.split_once(' ')?;
                self.redirects.push((at.parse().ok()?, count.parse().ok()?));
            }
        }
        Some(())
    }

    /// From one time to another, in microseconds of CLOCK_MONOTONIC.
    pub fn between(&self, from_us: u64, until_us: u64) -> Seen {
        let parts: Vec<&Part> =
            self.parts.iter().filter(|part| part.begin_us >= from_us && part.end_us <= until_us).collect();
        let seconds = parts.iter().map(|part| part.end_us - part.begin_us).sum::<u64>() as f64 / 1e6;
        let mut counts: Vec<(usize, u64)> = parts.iter().flat_map(|part| part.counts.clone()).collect();
        counts.sort_unstable();
        let sum: u64 = counts.iter().map(|(_, count)| count).sum();
        let is_within = |at: u64| at > from_us && at <= until_us;
        let of_callers = self.errors.iter().filter(|(at, _)| is_within(*at)).map(|(_, text)| text);
        let of_probes = self.probes.iter().flatten().filter(|call| is_within(call.end_us));
        let of_probes = of_probes.filter_map(|call| call.error.as_ref());
        Seen {
            rate: if seconds > 0.0 { sum as f64 / seconds } else { f64::NAN },
            p50_us: percentile_us(&counts, sum, 50),
            p99_us: percentile_us(&counts, sum, 99),
            gaps_ms: self.probes.iter().map(|calls| gap_ms(calls, from_us, until_us)).collect(),
            errors: of_callers.chain(of_probes).cloned().collect(),
            redirects: self.redirects_until(until_us).zip(self.redirects_until(from_us)).map(|(b, a)| b - a),
        }
    }

    fn redirects_until(&self, at_us: u64) -> Option<u64> {
        let (first, _) = self.redirects.first()?;
        let last = self.redirects.iter().rev().find(|(at, _)| *at <= at_us);
        last.map(|(_, count)| *count).or((at_us < *first).then_some(0))
    }
}

/// The longest time without an acknowledged write, of those that reach into a part of the time.
fn gap_ms(calls: &[Call], from_us: u64, until_us: u64) -> f64 {
    let ends: Vec<u64> = calls.iter().filter(|call| call.error.is_none()).map(|call| call.end_us).collect();
    let reaches = |pair: &&[u64]| pair[1] > from_us && pair[0] < until_us;
    let longest = ends.windows(2).filter(reaches).map(|pair| pair[1] - pair[0]).max();
    // A probe that never wrote again has no pair that ends after the last write; its gap is as long as it was watched.
    let open = ends.last().filter(|last| **last < until_us).map(|last| until_us - last);
    longest.into_iter().chain(open).max().unwrap_or(until_us - from_us) as f64 / 1000.0
}

/// `counts` by bucket, in order.
fn percentile_us(counts: &[(usize, u64)], sum: u64, hundredths: u64) -> f64 {
    let mut left = sum * hundredths / 100;
    for (bucket, count) in counts {
        if *count > left {
            return floor_us(*bucket) as f64;
        }
        left -= count;
    }
    f64::NAN
}

/// As benches/src/histogram.rs has it.
fn floor_us(bucket: usize) -> u64 {
    const PARTS: u64 = 32;
    let bucket = bucket as u64;
    if bucket < 2 * PARTS {
        return bucket;
    }
    let doublings = (bucket - PARTS) / PARTS;
    (bucket - doublings * PARTS) << doublings
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
load 0 100 5:10 64:1
redirects 100 2
probe 0 10 20 ok
probe 0 30 40 ok
probe 1 10 30 ok
load 100 200 5:20
redirects 200 7
error 150 MOVED 7
probe 0 130 150 Timeout
probe 0 150 1170 ok
probe 1 120 130 ok
probe 1 1100 1180 ok
load 200 1200 7:1000
redirects 1200 7
probe 0 11";

    #[test]
    fn a_part_of_the_time_has_what_ended_in_it() {
        let told = Told::read(TEXT);
        let seen = told.between(100, 200);
        assert_eq!((seen.rate, seen.p50_us, seen.redirects), (200_000.0, 5.0, Some(5)));
        assert_eq!(seen.errors, ["MOVED 7", "Timeout"]);
        assert_eq!(told.between(0, 200).p99_us, 64.0);
    }

    #[test]
    fn a_gap_counts_wherever_it_begins_and_a_failed_write_ends_none() {
        let told = Told::read(TEXT);
        assert_eq!(told.between(100, 200).gaps_ms, [1.13, 1.05]);
        assert_eq!(told.between(0, 35).gaps_ms, [0.02, 0.1]);
    }
}
