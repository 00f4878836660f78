//! What came of a run.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Plan;
use super::hand_overs::Span;
use super::member::Member;
use super::mover::Moves;
use crate::{Outcome, process, project};

/// Longest time for the last look: every key read, every replica compared.
const LAST_LOOK_MAX: Duration = Duration::from_secs(180);
/// Violations that are shown of each kind.
const SHOWN: usize = 10;

/// Everything that is said in the end.
pub struct Report {
    head: String,
    faults: BTreeMap<&'static str, usize>,
    /// What is wrong without any judge: clients and servers that ended, replicas that differ.
    troubles: Vec<String>,
    exits: usize,
    /// Of the mover, if there was one.
    moves: Vec<String>,
    last_look: Vec<String>,
    verdict: Verdict,
    /// Of the same history with a write in it that was lost.
    planted: Verdict,
}

/// What `torture-check` says.
#[derive(Default)]
struct Verdict {
    counts: BTreeMap<String, u64>,
    by_versions: Vec<String>,
    by_order: Vec<String>,
    planted: Option<String>,
}

impl Verdict {
    fn of(program: &Path, folder: &Path, plants: bool) -> Outcome<Self> {
        let mut command = Command::new(program);
        command.arg(folder).args(plants.then_some("--plant"));
        let text = String::from_utf8(process::output(&mut command)?)?;
        let mut verdict = Self::default();
        for line in text.lines() {
            let (name, rest) = line.split_once(' ').ok_or_else(|| format!("torture-check said {line:?}"))?;
            match name {
                "versions" => verdict.by_versions.push(rest.to_owned()),
                "order" => verdict.by_order.push(rest.to_owned()),
                "planted" => verdict.planted = Some(rest.to_owned()),
                _ => {
                    verdict.counts.insert(name.to_owned(), rest.parse()?);
                }
            }
        }
        Ok(verdict)
    }

    fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    fn violations(&self) -> usize {
        self.by_versions.len() + self.by_order.len()
    }
}

impl Report {
    /// Of a run whose clients have ended.
    pub fn new(
        plan: &Plan,
        length: Duration,
        faults: BTreeMap<&'static str, usize>,
        troubles: Vec<String>,
    ) -> Self {
        let profile = if plan.profile == project::Profile::Debug { "debug" } else { "release" };
        let head = format!(
            "seed {}, commit {}, {profile}, {} shards, {} replicas, ack {}, {:.1} minutes",
            plan.seed,
            commit(),
            plan.shards(),
            plan.replicas,
            plan.ack,
            length.as_secs_f64() / 60.0
        );
        Self {
            head,
            faults,
            troubles,
            exits: 0,
            moves: Vec::new(),
            last_look: Vec::new(),
            verdict: Verdict::default(),
            planted: Verdict::default(),
        }
    }

    /// Has the last program read every key, and every replica.
    pub fn look_at_the_end(
        &mut self,
        command: &mut Command,
        mut meanwhile: impl FnMut() -> Outcome<()>,
    ) -> Outcome<()> {
        let begun = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        while child.try_wait()?.is_none() {
            if begun.elapsed() > LAST_LOOK_MAX {
                child.kill()?;
                self.troubles.push(format!("the last look took more than {} s", LAST_LOOK_MAX.as_secs()));
                break;
            }
            meanwhile()?;
        }
        let ended = child.wait_with_output()?;
        for line in String::from_utf8_lossy(&ended.stdout).lines() {
            match line.strip_prefix("wrong ") {
                Some(wrong) => self.troubles.push(wrong.to_owned()),
                None => self.last_look.push(line.to_owned()),
            }
        }
        if !ended.status.success() {
            self.troubles.push(format!("the last look ended with {}", ended.status));
        }
        Ok(())
    }

    /// What was moved, and how many hand-overs met a fault.
    pub fn look_at_moves(&mut self, moves: Moves, faults: &[Span]) {
        let counts = moves.hand_overs.counts(faults);
        self.moves.push(format!(
            "hand-overs {}: {} moved, {} aborted, {} gone unseen; {} under fault; longest seal {:.0} ms",
            counts.planned,
            counts.moved,
            counts.aborted,
            counts.unseen,
            counts.under_fault,
            counts.sealed_ms_max
        ));
        let orders = moves.orders.iter().map(|(verb, orders)| {
            format!("{verb} {} done, {} otherwise, {} left", orders.done, orders.other, orders.left)
        });
        self.moves.push(format!("orders: {}", orders.collect::<Vec<_>>().join("; ")));
        if counts.planned == 0 {
            self.troubles.push("nothing was moved".to_owned());
        }
        self.troubles.extend(moves.troubles);
    }

    /// What servers did that they should not.
    pub fn look_at_members(&mut self, members: &[Member]) {
        for member in members {
            self.exits += member.exits;
            self.troubles.extend(member.surprises.iter().cloned());
            self.troubles.extend(member.panics());
        }
    }

    /// Has the operations judged, and once more with a lost write among them.
    pub fn judge(&mut self, program: &Path, folder: &Path, plants: bool) -> Outcome<()> {
        self.verdict = Verdict::of(program, folder, plants)?;
        self.planted = Verdict::of(program, folder, true)?;
        Ok(())
    }

    /// Whether nothing is wrong.
    pub fn is_right(&self) -> bool {
        self.troubles.is_empty() && self.verdict.violations() == 0 && self.verdict.count("undecided") == 0
    }

    /// How many keys were checked.
    pub fn checks(&self) -> u64 {
        self.verdict.count("keys")
    }

    /// A judge that finds nothing might look for nothing.
    pub fn expect_planted_to_be_found(&self) -> Outcome<()> {
        if self.planted.by_versions.is_empty() || self.planted.by_order.is_empty() {
            return Err(format!("the planted lost write was not found: {:?}", self.planted.planted).into());
        }
        Ok(())
    }

    /// As people read it.
    pub fn text(&self) -> String {
        let verdict = &self.verdict;
        let mut text = format!("\n{}\n", self.head);
        text += &format!(
            "operations {}: {} done, {} failed, {} unknown; {} keys, at most {} operations on one\n",
            verdict.count("operations"),
            verdict.count("done"),
            verdict.count("failed"),
            verdict.count("unknown"),
            verdict.count("keys"),
            verdict.count("key_operations_max"),
        );
        let faults: Vec<String> = self.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let sum: usize = self.faults.values().sum();
        text += &format!("faults {sum}: {}\n", faults.join(", "));
        text += &format!("ends of servers by themselves {}\n", self.exits);
        for line in self.moves.iter().chain(&self.last_look) {
            text += &format!("{line}\n");
        }
        if let Some(planted) = &verdict.planted {
            text += &format!("planted: {planted}\n");
        }
        text += &format!(
            "violations {} by versions, {} by order; undecided {}; other troubles {}\n",
            verdict.by_versions.len(),
            verdict.by_order.len(),
            verdict.count("undecided"),
            self.troubles.len()
        );
        text += &format!(
            "a planted lost write is {}\n",
            if self.expect_planted_to_be_found().is_ok() { "found by both" } else { "NOT FOUND" }
        );
        for why in [&verdict.by_versions, &verdict.by_order, &self.troubles] {
            for why in why.iter().take(SHOWN) {
                text += &format!("  {}\n", why.chars().take(1500).collect::<String>());
            }
        }
        text
    }
}

/// The commit of the tree, with a mark if it was changed since.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(project::root()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}+"),
    }
}
