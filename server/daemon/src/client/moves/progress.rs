//! Progress: how far a move is: slots, bytes, rate, time left, and for how long slots were served by nobody. A bar on stderr for
//! people, a line of JSON on stdout for programs whenever something has changed.

use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar};
use serde_json::{Value, json};
use slotkv_proto::v1::{MigrationsReply, MovementTotals};

use super::goal::Goal;
use crate::{
    cli::exit::Failure,
    client::output::Output,
    lines::progress::{self, say},
};

/// How far it is.
pub(super) struct Progress {
    as_json: bool,
    begun: Instant,
    bar: Option<ProgressBar>,
    /// Slots that were to move when it began, and are now.
    first: Option<u32>,
    left: u32,
    /// Bytes that leaders before the present one had moved meanwhile.
    before: u64,
    /// The present leader, what it had moved when it was asked first, and has now.
    leader: Option<(u64, u64, u64)>,
    totals: MovementTotals,
    /// Failures up to this hand-over were told.
    told_id: u64,
    last: Option<Value>,
}

impl Progress {
    pub fn new(as_json: bool) -> Self {
        Self {
            as_json,
            begun: Instant::now(),
            bar: None,
            first: None,
            left: 0,
            before: 0,
            leader: None,
            totals: MovementTotals::default(),
            told_id: 0,
            last: None,
        }
    }

    /// Takes what the leader tells, and shows it.
    pub fn take(&mut self, reply: &MigrationsReply, goal: &Goal, output: &mut Output) -> Result<(), Failure> {
        self.count(reply, goal);
        let failures = self.failures(reply, goal);
        if self.as_json {
            return self.show_json(&failures, output);
        }
        let Some(first) = self.first else { return Ok(()) };
        let bar = self.bar.get_or_insert_with(|| progress::items(Some(u64::from(first))));
        bar.set_length(u64::from(first));
        bar.set_position(u64::from(first.saturating_sub(self.left)));
        for failure in failures {
            say(bar, failure);
        }
        let (bytes, elapsed) = (self.bytes(), self.begun.elapsed());
        let message = format!(
            "slots  {}  {}/s  {}",
            HumanBytes(bytes),
            HumanBytes(rate(bytes, elapsed)),
            self.pauses()
        );
        if let Some(bar) = &self.bar {
            bar.set_message(message);
        }
        Ok(())
    }

    /// Removes the bar.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// What was done, behind what was reached.
    pub fn result_to_text(&self) -> String {
        match self.moved() {
            0 => String::new(),
            slots => format!(
                " ({slots} slots, {} in {:.1} s, {})",
                HumanBytes(self.bytes()),
                self.begun.elapsed().as_secs_f64(),
                self.pauses()
            ),
        }
    }

    pub fn result_to_json(&self) -> Value {
        let mut value = self.to_json();
        value["done"] = true.into();
        value
    }

    fn moved(&self) -> u32 {
        self.first.unwrap_or(0).saturating_sub(self.left)
    }

    fn bytes(&self) -> u64 {
        self.before + self.leader.map_or(0, |(_, from, now)| now.saturating_sub(from))
    }

    fn count(&mut self, reply: &MigrationsReply, goal: &Goal) {
        let left = reply.left.iter().filter(|one| goal.concerns(one.source, one.target));
        let left: u32 = left.map(|one| one.slots).sum();
        if reply.planned {
            self.left = left;
            self.first = Some(self.first.unwrap_or(0).max(left));
        }
        let totals = reply.totals.unwrap_or_default();
        // Of those that are decided the totals tell.
        let open = reply.open.iter().filter(|open| !matches!(&*open.state, "moved" | "aborted"));
        let bytes = totals.bytes + open.map(|open| open.sent_bytes).sum::<u64>();
        match &mut self.leader {
            Some((epoch, _, now)) if *epoch == reply.master_epoch => *now = bytes.max(*now),
            Some((_, from, now)) => {
                self.before += now.saturating_sub(*from);
                self.leader = Some((reply.master_epoch, 0, bytes));
            }
            None => self.leader = Some((reply.master_epoch, bytes, bytes)),
        }
        self.totals = totals;
    }

    /// What failed and was not told yet. What failed before the command began is not its business.
    fn failures(&mut self, reply: &MigrationsReply, goal: &Goal) -> Vec<String> {
        let newest = reply.ended.iter().map(|ended| ended.id).max().unwrap_or(0);
        let is_first = self.last.is_none() && self.told_id == 0;
        let told_id = self.told_id;
        self.told_id = newest.max(told_id).max(1);
        if is_first {
            return Vec::new();
        }
        let new = reply
            .ended
            .iter()
            .filter(|ended| ended.id > told_id && !ended.moved && goal.concerns(ended.source, ended.target));
        let text = new.map(|ended| {
            let (id, slots, source, target) = (ended.id, ended.slot_count, ended.source, ended.target);
            format!(
                "hand-over {id} of {slots} slots from shard {source} to shard {target} was aborted, and is tried again: {}",
                ended.why
            )
        });
        text.collect()
    }

    fn show_json(&mut self, failures: &[String], output: &mut Output) -> Result<(), Failure> {
        let mut value = self.to_json();
        value["failures"] = failures.into();
        let was = self.last.take();
        if was.as_ref().is_none_or(|was| !is_same(was, &value)) {
            output.line(&value.to_string())?;
            output.flush()?;
        }
        self.last = Some(value);
        Ok(())
    }

    fn to_json(&self) -> Value {
        let (bytes, elapsed) = (self.bytes(), self.begun.elapsed());
        json!({
            "done": false,
            "slots": self.first,
            "slots_moved": self.moved(),
            "bytes": bytes,
            "bytes_per_second": rate(bytes, elapsed),
            "elapsed_ms": elapsed.as_millis() as u64,
            "left_ms": time_left(self.moved(), self.left, elapsed).map(|left| left.as_millis() as u64),
            "pause_us_p50": self.totals.pause_us_p50,
            "pause_us_p99": self.totals.pause_us_p99,
            "pause_us_max": self.totals.pause_us_max,
        })
    }

    fn pauses(&self) -> String {
        let ms = |us: u64| us as f64 / 1000.0;
        let (half, most) = (ms(self.totals.pause_us_p50), ms(self.totals.pause_us_p99));
        format!("pause p50 {half:.1} ms p99 {most:.1} ms")
    }
}

/// Whether two lines tell the same, but for the time that has passed.
fn is_same(one: &Value, other: &Value) -> bool {
    let facts = ["slots", "slots_moved", "bytes", "failures", "pause_us_max"];
    facts.iter().all(|fact| one[fact] == other[fact])
}

fn rate(bytes: u64, elapsed: Duration) -> u64 {
    (bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64
}

/// By how fast slots have moved so far; `None`: not known.
fn time_left(moved: u32, left: u32, elapsed: Duration) -> Option<Duration> {
    (moved > 0).then(|| elapsed.mul_f64(f64::from(left) / f64::from(moved)))
}

#[cfg(test)]
mod tests {
    use slotkv_proto::v1::{EndedMigration, MigrationStatus, MoveStatus};

    use super::*;

    fn reply(epoch: u64, left: u32, bytes: u64) -> MigrationsReply {
        MigrationsReply {
            planned: true,
            master_epoch: epoch,
            left: vec![MoveStatus { source: 0, target: 1, slots: left }],
            totals: Some(MovementTotals { bytes, ..MovementTotals::default() }),
            ..MigrationsReply::default()
        }
    }

    #[test]
    fn bytes_are_counted_over_leaders_and_slots_by_what_is_left() {
        let mut progress = Progress::new(true);
        progress.count(&reply(1, 10, 500), &Goal::All);
        assert_eq!((progress.moved(), progress.bytes()), (0, 0));
        let open = MigrationStatus { sent_bytes: 30, state: "copying".into(), ..Default::default() };
        progress.count(&MigrationsReply { open: vec![open], ..reply(1, 8, 600) }, &Goal::All);
        assert_eq!((progress.moved(), progress.bytes()), (2, 130));
        progress.count(&reply(2, 6, 50), &Goal::All);
        progress.count(&reply(2, 5, 60), &Goal::All);
        assert_eq!((progress.moved(), progress.bytes()), (5, 190));
        let (second, two) = (Duration::from_secs(1), Duration::from_secs(2));
        assert_eq!((time_left(5, 10, second), time_left(0, 9, second)), (Some(two), None));
        assert_eq!(rate(100, two), 50);
    }

    #[test]
    fn a_failure_is_told_once_and_an_old_one_not_at_all() {
        let mut progress = Progress::new(false);
        let failed = |id| EndedMigration { id, why: "the disk is full".into(), ..Default::default() };
        let with = |ids: &[u64]| MigrationsReply {
            ended: ids.iter().map(|&id| failed(id)).collect(),
            ..reply(1, 10, 0)
        };
        assert!(progress.failures(&with(&[3]), &Goal::All).is_empty());
        let told = progress.failures(&with(&[3, 6]), &Goal::All);
        assert!(told.len() == 1 && told[0].contains("hand-over 6") && told[0].ends_with("the disk is full"));
        assert!(progress.failures(&with(&[3, 6]), &Goal::All).is_empty());
    }
}
