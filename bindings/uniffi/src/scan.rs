//! Scans, page by page.

use slotkv_facade::core::{self, Answer, Code};
use slotkv_facade::error::FacadeError;
use slotkv_facade::guard::guard;
use slotkv_facade::nonblocking::{AsyncScan, Next};
use slotkv_facade::port::Reply;

use crate::client::begun;
use crate::errors::SlotkvError;
use crate::results::{Item, strange};

/// A scan under way.
#[derive(uniffi::Object)]
pub struct Scan(AsyncScan);

impl Scan {
    pub fn new(scan: AsyncScan) -> Self {
        Self(scan)
    }
}

#[uniffi::export]
impl Scan {
    /// The next items: a page of them, or none if there is none any more. After an error the same place can be tried
    /// again. INVALID_ARGUMENT if a page is under way already.
    pub async fn next_page(&self) -> Result<Vec<Item>, SlotkvError> {
        let mut items = Vec::new();
        let turn = loop {
            match guard(|| Ok(self.0.next()))? {
                Next::Item(item) => items.push(Item::from(item)),
                Next::Fetch(turn) if items.is_empty() => break turn,
                Next::Fetch(_) | Next::End => return Ok(items),
                Next::Busy => {
                    let busy = "a page of this scan is under way";
                    return Err(FacadeError::new(Code::InvalidArgument, busy).into());
                }
            }
        };
        let work = turn.work()?;
        let page = match begun(|port, slot| port.spawn(work, slot)).await? {
            Reply::Answer(Answer::Page(page)) => page,
            other => return Err(strange(other).into()),
        };
        items.extend(turn.finish(page).map(Item::from));
        while let Next::Item(item) = guard(|| Ok(self.0.next()))? {
            items.push(item.into());
        }
        Ok(items)
    }

    /// Where the scan stands, behind the last item it gave: for another scan of the same range, also in another process
    /// or language. None if it gave none and began at the beginning.
    pub fn cursor(&self) -> Result<Option<Vec<u8>>, SlotkvError> {
        Ok(guard(|| Ok(self.0.cursor()?.map(Vec::from)))?)
    }

    /// Where the scan stood behind an item of its last page, for those who give items one by one.
    pub fn cursor_behind(&self, key: Vec<u8>, slot: u16) -> Result<Vec<u8>, SlotkvError> {
        let item = core::Item { key: key.into(), value: bytes::Bytes::new(), version: 0, slot, ttl: None };
        Ok(guard(|| Ok(self.0.cursor_behind(&item)?.into()))?)
    }
}
