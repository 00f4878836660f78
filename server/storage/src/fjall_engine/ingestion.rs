//! FjallIngestion: rows that come in the order of their keys become tables at once, without journal, memory table and
//! compaction. A thread writes the tables, because fjall's ingestion borrows its keyspace; so they are compressed and
//! synced beside the work of whoever adds.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender},
    },
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use fjall::Keyspace;

use super::{FjallEngine, damaged, engines::Folder};
use crate::{
    engine::{Batch, Ingestion},
    error::Error,
    threads,
};

/// Batches that wait for the thread; whoever adds more waits, too.
const WAITING_MAX: usize = 2;

pub struct FjallIngestion {
    folder: Arc<Folder>,
    /// Those of one that is not going to be finished end without [`Step::Finish`].
    steps: Option<SyncSender<Step>>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

enum Step {
    Rows(Batch),
    Finish,
}

impl FjallIngestion {
    pub fn begin(rows: Keyspace, folder: Arc<Folder>) -> io::Result<Self> {
        let (steps, taken) = mpsc::sync_channel(WAITING_MAX);
        let of_thread = folder.clone();
        let thread = thread::Builder::new().name("ingestion".into()).spawn(move || {
            threads::works();
            let written = write(&rows, &of_thread, &taken);
            // fjall's files are closed before their folder may go.
            drop(rows);
            drop(of_thread);
            written
        })?;
        Ok(Self { folder, steps: Some(steps), thread: Some(thread) })
    }

    /// What the thread came to.
    fn end(&mut self) -> Result<(), Error> {
        self.steps = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(written)) => written,
            // fjall asserts what it expects.
            Some(Err(_)) => Err(damaged(&self.folder.path, "its ingestion panicked")),
            None => Err(damaged(&self.folder.path, "its ingestion has ended")),
        }
    }

    fn step(&mut self, step: Step) -> Result<(), Error> {
        match self.steps.as_ref().map(|steps| steps.send(step)) {
            Some(Ok(())) => Ok(()),
            // It ends before it is told to only by an error.
            Some(Err(_)) | None => self.end(),
        }
    }
}

impl Ingestion for FjallIngestion {
    fn add(&mut self, rows: Batch) -> Result<(), Error> {
        self.step(Step::Rows(rows))
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        self.step(Step::Finish)?;
        self.end()
    }
}

impl Drop for FjallIngestion {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let _ = self.end();
        }
    }
}

fn write(rows: &Keyspace, folder: &Folder, steps: &Receiver<Step>) -> Result<(), Error> {
    let failed = |error| FjallEngine::explain(&folder.path, "fill", error);
    let mut ingestion = rows.start_ingestion().map_err(failed)?;
    while let Ok(step) = steps.recv() {
        let Step::Rows(batch) = step else { return ingestion.finish().map_err(failed) };
        for (key, value) in batch.changes {
            // A table's index keeps keys until the table is whole, and with them what they are slices of.
            let key = Bytes::copy_from_slice(&key);
            match value {
                Some(value) => ingestion.write(key, value),
                None => ingestion.write_tombstone(key),
            }
            .map_err(failed)?;
        }
    }
    Ok(())
}
