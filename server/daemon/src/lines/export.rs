//! `slotkv export`: a scan into a file.
//!
//! An export is no snapshot of one moment: each page is, and pages follow each other while writes go on. A key that
//! stays untouched during the export is in it exactly once with its value; one that is written or deleted meanwhile is
//! there as it was at one moment of the export, or not at all if it did not exist at that one.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    time::Duration,
};

use indicatif::ProgressBar;
use serde_json::json;
use slotkv::{Client, Page, Range, Retry, Scan};
use tokio::time::{Instant, sleep};

use super::{
    progress, record,
    state::{self, ExportState},
};
use crate::{
    cli::{
        exit::{Exit, Failure},
        flags::ExportFlags,
    },
    client::{
        connect, failure,
        listing::{decode_cursor, encode_cursor},
        namespace_of, range_of,
    },
    signals,
    text::escape,
};

/// How often the state file is written.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// Pause before a page is asked for again.
const PAUSE: Duration = Duration::from_millis(500);

const KIND: &str = "export";

/// `slotkv export`.
pub(crate) async fn export(flags: ExportFlags) -> Result<Exit, Failure> {
    let mut range = range_of(&flags.range)?;
    range.ordered = flags.ordered;
    let client = connect(&flags.client).await?;
    let namespace = namespace_of(&flags.client)?;
    let outcome = write_all(&flags, &client, range, namespace).await;
    client.close().await;
    outcome
}

async fn write_all(
    flags: &ExportFlags,
    client: &Client,
    range: Range,
    namespace: String,
) -> Result<Exit, Failure> {
    let whole = range.prefix.is_empty() && range.start.is_empty() && range.end.is_empty();
    let length = if whole { client.count(Range::all()).await.ok() } else { None };
    let mut target = Target::open(flags, selection(client, &namespace, &range))?;
    let scan = match target.state.cursor.is_empty() {
        true => client.scan(range),
        false => client.scan_from(range, &decode_cursor(&target.state.cursor)?),
    };
    let progress = progress::items(length);
    // Only now: before, as while a FIFO waits for its reader, a signal simply ends the process.
    let stop = signals::stop_requested().map_err(|error| Failure::io("cannot wait for signals", error))?;
    tokio::pin!(stop);
    let outcome = match scan {
        Ok(mut scan) => tokio::select! {
            biased;
            name = &mut stop => Err(Failure::failed(format_args!("stopped by {name}"))),
            outcome = target.copy(&mut scan, &namespace, &progress) => outcome,
        },
        Err(error) => Err(failure(error)),
    };
    progress.finish_and_clear();
    let saved = target.save();
    outcome?;
    saved?;
    let ExportState { records, offset, .. } = target.state;
    if flags.client.json {
        eprintln!("{}", json!({ "records": records, "bytes": offset }));
    } else {
        eprintln!("exported {records} records, {offset} bytes");
    }
    Ok(Exit::Done)
}

/// What is exported, as text that is compared before an export goes on.
fn selection(client: &Client, namespace: &str, range: &Range) -> String {
    format!(
        "cluster {} namespace {} prefix {} start {} end {} ordered {}",
        client.cluster_id(),
        escape(namespace.as_bytes()),
        escape(&range.prefix),
        escape(&range.start),
        escape(&range.end),
        range.ordered
    )
}

/// Where the lines go, and how far they have come.
struct Target<'a> {
    flags: &'a ExportFlags,
    sink: Sink,
    state: ExportState,
}

enum Sink {
    /// stdout, a pipe or a device: bytes go through it and are gone.
    Passage(Box<dyn Write + Send>),
    File(File),
}

impl Sink {
    /// Whether somebody still reads: that a reader goes away (`slotkv export | head`) is no error.
    fn write(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let written = match self {
            Sink::Passage(to) => to.write_all(bytes).and_then(|()| to.flush()),
            Sink::File(file) => file.write_all(bytes),
        };
        match written {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl<'a> Target<'a> {
    fn open(flags: &'a ExportFlags, selection: String) -> Result<Self, Failure> {
        let fresh = ExportState { selection, ..ExportState::default() };
        let shown = flags.file.display();
        let refuse = |error: io::Error| Failure::usage(format_args!("{shown}: {error}"));
        let stdout = flags.file.as_os_str() == "-";
        if stdout || std::fs::metadata(&flags.file).is_ok_and(|found| !found.is_file()) {
            if flags.resume.is_some() {
                return Err(Failure::usage(
                    "--resume wants a regular file; what went to stdout, a pipe or a device cannot be gone on with",
                ));
            }
            let to: Box<dyn Write + Send> = match stdout {
                true => Box::new(io::stdout()),
                false => Box::new(OpenOptions::new().write(true).open(&flags.file).map_err(refuse)?),
            };
            return Ok(Self { flags, sink: Sink::Passage(to), state: fresh });
        }
        let state: Option<ExportState> =
            flags.resume.as_deref().map_or(Ok(None), |path| state::load(path, KIND))?;
        let Some(state) = state else {
            let file = File::create(&flags.file).map_err(refuse)?;
            return Ok(Self { flags, sink: Sink::File(file), state: fresh });
        };
        if state.selection != fresh.selection {
            return Err(Failure::usage(format_args!(
                "the state file belongs to another export ({}), not to this one ({})",
                state.selection, fresh.selection
            )));
        }
        let mut file = OpenOptions::new().read(true).write(true).open(&flags.file).map_err(refuse)?;
        let changed =
            || Failure::usage(format_args!("{shown} is not the file that the state file belongs to"));
        if state::fingerprint(&mut file, state.offset).map_err(|_| changed())? != state.fingerprint {
            return Err(changed());
        }
        // Lines behind the saved place were written after it was saved; they come again.
        file.set_len(state.offset).map_err(refuse)?;
        file.seek(SeekFrom::Start(state.offset)).map_err(refuse)?;
        Ok(Self { flags, sink: Sink::File(file), state })
    }

    async fn copy(
        &mut self,
        scan: &mut Scan,
        namespace: &str,
        progress: &ProgressBar,
    ) -> Result<(), Failure> {
        let flags = self.flags;
        let mut lines = Vec::new();
        if self.state.offset == 0 {
            record::push_header(&mut lines);
        }
        let mut saved = Instant::now();
        progress.set_position(self.state.records);
        while !self.state.complete {
            let page = next_page(scan, flags.patience).await?;
            let items = page.as_ref().map_or(&[][..], |page| &page.items);
            for item in items {
                record::push_record(&mut lines, namespace, &item.key, &item.value, item.ttl);
            }
            let write = |error| Failure::io(format_args!("cannot write {}", flags.file.display()), error);
            if !self.sink.write(&lines).map_err(write)? {
                return Ok(());
            }
            // All together, and only now: a state that is ahead of the file would leave out a page.
            self.state.offset += lines.len() as u64;
            self.state.records += items.len() as u64;
            match page {
                Some(_) => self.state.cursor = encode_cursor(&scan.cursor()),
                None => self.state.complete = true,
            }
            lines.clear();
            progress.set_position(self.state.records);
            if saved.elapsed() >= SAVE_INTERVAL {
                self.save()?;
                saved = Instant::now();
            }
        }
        Ok(())
    }

    /// The lines first, then the state that says they are there.
    fn save(&mut self) -> Result<(), Failure> {
        let Sink::File(file) = &mut self.sink else { return Ok(()) };
        let shown = self.flags.file.display();
        let fail = |error: io::Error| Failure::io(format_args!("cannot write {shown}"), error);
        file.sync_all().map_err(fail)?;
        let Some(path) = &self.flags.resume else { return Ok(()) };
        let mut read = File::open(&self.flags.file).map_err(fail)?;
        self.state.fingerprint = state::fingerprint(&mut read, self.state.offset).map_err(fail)?;
        state::save(path, KIND, &self.state)
    }
}

/// The next page, asked for again while the cluster does not give it.
async fn next_page(scan: &mut Scan, patience: Duration) -> Result<Option<Page>, Failure> {
    let begun = Instant::now();
    loop {
        match scan.next_page().await {
            None => return Ok(None),
            Some(Ok(page)) => return Ok(Some(page)),
            Some(Err(error)) if error.retry == Retry::Never || begun.elapsed() >= patience => {
                return Err(failure(error));
            }
            Some(Err(error)) => tracing::info!(%error, "a page is asked for again"),
        }
        sleep(PAUSE).await;
    }
}
