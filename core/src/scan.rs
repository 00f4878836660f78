//! Scans: pages and items of a range, resumable by a cursor.

use bytes::Bytes;

use crate::{Item, Page, Result};

/// A scan under way.
#[derive(Debug)]
pub struct Scan {}

impl Scan {
    /// The next item; `None` behind the last one. After an error the same place is tried again.
    pub async fn next(&mut self) -> Option<Result<Item>> {
        todo!()
    }

    /// The next page; `None` behind the last one. It may be empty although more follow.
    pub async fn next_page(&mut self) -> Option<Result<Page>> {
        todo!()
    }

    /// Where the scan stands, behind the last item given: opaque bytes for [`Client::scan_from`](crate::Client::scan_from).
    pub fn cursor(&self) -> Bytes {
        todo!()
    }
}
