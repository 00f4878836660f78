//! Asynchronous scans: the host takes items that are here, and fetches a page when none is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use slotkv::{Answer, CallOptions, Command, Item, Page};

use super::{AsyncClient, page};
use crate::error::FacadeError;
use crate::lock::Mutex;
use crate::port::Reply;
use crate::scan::Scan;

/// A scan under way.
pub struct AsyncScan(Arc<State>);

struct State {
    client: AsyncClient,
    options: CallOptions,
    scan: Mutex<Scan>,
    /// There is a [`Turn`].
    is_taken: AtomicBool,
}

/// What asking for the next item gives.
pub enum Next {
    /// The item.
    Item(Item),
    /// There is none any more.
    End,
    /// A page has to be fetched.
    Fetch(Turn),
    /// Somebody else's page is under way; two would bring the same items.
    Busy,
}

/// The only right to fetch a page of a scan. The host keeps it with its object for the call; given up, also by cancelling
/// the call, it takes nothing of the scan with it.
pub struct Turn(Arc<State>);

impl AsyncScan {
    pub(super) fn new(client: AsyncClient, options: CallOptions, scan: Scan) -> Self {
        Self(Arc::new(State { client, options, scan: Mutex::new(scan), is_taken: AtomicBool::new(false) }))
    }

    /// The next item, or the way to it. After an error the same place is tried again.
    pub fn next(&self) -> Next {
        if self.0.is_taken.swap(true, Ordering::AcqRel) {
            return Next::Busy;
        }
        let turn = Turn(self.0.clone());
        let mut scan = self.0.scan.lock();
        match scan.take() {
            Some(item) => Next::Item(item),
            None if scan.command().is_some() => Next::Fetch(turn),
            None => Next::End,
        }
    }

    /// Where the scan stands: behind the last item that was taken. `None` while none was and the scan began at the
    /// beginning.
    pub fn cursor(&self) -> Result<Option<Bytes>, FacadeError> {
        let core = self.0.client.core()?;
        Ok(self.0.scan.lock().cursor(core, &self.0.options))
    }

    /// Where the scan stood when `item` was the last that was taken, for hosts that take more than they give.
    pub fn cursor_behind(&self, item: &Item) -> Result<Bytes, FacadeError> {
        let core = self.0.client.core()?;
        Ok(self.0.scan.lock().cursor_behind(item, core, &self.0.options))
    }
}

impl Turn {
    /// What [`Port::spawn`](crate::port::Port::spawn) is to do. Its reply is a page, for [`Turn::finish`].
    pub fn work(
        &self,
    ) -> Result<impl Future<Output = Result<Reply, FacadeError>> + Send + use<>, FacadeError> {
        let core = self.0.client.core()?.clone();
        let options = self.0.options.clone();
        let command = self.0.scan.lock().command();
        Ok(async move {
            let mut command = command.ok_or_else(|| FacadeError::unexpected("a page behind the last one"))?;
            loop {
                let Command::ScanPage { range, .. } = &command else {
                    return Err(FacadeError::unexpected(format!("{command:?} for a page")));
                };
                let range = range.clone();
                let page = page(&core, command, &options).await?;
                if page.items.is_empty() && page.cursor.is_some() {
                    // Such a page does not end a scan.
                    command = Command::ScanPage { range, cursor: page.cursor };
                } else {
                    return Ok(Reply::Answer(Answer::Page(page)));
                }
            }
        })
    }

    /// Takes the page in; the item that was asked for, or `None` if there is none any more.
    pub fn finish(self, page: Page) -> Option<Item> {
        let mut scan = self.0.scan.lock();
        scan.fill(page);
        scan.take()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.is_taken.store(false, Ordering::Release);
    }
}
