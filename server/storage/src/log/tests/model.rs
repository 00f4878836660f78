//! Random histories on a disk that loses what was not synced, checked against a list of records: nothing synced is
//! lost, nothing is invented, wherever the process dies.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Appends a group of records of these sizes.
    Append(Vec<usize>),
    Sync,
    /// A sync that is dropped after this many milliseconds.
    SyncDropped(u64),
    /// Begins a sync elsewhere, which runs or never does.
    SyncElsewhere(bool),
    /// Lets some milliseconds pass.
    Pass(u64),
    TruncateFront(u64),
    TruncateBack(u64),
    Reset(u64),
    /// Dies at the change after so many, whatever it is.
    StopAfter(u32),
    FailWrite(u32),
    FailSync(u32),
    Full(u64),
    Kill,
    Crash,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let sizes = prop_oneof![4 => 0..200usize, 1 => 200..3000usize];
    prop_oneof![
        8 => proptest::collection::vec(sizes, 1..6).prop_map(Step::Append),
        6 => Just(Step::Sync),
        1 => (0..8u64).prop_map(Step::SyncDropped),
        3 => proptest::bool::weighted(0.8).prop_map(Step::SyncElsewhere),
        2 => (0..8u64).prop_map(Step::Pass),
        1 => (0..100u64).prop_map(Step::TruncateFront),
        1 => (0..100u64).prop_map(Step::TruncateBack),
        1 => (0..3u64).prop_map(Step::Reset),
        1 => (0..12u32).prop_map(Step::StopAfter),
        1 => (0..6u32).prop_map(Step::FailWrite),
        1 => (0..4u32).prop_map(Step::FailSync),
        1 => (0..600u64).prop_map(Step::Full),
        1 => Just(Step::Kill),
        2 => Just(Step::Crash),
        1 => Just(Step::Close),
    ]
}

/// What a log must hold.
#[derive(Clone, Debug)]
struct Expected {
    /// The record before the first.
    before: Position,
    records: Vec<Record>,
    /// Up to here nothing may be lost.
    durable: u64,
    /// Groups that were refused since the last sync; a crash may bring some first records of them back.
    refused: Vec<Vec<Record>>,
    /// The log may have dropped records up to here.
    dropped: u64,
}

impl Expected {
    fn behind(before: Position) -> Self {
        Self {
            before,
            records: Vec::new(),
            durable: before.index,
            refused: Vec::new(),
            dropped: before.index,
        }
    }

    fn last_index(&self) -> u64 {
        self.records.last().map_or(self.before.index, |record| record.index)
    }

    /// Why a log that was opened is not what it must be: a first part of the records that reaches `at_least`.
    fn check(&self, log: &Log, at_least: u64) -> Result<(), String> {
        let (found, first, last) = (all(log), log.first_index(), log.last_index());
        if last < at_least {
            return Err(format!("ends at {last}, but {at_least} is durable"));
        }
        if !(self.before.index + 1..=self.dropped + 1).contains(&first) {
            return Err(format!("begins at {first}"));
        }
        let mut allowed = vec![self.records.clone()];
        for refused in &self.refused {
            let kept = self.records.iter().filter(|record| record.index < refused[0].index);
            allowed.push(kept.chain(refused).cloned().collect());
        }
        let is_part_of = |records: &Vec<Record>| {
            let part = records.iter().filter(|record| (first..=last).contains(&record.index));
            part.eq(&found) && last <= records.last().map_or(self.before.index, |record| record.index)
        };
        if allowed.iter().any(is_part_of) {
            Ok(())
        } else {
            Err(format!("holds {first} to {last}: {found:?}"))
        }
    }
}

pub(super) struct Run {
    pub(super) disk: SimDisk,
    pub(super) log: Option<Log>,
    expected: Expected,
    epoch: u64,
    /// Records ever made, so that each is another.
    made: u64,
    /// A sync may have failed since the log was opened.
    sync_fails: bool,
    /// The machine ends whenever the process does.
    pub(super) power_goes: bool,
    /// The first opening after an end dies at the change after so many; by chance, if unset.
    pub(super) opening_stop: Option<u32>,
    /// Times the log was opened after an end.
    pub(super) openings: u64,
    /// The log was refused, as it may be after a failed sync, a failed write and a crash in the opening: then the disk
    /// can hold bytes of a refused group between those of its successor. Safe, but no torn tail.
    is_refused: bool,
}

impl Run {
    async fn new(seed: u64, reordering: bool) -> Self {
        let disk = SimDisk::new(seed);
        disk.set_reordering(reordering);
        disk.set_sync_delay(Duration::from_millis(5));
        let (log, _) = open(&disk).await;
        Self::on(disk, log)
    }

    /// A run that begins with an empty log.
    pub(super) fn on(disk: SimDisk, log: Log) -> Self {
        Self {
            disk,
            log: Some(log),
            expected: Expected::behind(Position::default()),
            epoch: 1,
            made: 0,
            sync_fails: false,
            power_goes: false,
            opening_stop: None,
            openings: 0,
            is_refused: false,
        }
    }

    pub(super) async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        if self.is_refused {
            return Ok(());
        }
        let Some(log) = &mut self.log else { return Err(TestCaseError::fail("no log")) };
        match log.look_elsewhere() {
            Ok(()) => self.expected.durable = self.expected.durable.max(log.synced_index()),
            Err(_) => return self.die(false, None).await,
        }
        match step {
            Step::Append(sizes) => {
                self.epoch += u64::from(sizes.len() > 3);
                let (first, epoch) = (log.last_index() + 1, self.epoch);
                let payloads: Vec<_> =
                    (self.made..).zip(&sizes).map(|(at, &size)| payload(at, size)).collect();
                self.made += payloads.len() as u64;
                let as_records = (first..).zip(&payloads);
                let records: Vec<_> = as_records
                    .map(|(index, payload)| Record { index, epoch, payload: payload.clone().into() })
                    .collect();
                match log.append(epoch, &payloads) {
                    Ok(last) => {
                        prop_assert_eq!(last, records[records.len() - 1].index);
                        self.expected.records.extend(records);
                    }
                    Err(_) => self.expected.refused.push(records),
                }
                self.disk.set_capacity(None);
                Ok(())
            }
            Step::Sync => match log.sync().await {
                Ok(synced) => self.synced(synced),
                Err(_) => self.die(false, None).await,
            },
            Step::SyncDropped(after) => {
                match tokio::time::timeout(Duration::from_millis(after), log.sync()).await {
                    Ok(Ok(synced)) => self.synced(synced),
                    Ok(Err(_)) => self.die(false, None).await,
                    Err(_) => {
                        self.expected.durable = self.expected.durable.max(log.synced_index());
                        Ok(())
                    }
                }
            }
            Step::SyncElsewhere(runs) => {
                if let Some(syncing) = log.begin_sync()
                    && runs
                {
                    tokio::spawn(syncing.run());
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
            Step::Pass(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(())
            }
            Step::TruncateFront(upto) => {
                let upto = (log.first_index() + upto).min(log.synced_index());
                self.expected.dropped = self.expected.dropped.max(upto);
                match log.truncate_front(upto).await {
                    Ok(_) => Ok(()),
                    Err(_) => self.die(true, None).await,
                }
            }
            Step::TruncateBack(back) => {
                let from = (log.last_index() + 1).saturating_sub(back).max(log.first_index());
                let is_cut = from <= log.last_index();
                let cut = log.truncate_back(from).await;
                self.epoch += 1;
                self.expected.durable = self.expected.durable.min(from - 1);
                match cut {
                    Ok(()) if is_cut => {
                        self.expected.records.retain(|record| record.index < from);
                        self.synced(from - 1)
                    }
                    Ok(()) => Ok(()),
                    Err(_) => self.die(true, None).await,
                }
            }
            Step::Reset(ahead) => {
                self.epoch += 1;
                let after = Position { epoch: self.epoch, index: log.last_index() + ahead };
                let fresh = Expected::behind(after);
                match log.reset(after).await {
                    Ok(()) => {
                        self.expected = fresh;
                        Ok(())
                    }
                    Err(_) => self.die(true, Some(fresh)).await,
                }
            }
            Step::StopAfter(changes) => {
                self.disk.stop_after(changes);
                Ok(())
            }
            Step::FailWrite(writes) => {
                self.disk.fail_write(writes);
                Ok(())
            }
            Step::FailSync(syncs) => {
                self.disk.fail_sync(syncs);
                self.sync_fails = true;
                Ok(())
            }
            Step::Full(spare) => {
                self.disk.set_capacity(Some(self.disk.used_bytes() + spare));
                Ok(())
            }
            Step::Kill => self.die(false, None).await,
            Step::Crash => self.die(true, None).await,
            Step::Close => {
                let last = log.last_index();
                let Some(log) = self.log.take() else { return Ok(()) };
                if log.close().await.is_ok() {
                    self.synced(last)?;
                }
                self.die(true, None).await
            }
        }
    }

    fn synced(&mut self, synced: u64) -> Result<(), TestCaseError> {
        prop_assert_eq!(synced, self.expected.last_index());
        self.expected.durable = synced;
        self.expected.refused.clear();
        Ok(())
    }

    /// The process ends, with or without the machine, and the log is opened again, sometimes after dying in that too.
    /// It holds what is expected or, if it died between two states, `otherwise`.
    async fn die(&mut self, power: bool, otherwise: Option<Expected>) -> Result<(), TestCaseError> {
        self.log = None;
        self.disk.set_capacity(None);
        let power = power || self.power_goes;
        if power {
            self.disk.crash()
        } else {
            self.disk.kill()
        }
        let mut at_least = self.expected.durable;
        let by_chance = self.made.is_multiple_of(3).then_some((self.made % 7) as u32);
        if let Some(changes) = self.opening_stop.take().or(by_chance) {
            self.disk.stop_after(changes);
            drop(open_with(&self.disk, small_segments()).await);
            self.disk.crash();
        } else if !power && self.expected.refused.is_empty() {
            at_least = self.expected.last_index();
        }
        let fail = |why: String, expected: &Expected| TestCaseError::fail(format!("{why}; {expected:?}"));
        let opened = open_with(&self.disk, small_segments()).await;
        let (log, _) = match opened {
            Ok(opened) => opened,
            Err(error) if error.is_damage() && self.sync_fails && !self.expected.refused.is_empty() => {
                self.is_refused = true;
                return Ok(());
            }
            Err(error) => return Err(fail(error.to_string(), &self.expected)),
        };
        self.sync_fails = false;
        if let Err(why) = self.expected.check(&log, at_least) {
            let Some(otherwise) = otherwise else { return Err(fail(why, &self.expected)) };
            otherwise.check(&log, otherwise.durable).map_err(|why| fail(why, &otherwise))?;
        }
        self.openings += 1;
        let index = log.first_index() - 1;
        let before = Position { epoch: log.epoch_at(index).unwrap(), index };
        self.expected = Expected { records: all(&log), ..Expected::behind(before) };
        self.expected.durable = log.last_index();
        self.epoch = self.epoch.max(log.last_epoch()) + 1;
        self.log = Some(log);
        Ok(())
    }
}

fn run(seed: u64, reordering: bool, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(async {
        let mut run = Run::new(seed, reordering).await;
        for step in steps {
            run.step(step).await?;
        }
        run.step(Step::Crash).await
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(500)))]

    #[test]
    fn log_never_loses_a_synced_record_and_never_invents_one(
        seed: u64, steps in proptest::collection::vec(step(), 1..60),
    ) {
        run(seed, false, steps)?;
    }

    #[test]
    fn disk_that_writes_in_no_order_loses_no_synced_record_either(
        seed: u64, steps in proptest::collection::vec(step(), 1..60),
    ) {
        run(seed, true, steps)?;
    }
}
