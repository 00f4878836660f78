//! Programs whose callers write one key each, again and again, and write down when: benches/src/bin/callers.rs and its
//! twins. What they wrote down tells how long a fault kept each caller from writing.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Outcome, process};

/// A caller begins its next call so long after the end of the one before.
const INTERVAL_MS: u32 = 10;
/// Longest time from the start of the programs until each caller has written.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What one language brings.
pub struct Load {
    pub language: &'static str,
    /// Wants the number of callers, the interval and a file as further arguments.
    pub command: Command,
    pub callers: usize,
}

/// One call, in microseconds of CLOCK_MONOTONIC.
#[derive(Clone, Debug)]
struct Call {
    begin_us: u64,
    end_us: u64,
    error: Option<String>,
}

/// Programs that run, with all that their callers did.
pub struct Callers {
    programs: Vec<Program>,
}

struct Program {
    language: &'static str,
    child: Child,
    /// Closed to end it.
    stdin: Option<ChildStdin>,
    file: File,
    /// The part of a line that has been read.
    unread: String,
    callers: Vec<Vec<Call>>,
}

/// What a fault was to one caller.
#[derive(Clone, Debug)]
pub struct Seen {
    pub language: &'static str,
    /// From the last write that was acknowledged before to the first after; `None` if there was none after.
    pub gap_ms: Option<f64>,
    /// Of the slowest call.
    pub slowest_ms: f64,
    /// Calls that ended with an error.
    pub errors: Vec<String>,
}

impl Callers {
    /// Starts the programs and waits until each caller has written.
    pub fn start(loads: Vec<Load>, dir: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(dir)?;
        let mut callers = Self { programs: Vec::new() };
        for load in loads {
            callers.programs.push(Program::start(load, dir)?);
        }
        if !callers.await_writes(0, READY_TIMEOUT)? {
            return Err("not every caller writes".into());
        }
        Ok(callers)
    }

    /// Waits until each caller has written what it began after a time; whether they all did.
    pub fn await_writes(&mut self, after_us: u64, patience: Duration) -> Outcome<bool> {
        let end = Instant::now() + patience;
        loop {
            self.read()?;
            let mut all = self.programs.iter().flat_map(|program| &program.callers);
            if all.all(|calls| first_ok(calls, after_us).is_some()) {
                return Ok(true);
            }
            if Instant::now() > end {
                return Ok(false);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// What the callers saw of a fault at one time, up to another.
    pub fn seen(&mut self, at_us: u64, until_us: u64) -> Outcome<Vec<Seen>> {
        self.read()?;
        let mut seen = Vec::new();
        for program in &self.programs {
            seen.extend(program.callers.iter().map(|calls| look(program.language, calls, at_us, until_us)));
        }
        Ok(seen)
    }

    fn read(&mut self) -> Outcome<()> {
        self.programs.iter_mut().try_for_each(Program::read)
    }
}

impl Program {
    fn start(load: Load, dir: &Path) -> Outcome<Self> {
        let Load { language, mut command, callers } = load;
        let path: PathBuf = dir.join(format!("{language}.calls"));
        let file = File::create(&path).and_then(|_| File::open(&path))?;
        command.args([callers.to_string(), INTERVAL_MS.to_string()]).arg(&path);
        command.stdin(Stdio::piped());
        let mut child = process::tied(&mut command)
            .spawn()
            .map_err(|error| format!("cannot start the callers in {language}: {error}"))?;
        let stdin = child.stdin.take();
        Ok(Self { language, child, stdin, file, unread: String::new(), callers: vec![Vec::new(); callers] })
    }

    fn read(&mut self) -> Outcome<()> {
        if let Some(status) = self.child.try_wait()? {
            return Err(format!("the callers in {} ended: {status}", self.language).into());
        }
        self.file.read_to_string(&mut self.unread)?;
        let whole = self.unread.rfind('\n').map_or(0, |end| end + 1);
        for line in self.unread[..whole].lines() {
            let (caller, call) = parse(line).ok_or_else(|| format!("no call: {line:?}"))?;
            self.callers.get_mut(caller).ok_or("no such caller")?.push(call);
        }
        self.unread.drain(..whole);
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It leaves at the end of its input; what it is busy with is not waited for.
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

fn parse(line: &str) -> Option<(usize, Call)> {
    let mut words = line.splitn(4, ' ');
    let mut number = || words.next()?.parse::<u64>().ok();
    let (caller, begin_us, end_us) = (number()?, number()?, number()?);
    let outcome = words.next()?;
    let error = (outcome != "ok").then(|| outcome.to_owned());
    Some((caller as usize, Call { begin_us, end_us, error }))
}

/// Where the first good call is that began after a time.
fn first_ok(calls: &[Call], after_us: u64) -> Option<usize> {
    let from = calls.partition_point(|call| call.begin_us <= after_us);
    calls[from..].iter().position(|call| call.error.is_none()).map(|at| from + at)
}

fn look(language: &'static str, calls: &[Call], at_us: u64, until_us: u64) -> Seen {
    let concerned = calls.iter().filter(|call| call.end_us >= at_us && call.begin_us <= until_us);
    let slowest = concerned.clone().map(|call| call.end_us - call.begin_us).max().unwrap_or(0);
    Seen {
        language,
        gap_ms: gap_us(calls, at_us).map(|gap| gap as f64 / 1000.0),
        slowest_ms: slowest as f64 / 1000.0,
        errors: concerned.filter_map(|call| call.error.clone()).collect(),
    }
}

/// The longest time between good ends, from the last before the fault to the first of a call that began after it: what
/// was under way and got its answer late, be it from the old primary or from the new one, lies in between.
fn gap_us(calls: &[Call], at_us: u64) -> Option<u64> {
    let after = first_ok(calls, at_us)?;
    let before = calls.partition_point(|call| call.end_us <= at_us);
    let before = calls[..before].iter().rposition(|call| call.error.is_none()).unwrap_or(0);
    let good: Vec<u64> =
        calls[before..=after].iter().filter(|call| call.error.is_none()).map(|call| call.end_us).collect();
    good.windows(2).map(|pair| pair[1] - pair[0]).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(lines: &[&str]) -> Vec<Call> {
        lines.iter().map(|line| parse(line).unwrap().1).collect()
    }

    #[test]
    fn gap_is_from_the_last_good_end_before_to_the_first_good_end_after() {
        let calls =
            calls(&["0 0 10 ok", "0 20 30 ok", "0 40 900 no answer", "0 910 1000 ok", "0 1010 1020 ok"]);
        assert_eq!(gap_us(&calls, 35), Some(970));
        let seen = look("Rust", &calls, 35, 1005);
        assert_eq!((seen.errors.len(), seen.slowest_ms), (1, 0.86));
    }

    #[test]
    fn answer_that_was_on_its_way_does_not_end_the_gap() {
        let calls = calls(&["0 0 10 ok", "0 20 30 ok", "0 40 900 ok"]);
        assert_eq!(gap_us(&calls, 25), Some(870));
    }

    #[test]
    fn caller_that_never_writes_again_has_no_gap() {
        assert_eq!(gap_us(&calls(&["0 0 10 ok", "0 20 500 no answer"]), 15), None);
    }
}
