//! Scans: items one by one, fetched page by page.

use std::cell::RefCell;

use napi::bindgen_prelude::{Buffer, Either, Either3, Null};
use napi_derive::napi;
use slotkv_facade::core::{self, Code};
use slotkv_facade::error::FacadeError;
use slotkv_facade::guard::guard;
use slotkv_facade::nonblocking::{AsyncScan, Next, Turn};

use crate::bridge::{Begun, Bridge, Waiting};
use crate::errors::Failure;

/// There is no item any more.
const END: u32 = 0;
/// `fetch` brings the item.
const FETCH: u32 = 1;
/// A page is under way; `take` after it.
const BUSY: u32 = 2;

/// A scan under way.
#[napi]
pub struct Scan {
    bridge: Bridge,
    scan: AsyncScan,
    /// Between `take` and `fetch`.
    turn: RefCell<Option<Turn>>,
}

/// A key with its value.
#[napi(object, object_from_js = false)]
pub struct Item {
    pub key: Buffer,
    pub value: Buffer,
    pub version: u64,
    pub slot: u16,
    pub ttl_ms: Either<f64, Null>,
}

impl Scan {
    pub fn new(bridge: Bridge, scan: AsyncScan) -> Self {
        Self { bridge, scan, turn: RefCell::default() }
    }
}

#[napi]
impl Scan {
    /// The next item, if it is here; else one of the numbers above.
    #[napi]
    pub fn take(&self) -> Either3<Item, u32, Failure> {
        drop(self.turn.take());
        match guard(|| Ok(self.scan.next())) {
            Ok(Next::Item(item)) => Either3::A(item.into()),
            Ok(Next::End) => Either3::B(END),
            Ok(Next::Busy) => Either3::B(BUSY),
            Ok(Next::Fetch(turn)) => {
                self.turn.replace(Some(turn));
                Either3::B(FETCH)
            }
            Err(error) => Either3::C(error.into()),
        }
    }

    /// Begins to fetch a page; the call brings the first item of it.
    #[napi]
    pub fn fetch(&self, call: u32) -> Begun {
        let begun = guard(|| {
            let early = || FacadeError::new(Code::InvalidArgument, "a page that nothing asked for");
            let turn = self.turn.take().ok_or_else(early)?;
            let work = turn.work()?;
            let waiting = Waiting { call, turn: Some(turn) };
            Ok(self.bridge.begin(waiting, |port, waiting| port.spawn(work, waiting)))
        });
        begun.unwrap_or_else(|error| Either::B(error.into()))
    }

    /// Where the scan stands.
    #[napi]
    pub fn cursor(&self) -> Either<Option<Buffer>, Failure> {
        match guard(|| self.scan.cursor()) {
            Ok(cursor) => Either::A(cursor.map(|cursor| cursor.to_vec().into())),
            Err(error) => Either::B(error.into()),
        }
    }
}

impl From<core::Item> for Item {
    fn from(item: core::Item) -> Self {
        Self {
            key: item.key.to_vec().into(),
            value: item.value.to_vec().into(),
            version: item.version,
            slot: item.slot,
            ttl_ms: item.ttl.map_or(Either::B(Null), |ttl| Either::A(ttl.as_millis() as f64)),
        }
    }
}
