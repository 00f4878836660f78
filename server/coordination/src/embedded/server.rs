//! The coordinator's side: the tree, and of each session what the coordinator and what its owner believe. A pure state
//! machine: time comes in as an argument, [`Server::tick`] does what is due, [`Server::deadline`] says when that is next.
//!
//! Invariants:
//! - `alive` is the coordinator's view of a session, `state` the owner's. They may differ, as with ZooKeeper: a session is
//!   deleted after `timeout` of silence, its owner gives it up after 1.4 times that.
//! - A final `state` never changes again.
//! - The tree changes in [`Server::install`] only, after the folder holds what must outlive the process.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::watch, time::Instant};

use super::{
    faults::{Plan, WriteFate},
    file::{Folder, Saved},
    tree::{Changes, Tree},
};
use crate::{
    Error, Hint, Watch,
    coordinator::{Op, OpResult, SessionId, SessionState},
    paths,
    watch::Hints,
};

/// How long a connection that broke stays away before the client has it back.
pub const RECONNECT: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Server {
    tree: Arc<Tree>,
    sessions: BTreeMap<SessionId, Entry>,
    folder: Option<Folder>,
    run: u32,
    opened: u32,
    stopped: bool,
    pub plan: Plan,
}

#[derive(Debug)]
struct Entry {
    timeout: Duration,
    state: watch::Sender<SessionState>,
    watches: Vec<(String, Hints)>,
    /// The coordinator has not deleted it.
    alive: bool,
    /// The owner has not dropped it.
    held: bool,
    partitioned: bool,
    /// The connection broke and comes back then.
    away_until: Option<Instant>,
    /// When the owner was last in touch, while it is not.
    lost_at: Option<Instant>,
    /// When the coordinator last heard of it, while it does not.
    silent_since: Option<Instant>,
    /// Under the fault of old reads: what this session sees.
    old: Option<Arc<Tree>>,
    /// The deadline that the session's keeper knows.
    armed: Option<Instant>,
    wake: watch::Sender<()>,
}

impl Entry {
    fn state(&self) -> SessionState {
        *self.state.borrow()
    }

    fn enter(&mut self, state: SessionState) {
        self.state.send_replace(state);
        if state.is_final() {
            for (_, hints) in self.watches.drain(..) {
                hints.end();
            }
        }
    }

    /// When the owner gives the session up by itself, as the ZooKeeper client does: later than the coordinator.
    fn given_up_at(&self) -> Option<Instant> {
        self.lost_at.filter(|_| !self.state().is_final()).map(|at| at + self.timeout * 7 / 5)
    }

    fn expires_at(&self) -> Option<Instant> {
        self.silent_since.filter(|_| self.alive).map(|at| at + self.timeout)
    }

    fn deadline(&self, stopped: bool) -> Option<Instant> {
        let expires_at = self.expires_at().filter(|_| !stopped);
        [self.away_until, expires_at, self.given_up_at()].into_iter().flatten().min()
    }
}

impl Server {
    pub fn in_memory() -> Self {
        Self {
            tree: Arc::new(Tree::new()),
            sessions: BTreeMap::new(),
            folder: None,
            run: 1,
            opened: 0,
            stopped: false,
            plan: Plan::default(),
        }
    }

    pub fn in_folder(mut folder: Folder, saved: Saved) -> Result<Self, Error> {
        let run = saved.run.wrapping_add(1);
        folder.save(&saved.tree, run)?;
        Ok(Self { tree: Arc::new(saved.tree), folder: Some(folder), run, ..Self::in_memory() })
    }

    pub fn open(
        &mut self,
        timeout: Duration,
    ) -> (SessionId, watch::Receiver<SessionState>, watch::Receiver<()>) {
        self.opened += 1;
        let id = SessionId(u64::from(self.run) << 32 | u64::from(self.opened));
        let (state, states) = watch::channel(SessionState::Connected);
        let (wake, wakes) = watch::channel(());
        let entry = Entry {
            timeout,
            state,
            watches: Vec::new(),
            alive: true,
            held: true,
            partitioned: false,
            away_until: None,
            lost_at: None,
            silent_since: None,
            old: self.plan.old_reads.then(|| self.tree.clone()),
            armed: None,
            wake,
        };
        self.sessions.insert(id, entry);
        (id, states, wakes)
    }

    /// Sessions that the coordinator counts.
    pub fn alive(&self) -> Vec<SessionId> {
        self.sessions.iter().filter(|(_, entry)| entry.alive).map(|(&id, _)| id).collect()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            self.tick_session(id, now);
        }
    }

    /// When [`tick`](Self::tick) next has something to do for this session; `Err` when it is gone.
    pub fn deadline(&self, id: SessionId) -> Result<Option<Instant>, ()> {
        self.sessions.get(&id).map(|entry| entry.deadline(self.stopped)).ok_or(())
    }

    fn tick_session(&mut self, id: SessionId, now: Instant) {
        let stopped = self.stopped;
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        if !stopped && entry.expires_at().is_some_and(|at| at <= now) {
            self.delete(id);
        }
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        if entry.away_until.is_some_and(|at| at <= now) {
            entry.away_until = None;
        }
        if entry.given_up_at().is_some_and(|at| at <= now) {
            entry.enter(SessionState::Expired);
        }
        let reachable = entry.held && !entry.partitioned && entry.away_until.is_none() && !stopped;
        match (entry.state(), reachable) {
            (SessionState::Connected, false) => {
                entry.lost_at = Some(now);
                entry.silent_since.get_or_insert(now);
                entry.enter(SessionState::Disconnected);
            }
            (SessionState::Disconnected, true) if entry.alive => {
                entry.lost_at = None;
                entry.silent_since = None;
                entry.enter(SessionState::Connected);
                for (_, hints) in &entry.watches {
                    hints.send(Hint::Lost);
                }
            }
            (SessionState::Disconnected, true) => entry.enter(SessionState::Expired),
            _ => {}
        }
        if entry.state().is_final() {
            entry.silent_since.get_or_insert(now);
        }
        if !entry.alive && (entry.state().is_final() || !entry.held) {
            self.sessions.remove(&id);
            return;
        }
        let deadline = entry.deadline(stopped);
        if entry.armed != deadline {
            entry.armed = deadline;
            entry.wake.send_replace(());
        }
    }

    /// Whether the session can be asked anything now.
    fn check(&mut self, id: SessionId, now: Instant) -> Result<&mut Entry, Error> {
        self.tick(now);
        let entry = self.sessions.get_mut(&id).ok_or(Error::Expired)?;
        match entry.state() {
            SessionState::Connected => Ok(entry),
            SessionState::Disconnected => Err(Error::Disconnected { unknown: false }),
            SessionState::Expired => Err(Error::Expired),
            SessionState::Closed => Err(Error::Closed),
        }
    }

    /// Whether the session can be asked something that reaches the coordinator's leader.
    fn check_alive(&mut self, id: SessionId, now: Instant) -> Result<&mut Entry, Error> {
        if !self.check(id, now)?.alive {
            self.expire(id, now);
            return Err(Error::Expired);
        }
        self.check(id, now)
    }

    pub fn look(&self, path: &str) -> Option<Bytes> {
        self.tree.get(path).map(|node| node.data)
    }

    pub fn read(&mut self, id: SessionId, now: Instant) -> Result<Arc<Tree>, Error> {
        let old = self.check(id, now)?.old.clone();
        let read = old.unwrap_or_else(|| self.tree.clone());
        self.plan.met.old_reads += u64::from(!Arc::ptr_eq(&read, &self.tree));
        Ok(read)
    }

    pub fn sync(&mut self, id: SessionId, now: Instant) -> Result<(), Error> {
        let tree = self.tree.clone();
        let entry = self.check_alive(id, now)?;
        entry.old = entry.old.take().map(|_| tree);
        Ok(())
    }

    pub fn write(&mut self, id: SessionId, ops: &[Op], now: Instant) -> Result<Vec<OpResult>, Error> {
        self.check_alive(id, now)?;
        if self.plan.breaks_now() {
            self.disconnect(id, now);
            return Err(Error::Disconnected { unknown: false });
        }
        match self.plan.write_fate(id) {
            None => self.commit(id, ops),
            Some(fate) => {
                if fate == WriteFate::Applied {
                    // What it would have answered gets lost with the connection.
                    let _ = self.commit(id, ops);
                }
                self.disconnect(id, now);
                Err(Error::Disconnected { unknown: true })
            }
        }
    }

    pub fn watch(&mut self, id: SessionId, path: &str, now: Instant) -> Result<Watch, Error> {
        let entry = self.check(id, now)?;
        let (hints, watch) = Hints::channel();
        entry.watches.retain(|(_, hints)| !hints.is_closed());
        entry.watches.push((path.to_owned(), hints));
        Ok(watch)
    }

    /// The owner ends the session; heard by the coordinator only if they are in touch.
    pub fn close(&mut self, id: SessionId, now: Instant) {
        self.tick(now);
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        let in_touch = entry.state() == SessionState::Connected;
        if !entry.state().is_final() {
            entry.enter(SessionState::Closed);
        }
        if in_touch {
            self.delete(id);
        }
        self.tick(now);
    }

    /// The owner has dropped the session.
    pub fn release(&mut self, id: SessionId, now: Instant) {
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.held = false;
        }
        self.tick(now);
    }

    /// Fault: the coordinator ends the session, and its owner learns of it at once if they are in touch.
    pub fn expire(&mut self, id: SessionId, now: Instant) {
        self.tick(now);
        self.delete(id);
        if let Some(entry) =
            self.sessions.get_mut(&id).filter(|entry| entry.state() == SessionState::Connected)
        {
            entry.enter(SessionState::Expired);
        }
        self.tick(now);
    }

    /// Fault: the coordinator ends the session; its owner is not told.
    pub fn expire_unnoticed(&mut self, id: SessionId, now: Instant) {
        self.tick(now);
        self.delete(id);
        self.tick(now);
    }

    fn delete(&mut self, id: SessionId) {
        let Some(entry) = self.sessions.get_mut(&id).filter(|entry| entry.alive) else { return };
        entry.alive = false;
        let (tree, changes) = self.tree.expire(id);
        self.install(tree, &changes);
    }

    /// Fault: the connection breaks and comes back after [`RECONNECT`].
    pub fn disconnect(&mut self, id: SessionId, now: Instant) {
        self.tick(now);
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.away_until = Some(now + RECONNECT);
        }
        self.tick(now);
    }

    /// Fault: whether the session's owner is cut off.
    pub fn partition(&mut self, id: SessionId, cut: bool, now: Instant) {
        self.tick(now);
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.partitioned = cut;
        }
        self.tick(now);
    }

    /// Fault: whether the whole coordinator is away. Silence counts anew from its return, as with ZooKeeper.
    pub fn stop(&mut self, stopped: bool, now: Instant) {
        self.tick(now);
        if self.stopped && !stopped {
            for entry in self.sessions.values_mut() {
                entry.silent_since = entry.silent_since.map(|_| now);
            }
        }
        self.stopped = stopped;
        self.tick(now);
    }

    /// Fault: whether sessions go on seeing the tree of now until they write or sync.
    pub fn old_reads(&mut self, on: bool) {
        self.plan.old_reads = on;
        for entry in self.sessions.values_mut() {
            entry.old = on.then(|| self.tree.clone());
        }
    }

    fn commit(&mut self, id: SessionId, ops: &[Op]) -> Result<Vec<OpResult>, Error> {
        let (tree, changes) = self.tree.transact(id, ops)?;
        if let (true, Some(folder)) = (changes.durable, &mut self.folder) {
            folder.save(&tree, self.run)?;
        }
        self.install(tree, &changes);
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.old = entry.old.take().map(|_| self.tree.clone());
        }
        Ok(changes.results)
    }

    fn install(&mut self, tree: Tree, changes: &Changes) {
        self.tree = Arc::new(tree);
        for entry in self.sessions.values_mut().filter(|entry| entry.state() == SessionState::Connected) {
            for (root, hints) in &entry.watches {
                for path in changes.paths.iter().filter(|path| paths::is_within(path, root)) {
                    if !self.plan.loses_hint() {
                        hints.send(Hint::Changed(path.clone()));
                    }
                }
            }
        }
    }
}
