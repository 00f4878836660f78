//! Hints of changes. A [`Watch`] holds at most [`PATHS_MAX`] different paths; past it, it forgets them and says
//! [`Hint::Lost`], so that a slow reader costs nobody memory.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Paths that wait in one watch; past it they are replaced by one [`Hint::Lost`].
pub const PATHS_MAX: usize = 1024;

/// What a watch has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The node was created, set or deleted.
    Changed(String),
    /// Anything may have changed: read all of it again.
    Lost,
}

/// Hints of changes at a path and below it.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
}

impl Watch {
    /// The next hint; `None` when the session is over. May be cancelled without losing one.
    pub async fn next(&mut self) -> Option<Hint> {
        loop {
            let waiting = self.shared.arrived.notified();
            if let Some(answer) = self.shared.take() {
                return answer;
            }
            waiting.await;
        }
    }

    /// A hint that is there already.
    pub fn try_next(&mut self) -> Option<Hint> {
        self.shared.take().flatten()
    }
}

/// The other end of a [`Watch`].
#[derive(Clone, Debug)]
pub(crate) struct Hints {
    shared: Weak<Shared>,
}

impl Hints {
    pub(crate) fn channel() -> (Hints, Watch) {
        let shared = Arc::new(Shared::default());
        (Hints { shared: Arc::downgrade(&shared) }, Watch { shared })
    }

    /// Whether nobody listens any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.strong_count() == 0
    }

    pub(crate) fn send(&self, hint: Hint) {
        self.change(|pending| pending.push(hint));
    }

    /// The session is over: the watch ends after what it still holds.
    pub(crate) fn end(&self) {
        self.change(|pending| pending.ended = true);
    }

    fn change(&self, change: impl FnOnce(&mut Pending)) {
        if let Some(shared) = self.shared.upgrade() {
            change(&mut shared.pending.lock());
            shared.arrived.notify_one();
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    arrived: Notify,
}

impl Shared {
    /// `None`: nothing yet. `Some(None)`: never again.
    fn take(&self) -> Option<Option<Hint>> {
        let mut pending = self.pending.lock();
        match pending.pop() {
            Some(hint) => Some(Some(hint)),
            None => pending.ended.then_some(None),
        }
    }
}

#[derive(Debug, Default)]
struct Pending {
    lost: bool,
    order: VecDeque<String>,
    paths: BTreeSet<String>,
    ended: bool,
}

impl Pending {
    fn push(&mut self, hint: Hint) {
        match hint {
            _ if self.lost => {}
            Hint::Changed(path) if self.paths.len() < PATHS_MAX => {
                if self.paths.insert(path.clone()) {
                    self.order.push_back(path);
                }
            }
            Hint::Changed(_) | Hint::Lost => {
                self.lost = true;
                self.order.clear();
                self.paths.clear();
            }
        }
    }

    fn pop(&mut self) -> Option<Hint> {
        if std::mem::take(&mut self.lost) {
            return Some(Hint::Lost);
        }
        let path = self.order.pop_front()?;
        self.paths.remove(&path);
        Some(Hint::Changed(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_path_that_changes_twice_is_told_once() {
        let (hints, mut watch) = Hints::channel();
        for path in ["/a", "/b", "/a"] {
            hints.send(Hint::Changed(path.into()));
        }
        assert_eq!(watch.next().await, Some(Hint::Changed("/a".into())));
        assert_eq!(watch.next().await, Some(Hint::Changed("/b".into())));
        assert_eq!(watch.try_next(), None);
    }

    #[tokio::test]
    async fn a_watch_that_nobody_reads_ends_in_lost() {
        let (hints, mut watch) = Hints::channel();
        for number in 0..=PATHS_MAX {
            hints.send(Hint::Changed(format!("/{number}")));
        }
        assert_eq!(watch.next().await, Some(Hint::Lost));
        hints.send(Hint::Changed("/a".into()));
        assert_eq!(watch.next().await, Some(Hint::Changed("/a".into())));
    }

    #[tokio::test]
    async fn the_end_comes_after_what_is_pending() {
        let (hints, mut watch) = Hints::channel();
        hints.send(Hint::Lost);
        hints.end();
        assert_eq!(watch.next().await, Some(Hint::Lost));
        assert_eq!(watch.next().await, None);
        drop(watch);
        assert!(hints.is_closed());
    }
}
