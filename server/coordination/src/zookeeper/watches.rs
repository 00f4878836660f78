//! The watches of one session: one recursive watch per path at the ensemble, shared by everyone here who watches that path.
//!
//! After a reconnect the ensemble knows none of them (the crate does not set persistent watches again), so each is set
//! anew, and says `Lost`: what happened in between is not known.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tracing::debug;
use zookeeper_client as zk;

use super::session::Slot;
use crate::{Hint, Watch, watch::Hints};

pub(super) struct Watches {
    client: Slot,
    paths: Mutex<BTreeMap<String, PathWatch>>,
    /// Held while a watch is being set, so that two callers set one only.
    setting: tokio::sync::Mutex<()>,
}

type Listeners = Arc<Mutex<Vec<Hints>>>;

struct PathWatch {
    listeners: Listeners,
    task: AbortHandle,
}

impl Watches {
    pub fn new(client: Slot) -> Self {
        Self { client, paths: Mutex::default(), setting: tokio::sync::Mutex::default() }
    }

    pub async fn subscribe(&self, client: &zk::Client, path: &str) -> Result<Watch, zk::Error> {
        let (hints, watch) = Hints::channel();
        let _setting = self.setting.lock().await;
        if self.join(path, &hints) {
            return Ok(watch);
        }
        let watcher = client.watch(path, zk::AddWatchMode::PersistentRecursive).await?;
        let listeners: Listeners = Arc::new(Mutex::new(vec![hints]));
        let forwarding = forward(self.client.clone(), path.to_owned(), watcher, listeners.clone());
        let task = tokio::spawn(forwarding).abort_handle();
        self.paths.lock().insert(path.to_owned(), PathWatch { listeners, task });
        Ok(watch)
    }

    /// The session is over.
    pub fn end(&self) {
        for watched in std::mem::take(&mut *self.paths.lock()).into_values() {
            for hints in watched.listeners.lock().iter() {
                hints.end();
            }
        }
    }

    /// Listens to a watch that is there already. Those that nobody listens to any more end here.
    fn join(&self, path: &str, hints: &Hints) -> bool {
        let mut paths = self.paths.lock();
        paths.retain(|_, watched| watched.is_wanted());
        match paths.get(path) {
            Some(watched) => {
                watched.listeners.lock().push(hints.clone());
                true
            }
            None => false,
        }
    }
}

impl PathWatch {
    fn is_wanted(&self) -> bool {
        let mut listeners = self.listeners.lock();
        listeners.retain(|hints| !hints.is_closed());
        !listeners.is_empty() && !self.task.is_finished()
    }
}

impl Drop for PathWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes events on until the session is over.
async fn forward(client: Slot, path: String, mut watcher: zk::PersistentWatcher, listeners: Listeners) {
    let tell = |hint: Hint| listeners.lock().iter().for_each(|hints| hints.send(hint.clone()));
    loop {
        let event = watcher.changed().await;
        if event.event_type != zk::EventType::Session {
            tell(Hint::Changed(event.path));
            continue;
        }
        match event.session_state {
            zk::SessionState::Disconnected => {}
            state if state.is_terminated() => break,
            _ => {
                let Some(client) = client.lock().clone() else { break };
                // If this fails, the connection is gone again, and the old watcher will hear of the next one.
                match client.watch(&path, zk::AddWatchMode::PersistentRecursive).await {
                    Ok(renewed) => watcher = renewed,
                    Err(error) => debug!(path, %error, "a watch could not be set again"),
                }
                tell(Hint::Lost);
            }
        }
    }
    listeners.lock().iter().for_each(Hints::end);
}
