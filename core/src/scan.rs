//! Scans: items and pages of a range, in slot order or merged in key order, resumable by a cursor.
//!
//! In slot order a scan is a [`Walk`] and asks for the next page while its user is busy with the last one. In key order it
//! merges one ordered scan for each run of slots that have the same owner.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use slotkv_proto::{Code, v1};
use tokio::time::Instant;

use crate::{
    CallOptions, Client, Item, Page, Range, Result,
    cursor::{self, Position},
    policy::Waiting,
    walk::{PLANS_MAX, Walk, no_progress, range_request, slots_of},
    wire::{self, unexpected},
};

/// A scan under way. Keys that are there from its beginning to its end come once; those that come or go meanwhile may be
/// in it or not.
pub struct Scan {
    pages: Pages,
    buffer: VecDeque<Item>,
    /// Behind the last item given.
    given: Position,
}

impl Client {
    /// Begins a scan. Nothing is sent before the first item or page is asked for.
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
        let mut pages = Pages::new(client, range, cursor, "")?;
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
            std::mem::take(&mut self.buffer).into()
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

struct KeyOrder {
    /// Goes on behind this key.
    after: Bytes,
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
            Order::Keys(KeyOrder { after: position.key, runs: Vec::new(), done: false })
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
            Order::Keys(order) => {
                let before = order.after.clone();
                let page = order.next(&asker).await;
                if page.is_err() {
                    // What was merged already comes again.
                    order.after = before;
                    order.runs.clear();
                }
                page
            }
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
            Order::Keys(order) => Position { slot: 0, key: order.after.clone() },
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
        wire::items(std::mem::take(&mut reply.items), self.client.slots().get())
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
        let mut page = Vec::new();
        let mut plans = 0;
        while page.len() < items_max {
            if self.runs.is_empty() {
                self.plan(asker);
            }
            match self.fill(asker).await {
                Err(error) if error.code == Code::Moved && plans < PLANS_MAX => {
                    plans += 1;
                    self.runs.clear();
                    continue;
                }
                filled => filled?,
            }
            // Until a run is used up; only then it is not known which key comes next.
            let mut heads: BTreeMap<Bytes, usize> = self
                .runs
                .iter()
                .enumerate()
                .filter_map(|(index, run)| Some((run.items.front()?.key.clone(), index)))
                .collect();
            while page.len() < items_max
                && let Some((key, index)) = heads.pop_first()
            {
                let run = &mut self.runs[index];
                page.extend(run.items.pop_front());
                self.after = key;
                match run.items.front() {
                    Some(item) => drop(heads.insert(item.key.clone(), index)),
                    None if run.done => {}
                    None => break,
                }
            }
            if self.runs.iter().all(|run| run.done && run.items.is_empty()) {
                self.done = true;
                break;
            }
        }
        Ok(page)
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

    /// Asks, all at once, for the next page of every run that has no item left.
    async fn fill(&mut self, asker: &Asker<'_>) -> Result<()> {
        loop {
            let mut asked = Vec::new();
            for (index, run) in self.runs.iter().enumerate() {
                if run.items.is_empty() && !run.done {
                    let after = (!run.after.is_empty()).then_some((0, &run.after));
                    let request = range_request(asker.range, v1::Operation::Scan, run.slots, after);
                    asked.push((index, asker.send(request)));
                }
            }
            if asked.is_empty() {
                return Ok(());
            }
            for (index, waiting) in asked {
                let mut reply = waiting.await?;
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
