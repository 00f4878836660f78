//! What the machine asks of the disk: records, barriers, cuts, promises and snapshots, written in its order; and records
//! that it asks to be read.

use std::sync::Arc;

use slotkv_replication::{self as machine, Fetch, Record, Write as DiskWrite};
use slotkv_storage::{Error, Position, RowCache};

use crate::{
    host::{APPLY_BYTES, Host},
    replica,
    scrub::Scrub,
};

impl Host {
    /// Records that a backup lacks; none if the log's front is gone meanwhile.
    pub(crate) fn records(&self, fetch: &Fetch) -> Result<Vec<Record>, Error> {
        if fetch.from_index < self.log.first_index() {
            return Ok(Vec::new());
        }
        let records = self.read_log(fetch.from_index, fetch.bytes_max)?;
        let position = |epoch, index| machine::Position { epoch, index };
        let upto = records.into_iter().take_while(|record| record.index <= fetch.upto_index);
        Ok(upto
            .map(|record| Record { position: position(record.epoch, record.index), payload: record.payload })
            .collect())
    }

    pub(crate) fn read_log(
        &self,
        from_index: u64,
        bytes_max: usize,
    ) -> Result<Vec<slotkv_storage::log::Record>, Error> {
        let recent = self.recent.read(from_index, bytes_max);
        recent.map_or_else(|| self.log.read(from_index, bytes_max), Ok)
    }

    /// The gaps of the records that are logged and not applied.
    fn gaps_ahead(&self) -> Result<u64, Error> {
        let mut gaps = 0_u64;
        let mut index = self.replica.applied().index;
        while index < self.log.last_index() {
            let records = self.read_log(index + 1, APPLY_BYTES)?;
            if records.is_empty() {
                return Err(Error::Misfit(format!("record {} is not in the log", index + 1)));
            }
            for record in records {
                gaps = gaps.saturating_add(slotkv_storage::LogRecord::from_bytes(record.payload)?.gap);
                index = record.index;
            }
        }
        Ok(gaps)
    }

    /// What all shards' epochs come to, for who goes on behind a loss.
    fn epoch_sum(&self, epoch: u64) -> Result<u64, Error> {
        // The machine has learned from the registrar's answer that it leads, and that there was a loss.
        let unknown =
            || Error::Misfit(format!("epoch {epoch} begins behind a loss, and no sum of epochs is known"));
        self.registrar.epoch_sum(epoch).ok_or_else(unknown)
    }

    pub(crate) async fn begin_write(&mut self, id: u64, write: DiskWrite) -> Result<(), Error> {
        let is_left_out = match &write {
            DiskWrite::Append(_) | DiskWrite::Barrier(_) | DiskWrite::Part(_) | DiskWrite::Install(_) => {
                self.leaves_out
            }
            DiskWrite::Cut(_) | DiskWrite::Promise(_) => false,
        };
        // An installation that a full disk has stopped half way is finished by the next start.
        let may_be_full = !matches!(write, DiskWrite::Install(_));
        let is_snapshot = matches!(write, DiskWrite::Part(_) | DiskWrite::Install(_));
        if !is_left_out {
            match self.try_write(write).await {
                Err(error) if (may_be_full && error.is_disk_full()) || (is_snapshot && error.is_damage()) => {
                    tracing::error!(%error, "leaves out what came; it will be asked for again");
                    self.leaves_out = true;
                    let now = self.now();
                    self.machine.append_failed(now);
                }
                done => done?,
            }
        }
        self.unreported = Some(id);
        Ok(())
    }

    async fn try_write(&mut self, write: DiskWrite) -> Result<(), Error> {
        match write {
            DiskWrite::Append(records) => {
                let count = records.len() as u64;
                let mut group = self.log.group();
                for record in &records {
                    group.push(record.position.epoch, |buffer| buffer.extend_from_slice(&record.payload))?;
                }
                let last = group.commit()?;
                self.durable.records += count;
                let first = last + 1 - count;
                self.recent
                    .copy(first, records.iter().map(|record| (record.position.epoch, &record.payload)));
            }
            DiskWrite::Barrier(position) => {
                let gap = match self.machine.began_with_loss() {
                    true => self.replica.gap(self.epoch_sum(position.epoch)?, self.gaps_ahead()?),
                    false => 0,
                };
                let time_ms = self.replica.begin(self.clock.wall_ms()).time_ms();
                let mut group = self.log.group();
                group.push(position.epoch, |buffer| {
                    replica::encode(&replica::barrier(time_ms, gap), buffer);
                })?;
                group.commit()?;
            }
            DiskWrite::Cut(index) => {
                self.log.truncate_back(index + 1).await?;
                self.recent.cut(index);
                self.leaves_out = false;
            }
            DiskWrite::Promise(promise) => {
                self.log.sync().await?;
                self.home.keep_promise(promise).await?;
            }
            DiskWrite::Part(part) => {
                if part.number == 0 {
                    self.health.copies_begun += 1;
                    self.home.begin_snapshot().await?;
                }
                self.home.add_part(&part.bytes)?;
            }
            DiskWrite::Install(at) => {
                let at = Position { epoch: at.epoch, index: at.index };
                // Readers of what was there may still fill its cache.
                let cache = Arc::new(RowCache::new(self.settings.cache_bytes));
                let installed = self.home.install(&mut self.log, at, cache.clone(), self.slots).await?;
                self.replica = installed.replica;
                self.replica.keep_time(self.shard.time().clone());
                self.engine = installed.engine.clone();
                // Neither the former rows by what the new log says nor the other way round.
                self.shard.set_ledger(None);
                self.shard.set_rows(installed.engine, cache);
                self.shard.set_applied(self.replica.applied(), self.replica.shown_index());
                self.publish_ledger_anew();
                self.health.copies_installed += 1;
                self.recent.clear();
                self.scrub = Scrub::of_what_stays();
                self.reading = None;
                self.forget_checkpoint();
            }
        }
        Ok(())
    }
}
