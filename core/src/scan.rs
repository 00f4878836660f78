//! Scans: items and pages of a range, in slot order or merged in key order, resumable by a cursor.
//!
//! In slot order a scan is a [`Walk`] and asks for the next page while its user is busy with the last one. In key order it
//! merges one ordered scan for each run of slots that have the same owner.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use slotkv_proto::{Code, v1};
use tokio::time::Instant;

use crate::{
    CallOptions, Client, Item, Page, Range, Result,
    cursor::{self, Position},
    policy::Waiting,
    walk::{PAGE_BYTES, PLANS_MAX, Walk, no_progress, range_request, slots_of},
    wire::{self, unexpected},
};

/// Runs of slots that a page in key order asks at once.
pub(crate) const RUNS_AT_ONCE_MAX: usize = 8;
/// Items that each run is asked for at least, when a page is divided among them.
const PART_ITEMS_MIN: usize = 8;
/// Bytes that each run is asked for at least.
const PART_BYTES_MIN: u32 = 16 << 10;

/// A scan under way. Keys that are there from its beginning to its end come once; those that come or go meanwhile may be
/// in it or not.
pub struct Scan {
    pages: Pages,
    buffer: VecDeque<Item>,
    /// Behind the last item given.
    given: Position,
}

impl Client {
    /// Begins a scan of a range. Nothing is sent before the first item or page is asked for.
    pub fn scan(&self, range: Range) -> Result<Scan> {
        Scan::new(self.clone(), range, None)
    }

    /// Goes on with a scan of the same range, namespace and cluster from where its cursor stands; page size and
    /// `keys_only` may differ.
    ///
    /// Errors: `UNSUPPORTED` for a cursor of a newer format, `INVALID_ARGUMENT` for one that belongs elsewhere.
    pub fn scan_from(&self, range: Range, cursor: &[u8]) -> Result<Scan> {
        Scan::new(self.clone(), range, Some(cursor))
    }

    /// Every item of a range, in key order. For debugging: they have to fit into memory.
    pub async fn dump(&self, range: Range) -> Result<Vec<Item>> {
        let mut scan = self.scan(range.ordered())?;
        let mut items = Vec::new();
        while let Some(page) = scan.next_page().await {
            items.extend(page?.items);
        }
        Ok(items)
    }

    /// The cursor of a scan of `range` that stands behind `item`, for those who take the pages of
    /// [`Command::ScanPage`](crate::Command::ScanPage) apart; `options` are the page's.
    pub fn cursor_behind(&self, range: &Range, item: &Item, options: &CallOptions) -> Bytes {
        let position = Position { slot: if range.ordered { 0 } else { item.slot }, key: item.key.clone() };
        let namespace = options.namespace.as_deref().unwrap_or(self.namespace_name());
        cursor::encode(&position, range, namespace, self.slots())
    }
}

impl Scan {
    fn new(client: Client, range: Range, cursor: Option<&[u8]>) -> Result<Self> {
        let traceparent = client.traceparent().to_owned();
        let mut pages = Pages::new(client, range, cursor, &traceparent)?;
        pages.look_ahead = true;
        let given = pages.position();
        Ok(Self { pages, buffer: VecDeque::new(), given })
    }

    /// The next item; `None` behind the last one. After an error the same place is tried again.
    pub async fn next(&mut self) -> Option<Result<Item>> {
        loop {
            if let Some(item) = self.buffer.pop_front() {
                self.given = Position { slot: item.slot, key: item.key.clone() };
                return Some(Ok(item));
            }
            match self.pages.next().await? {
                Ok(items) => self.buffer = items.into(),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The next page: what is left of the one that [`Scan::next`] is in, or else a new one. It may be empty although more
    /// follow. `None` behind the last one. After an error the same place is tried again.
    pub async fn next_page(&mut self) -> Option<Result<Page>> {
        let items = if self.buffer.is_empty() {
            match self.pages.next().await? {
                Ok(items) => items,
                Err(error) => return Some(Err(error)),
            }
        } else {
            mem::take(&mut self.buffer).into()
        };
        if let Some(item) = items.last() {
            self.given = Position { slot: item.slot, key: item.key.clone() };
        }
        let cursor = (!self.pages.done()).then(|| self.cursor());
        Some(Ok(Page { items, cursor }))
    }

    /// Where the scan stands, behind the last item given: opaque bytes for [`Client::scan_from`], here or elsewhere.
    pub fn cursor(&self) -> Bytes {
        if self.buffer.is_empty() && !self.pages.done() {
            self.pages.cursor(self.pages.position())
        } else {
            self.pages.cursor(self.given.clone())
        }
    }
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan")
            .field("range", &self.pages.range)
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

/// The pages of a scan.
pub(crate) struct Pages {
    client: Client,
    range: Range,
    traceparent: String,
    look_ahead: bool,
    order: Order,
}

enum Order {
    Slots(SlotOrder),
    Keys(KeyOrder),
}

struct SlotOrder {
    walk: Walk,
    /// The next page, asked for already, and the last slot that it covers.
    ahead: Option<(Waiting, u16)>,
}

/// A page that is given up half-way, by an error or by its caller, is gone on with by the next one.
struct KeyOrder {
    /// Behind the last page given.
    given: Bytes,
    /// Behind the last item of `page`: merged up to there.
    after: Bytes,
    page: Vec<Item>,
    /// What is merged; empty before it is planned.
    runs: Vec<Run>,
    done: bool,
}

/// The ordered scan of a run of slots.
struct Run {
    slots: (u16, u16),
    after: Bytes,
    items: VecDeque<Item>,
    done: bool,
}

impl Pages {
    pub fn new(client: Client, range: Range, cursor: Option<&[u8]>, traceparent: &str) -> Result<Self> {
        range.check()?;
        let (first, last) = slots_of(&range, client.slots());
        let position = match cursor {
            None => Position { slot: first, key: Bytes::new() },
            Some(cursor) => cursor::decode(cursor, &range, client.namespace_name(), client.slots())?,
        };
        let order = if range.ordered {
            Order::Keys(KeyOrder {
                given: position.key.clone(),
                after: position.key,
                page: Vec::new(),
                runs: Vec::new(),
                done: false,
            })
        } else {
            let position = position.max(Position { slot: first, key: Bytes::new() });
            Order::Slots(SlotOrder { walk: Walk::new(position, last), ahead: None })
        };
        Ok(Self { client, range, traceparent: traceparent.to_owned(), look_ahead: false, order })
    }

    /// One page, with the cursor behind it.
    pub async fn page(&mut self) -> Result<Page> {
        let items = self.next().await.unwrap_or_else(|| Ok(Vec::new()))?;
        let cursor = (!self.done()).then(|| self.cursor(self.position()));
        Ok(Page { items, cursor })
    }

    /// The items of the next page; `None` behind the last one.
    async fn next(&mut self) -> Option<Result<Vec<Item>>> {
        if self.done() {
            return None;
        }
        let end = Instant::now() + self.client.deadline();
        let asker = Asker { client: &self.client, range: &self.range, traceparent: &self.traceparent, end };
        Some(match &mut self.order {
            Order::Slots(order) => order.next(&asker, self.look_ahead).await,
            Order::Keys(order) => order.next(&asker).await,
        })
    }

    fn done(&self) -> bool {
        match &self.order {
            Order::Slots(order) => order.walk.done,
            Order::Keys(order) => order.done,
        }
    }

    fn position(&self) -> Position {
        match &self.order {
            Order::Slots(order) => order.walk.position.clone(),
            Order::Keys(order) => Position { slot: 0, key: order.given.clone() },
        }
    }

    fn cursor(&self, mut position: Position) -> Bytes {
        if self.range.ordered {
            position.slot = 0;
        }
        cursor::encode(&position, &self.range, self.client.namespace_name(), self.client.slots())
    }
}

/// Sends the requests of one page.
struct Asker<'a> {
    client: &'a Client,
    range: &'a Range,
    traceparent: &'a str,
    end: Instant,
}

impl Asker<'_> {
    fn send(&self, request: v1::Request) -> Waiting {
        let left = self.end.saturating_duration_since(Instant::now());
        self.client.send(request, left, self.traceparent)
    }

    fn walk(&self, walk: &Walk) -> (Waiting, u16) {
        let (request, covered) = walk.request(self.range, v1::Operation::Scan, &self.client.snapshot());
        (self.send(request), covered)
    }

    fn items(&self, reply: &mut v1::Reply) -> Result<Vec<Item>> {
        if reply.status() != v1::Status::Page {
            return Err(unexpected(v1::Operation::Scan, reply));
        }
        wire::items(mem::take(&mut reply.items), self.client.slots().get())
    }
}

impl SlotOrder {
    async fn next(&mut self, asker: &Asker<'_>, look_ahead: bool) -> Result<Vec<Item>> {
        let mut plans = 0;
        loop {
            let ahead = self.ahead.take();
            let was_ahead = ahead.is_some();
            let (waiting, covered) = ahead.unwrap_or_else(|| asker.walk(&self.walk));
            let mut reply = match waiting.await {
                // Asked for long ago, perhaps, under a deadline that meanwhile passed.
                Err(_) if was_ahead => continue,
                Err(error) if error.code == Code::Moved && plans < PLANS_MAX => {
                    plans += 1;
                    continue;
                }
                reply => reply?,
            };
            let items = asker.items(&mut reply)?;
            self.walk.advance(covered, &reply)?;
            if look_ahead && !self.walk.done {
                self.ahead = Some(asker.walk(&self.walk));
            }
            return Ok(items);
        }
    }
}

impl KeyOrder {
    async fn next(&mut self, asker: &Asker<'_>) -> Result<Vec<Item>> {
        let items_max = asker.range.page_items() as usize;
        let mut plans = 0;
        // The runs may have nothing left although the last item of all is not given yet.
        while self.page.len() < items_max && !self.used_up() {
            if self.runs.is_empty() {
                self.plan(asker);
            }
            match self.fill(asker, items_max - self.page.len()).await {
                Err(error) if error.code == Code::Moved && plans < PLANS_MAX => {
                    plans += 1;
                    self.runs.clear();
                }
                Err(error) => {
                    self.runs.clear();
                    return Err(error);
                }
                Ok(()) => self.merge(items_max),
            }
        }
        self.done = self.used_up();
        self.given = self.after.clone();
        Ok(mem::take(&mut self.page))
    }

    /// Whether every run has given all that it had.
    fn used_up(&self) -> bool {
        !self.runs.is_empty() && self.runs.iter().all(|run| run.done && run.items.is_empty())
    }

    /// Merges until the page is full or a run has no item left; only when that is filled it is known which key comes next.
    fn merge(&mut self, items_max: usize) {
        let mut heads: BTreeMap<Bytes, usize> = self
            .runs
            .iter()
            .enumerate()
            .filter_map(|(index, run)| Some((run.items.front()?.key.clone(), index)))
            .collect();
        while self.page.len() < items_max
            && let Some((key, index)) = heads.pop_first()
        {
            let run = &mut self.runs[index];
            self.page.extend(run.items.pop_front());
            self.after = key;
            match run.items.front() {
                Some(item) => drop(heads.insert(item.key.clone(), index)),
                None if run.done => {}
                None => return,
            }
        }
    }

    fn plan(&mut self, asker: &Asker<'_>) {
        let (mut first, last) = slots_of(asker.range, asker.client.slots());
        let snapshot = asker.client.snapshot();
        loop {
            let slots = (first, snapshot.run_end(first).min(last));
            let after = self.after.clone();
            self.runs.push(Run { slots, after, items: VecDeque::new(), done: false });
            if slots.1 == last {
                return;
            }
            first = slots.1 + 1;
        }
    }

    /// Asks every run that has no item left for its part of the items that the page wants.
    async fn fill(&mut self, asker: &Asker<'_>, wanted: usize) -> Result<()> {
        let runs = self.runs.len().max(1);
        // A quarter more than its part, so that a run that happens to have more of the next keys need not be asked again.
        let items = (wanted + wanted / 4).div_ceil(runs).clamp(PART_ITEMS_MIN.min(wanted), wanted) as u32;
        let bytes = (PAGE_BYTES / runs as u32).max(PART_BYTES_MIN);
        loop {
            let empty = |run: &Run| run.items.is_empty() && !run.done;
            let asks: Vec<_> = self
                .runs
                .iter()
                .enumerate()
                .filter(|(_, run)| empty(run))
                .map(|(index, run)| (index, run.slots, run.after.clone()))
                .collect();
            if asks.is_empty() {
                return Ok(());
            }
            let replies = asks.into_iter().map(|(index, slots, after)| async move {
                let after = (!after.is_empty()).then_some((0, &after));
                let mut request = range_request(asker.range, v1::Operation::Scan, slots, after);
                if let Some(range) = &mut request.range {
                    range.items_max = items;
                    range.bytes_max = bytes.min(range.bytes_max);
                }
                (index, asker.send(request).await)
            });
            let mut replies = stream::iter(replies).buffer_unordered(RUNS_AT_ONCE_MAX);
            while let Some((index, reply)) = replies.next().await {
                let mut reply = reply?;
                let items = asker.items(&mut reply)?;
                let run = &mut self.runs[index];
                if reply.more {
                    if reply.last_key <= run.after {
                        return Err(no_progress());
                    }
                    run.after = reply.last_key;
                }
                run.done = !reply.more;
                run.items = items.into();
            }
        }
    }
}
