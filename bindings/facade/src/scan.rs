//! Pages of a scan taken apart, for both clients: a page is asked for when the buffer is empty, items go one by one.

use std::collections::VecDeque;

use bytes::Bytes;
use slotkv::{CallOptions, Client, Command, Item, Page, Range};

/// Items of a page when neither the range nor the limit says less; the core's own default.
const PAGE_ITEMS_DEFAULT: u32 = 1000;

/// A scan under way.
#[derive(Debug)]
pub struct Scan {
    range: Range,
    buffer: VecDeque<Item>,
    next: Next,
    /// The last item that was taken, without its value.
    taken: Option<Item>,
    /// Where the scan was told to begin.
    begin: Option<Bytes>,
    /// Items that may still be taken.
    left: u64,
}

#[derive(Debug)]
enum Next {
    Page(Option<Bytes>),
    End,
}

impl Scan {
    /// A scan of `range`, from its beginning or from the place of a cursor, that ends after `items_max` items.
    pub fn new(range: Range, cursor: Option<Bytes>, items_max: Option<u64>) -> Self {
        Self {
            range,
            buffer: VecDeque::new(),
            next: Next::Page(cursor.clone()),
            taken: None,
            begin: cursor,
            left: items_max.unwrap_or(u64::MAX),
        }
    }

    /// The next item, if it is here.
    pub fn take(&mut self) -> Option<Item> {
        if self.left == 0 {
            return None;
        }
        let item = self.buffer.pop_front()?;
        self.left -= 1;
        self.taken = Some(Item { value: Bytes::new(), ..item.clone() });
        Some(item)
    }

    /// The operation that brings the next page; `None` if no item is to come.
    pub fn command(&self) -> Option<Command> {
        match &self.next {
            Next::Page(cursor) if self.left > 0 => {
                // 0 stands for the default, which only a small limit undercuts.
                let items_max = match (self.range.items_max, u32::try_from(self.left)) {
                    (0, Ok(left)) if left < PAGE_ITEMS_DEFAULT => left,
                    (items, Ok(left)) if items > 0 => items.min(left),
                    (items, _) => items,
                };
                let range = Range { items_max, ..self.range.clone() };
                Some(Command::ScanPage { range, cursor: cursor.clone() })
            }
            _ => None,
        }
    }

    /// Takes in what [`Scan::command`] brought.
    pub fn fill(&mut self, page: Page) {
        self.next = page.cursor.map_or(Next::End, |cursor| Next::Page(Some(cursor)));
        self.buffer.extend(page.items);
    }

    /// Where the scan stands: behind the last item that was taken. `None` while none was and the scan began at the
    /// beginning.
    pub fn cursor(&self, client: &Client, options: &CallOptions) -> Option<Bytes> {
        match &self.taken {
            Some(item) => Some(self.cursor_behind(item, client, options)),
            None => self.begin.clone(),
        }
    }

    /// Where the scan stood when `item` was the last that was taken.
    pub fn cursor_behind(&self, item: &Item, client: &Client, options: &CallOptions) -> Bytes {
        client.cursor_behind(&self.range, item, options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(keys: &[&'static str], cursor: Option<&'static str>) -> Page {
        let item = |key: &&'static str| Item {
            key: Bytes::from_static(key.as_bytes()),
            value: Bytes::from_static(b"v"),
            version: 1,
            slot: 1,
            ttl: None,
        };
        Page {
            items: keys.iter().map(item).collect(),
            cursor: cursor.map(|cursor| Bytes::from_static(cursor.as_bytes())),
        }
    }

    fn asked(scan: &Scan) -> Option<(u32, Option<Bytes>)> {
        scan.command().map(|command| match command {
            Command::ScanPage { range, cursor } => (range.items_max, cursor),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn pages_follow_one_another_and_empty_ones_do_not_end_it() {
        let mut scan = Scan::new(Range::all(), None, None);
        assert_eq!(asked(&scan), Some((0, None)));
        scan.fill(page(&[], Some("1")));
        assert!(scan.take().is_none());
        assert_eq!(asked(&scan), Some((0, Some(Bytes::from_static(b"1")))));
        scan.fill(page(&["a", "b"], None));
        assert_eq!(scan.take().unwrap().key, "a");
        assert_eq!(scan.take().unwrap().key, "b");
        assert!(scan.take().is_none());
        assert_eq!(asked(&scan), None);
    }

    #[test]
    fn a_limit_ends_it_and_asks_for_no_more_than_it_needs() {
        let mut scan = Scan::new(Range::all(), Some(Bytes::from_static(b"0")), Some(3));
        assert_eq!(asked(&scan), Some((3, Some(Bytes::from_static(b"0")))));
        scan.fill(page(&["a", "b"], Some("2")));
        assert!(scan.take().is_some());
        assert!(scan.take().is_some());
        assert_eq!(asked(&scan), Some((1, Some(Bytes::from_static(b"2")))));
        scan.fill(page(&["c", "d"], Some("4")));
        assert_eq!(scan.take().unwrap().key, "c");
        assert!(scan.take().is_none());
        assert_eq!(asked(&scan), None);
    }

    #[test]
    fn pages_are_no_larger_than_the_range_says() {
        let scan = Scan::new(Range::all().items_max(10), None, Some(100_000));
        assert_eq!(asked(&scan), Some((10, None)));
        let scan = Scan::new(Range::all(), None, Some(0));
        assert_eq!(asked(&scan), None);
    }
}
