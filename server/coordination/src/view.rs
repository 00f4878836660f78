//! A fresh copy of the registers that never goes back.
//!
//! Watches are hints: on every hint, on every reconnect and every [`REREAD`] the registers are synced and read again. What
//! a read finds replaces what is known only if it is newer: the slots by their version, a shard by its node's version, the
//! master epoch by its number. A slow ZooKeeper server, a lost watch or a new session can therefore delay the view, never
//! turn it back. Masters and members are ephemeral and have no order; for them the sync is what counts.
//!
//! A `/cluster` of another id, a register of a newer format, a damaged one, or one of a shard whose id is past the limit
//! changes nothing but [`View::problems`]; what the other registers say is taken all the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use slotkv_proto::{SlotTable, limits::SHARDS_MAX, table::ShardId};
use tokio::{
    sync::watch::{self, Receiver, Sender},
    task::AbortHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::{debug, warn};

use crate::{
    Error, Hint, Node, Session, SessionState, Watch, paths,
    registers::{
        Cluster, Holds, KnownMember, MasterEpoch, MasterRecord, MemberRecord, Mover, Register, ShardRegister,
        Slots,
    },
};

/// Everything is read again after so long without a hint.
pub const REREAD: Duration = Duration::from_secs(3);
/// Pause after a read that failed.
pub const RETRY: Duration = Duration::from_millis(200);
/// Longest wait of [`ClusterView::refresh`].
pub const REFRESH_MAX: Duration = Duration::from_secs(5);
/// Reads in flight at once.
pub const READS_MAX: usize = 32;

/// The registers at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Everything was read at least once.
    pub loaded: bool,
    /// The coordinator was in touch when this was published.
    pub connected: bool,
    /// `None` until the first leader has created it.
    pub cluster: Option<Cluster>,
    /// Owners and routes; `None` as long as `cluster` is.
    pub table: Option<Arc<SlotTable>>,
    /// The newest ownership; version 0 until the slots are allocated.
    pub slots: Slots,
    /// The last beat of a leader that looks after hand-overs; `None`: none ever did.
    pub mover: Option<Mover>,
    /// What operators have cancelled; number 0: nothing ever.
    pub holds: Holds,
    /// The highest master epoch seen.
    pub master_epoch: u64,
    /// `host:port` of the masters that live, the leader first.
    pub masters: Vec<String>,
    /// The masters that live, by node name; the first one leads.
    pub master_nodes: BTreeMap<String, MasterRecord>,
    /// The processes that live, by node name (`<name>-<run>`).
    pub members: BTreeMap<String, MemberRecord>,
    /// The members that were ever seen, by name.
    pub known: BTreeMap<String, KnownMember>,
    /// The shards.
    pub shards: BTreeMap<ShardId, ShardView>,
    /// Registers that could not be used, and why.
    pub problems: BTreeMap<String, String>,
}

/// A shard's register as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardView {
    /// The register.
    pub register: ShardRegister,
    /// Its node's version.
    pub version: u64,
}

impl View {
    /// The living process of this member name; the one with the highest run if there are several.
    pub fn member(&self, name: &str) -> Option<&MemberRecord> {
        self.members.values().rev().find(|member| member.name == name)
    }

    /// Takes what was read at `path`. Nothing newer is replaced.
    fn take(&mut self, path: &str, node: Option<&Node>) {
        match self.try_take(path, node) {
            Ok(()) => {
                self.problems.remove(path);
            }
            Err(error) => {
                let why = error.to_string();
                if self.problems.get(path) != Some(&why) {
                    warn!(path, %error, "a register cannot be used");
                    self.problems.insert(path.to_owned(), why);
                }
            }
        }
    }

    fn try_take(&mut self, path: &str, node: Option<&Node>) -> Result<(), Error> {
        if let Some(name) = paths::child_of(path, paths::MASTERS) {
            return put(&mut self.master_nodes, name, path, node);
        }
        if let Some(name) = paths::child_of(path, paths::MEMBERS) {
            return put(&mut self.members, name, path, node);
        }
        if let Some(name) = paths::child_of(path, paths::KNOWN) {
            return put(&mut self.known, name, path, node);
        }
        // What follows is never deleted: a read that does not find it is an old one.
        let Some(node) = node else { return Ok(()) };
        if let Some(name) = paths::child_of(path, paths::SHARDS) {
            let shard = paths::shard_of(path).ok_or_else(|| {
                Error::Invalid(format!(
                    "{name:?} is no shard: a shard has an id from 0 to {}",
                    SHARDS_MAX - 1
                ))
            })?;
            return self.take_shard(shard, path, node);
        }
        match path {
            paths::CLUSTER => self.take_cluster(Register::decode(path, &node.data)?),
            paths::SLOTS => {
                let slots = Slots::decode(path, &node.data)?;
                if slots.version > self.slots.version {
                    self.take_slots(slots);
                }
                Ok(())
            }
            paths::MOVER => {
                self.mover = self.mover.max(Some(Mover::decode(path, &node.data)?));
                Ok(())
            }
            paths::HOLDS => {
                let holds = Holds::decode(path, &node.data)?;
                if holds.number > self.holds.number {
                    self.holds = holds;
                }
                Ok(())
            }
            paths::MASTER_EPOCH => {
                self.master_epoch = self.master_epoch.max(MasterEpoch::decode(path, &node.data)?.epoch);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes a newer ownership. Where tenures tell that a slot did not move, it did not, however many versions were passed
    /// over: so what clients are sent stays as small as what changed.
    fn take_slots(&mut self, slots: Slots) {
        let known = std::mem::replace(&mut self.slots, slots);
        let Some(table) = self.table.as_deref().filter(|table| table.version() == known.version) else {
            return;
        };
        if known.version == 0 || self.slots.tenures.is_empty() {
            return;
        }
        let (before, after) = (known.to_table().owners, self.slots.to_table().owners);
        let has_moved = |slot: u16| before.get(usize::from(slot)) != after.get(usize::from(slot));
        let mut next = table.clone();
        // What cannot be taken is told by `settle`.
        if next.set_owners_that_moved(self.slots.version, &self.slots.owners, has_moved) == Ok(true) {
            self.table = Some(Arc::new(next));
        }
    }

    fn take_cluster(&mut self, found: Cluster) -> Result<(), Error> {
        match &self.cluster {
            None => {
                self.table = Some(Arc::new(found.table()?));
                self.cluster = Some(found);
                Ok(())
            }
            Some(ours) if *ours == found => Ok(()),
            Some(ours) => Err(Error::Damaged {
                path: paths::CLUSTER.into(),
                why: format!("it is {found:?}, but was {ours:?}"),
            }),
        }
    }

    fn take_shard(&mut self, shard: ShardId, path: &str, node: &Node) -> Result<(), Error> {
        if self.shards.get(&shard).is_some_and(|known| known.version >= node.version) {
            return Ok(());
        }
        let register = ShardRegister::decode(path, &node.data)?;
        if let Some(known) = self.shards.get(&shard).filter(|known| known.register.epoch > register.epoch) {
            return Err(Error::Damaged {
                path: path.into(),
                why: format!("epoch {} after {}", register.epoch, known.register.epoch),
            });
        }
        self.shards.insert(shard, ShardView { register, version: node.version });
        Ok(())
    }

    /// Makes what follows from the registers follow again.
    fn settle(&mut self) {
        self.masters = self.master_nodes.values().map(|master| master.address.clone()).collect();
        let Some(table) = &self.table else { return };
        let mut next = SlotTable::clone(table);
        let owners = next.set_owners(self.slots.version, &self.slots.owners);
        if let Err(error) = &owners {
            self.problems.insert(paths::SLOTS.into(), error.to_string());
        }
        let mut changed = owners.unwrap_or(false);
        for (&shard, known) in &self.shards {
            changed |= next.set_route(known.register.route(shard, known.version));
        }
        if changed {
            self.table = Some(Arc::new(next));
        }
    }
}

fn put<R: Register>(
    map: &mut BTreeMap<String, R>,
    name: &str,
    path: &str,
    node: Option<&Node>,
) -> Result<(), Error> {
    match node {
        Some(node) => map.insert(name.to_owned(), R::decode(path, &node.data)?),
        None => map.remove(name),
    };
    Ok(())
}

/// Keeps a [`View`] fresh until it is dropped.
#[derive(Debug)]
pub struct ClusterView {
    views: Receiver<Arc<View>>,
    sessions: Sender<Option<Arc<dyn Session>>>,
    /// Reads asked for, and begun when so many had been asked for.
    asked: Sender<Asked>,
    done: Receiver<Asked>,
    task: AbortHandle,
}

/// How often it was asked for a read, of everything and of the slots alone.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    everything: u64,
    slots: u64,
}

impl ClusterView {
    /// Begins with an empty view; [`View::loaded`] tells when it is a whole one. Needs a tokio runtime.
    pub fn start(session: Arc<dyn Session>) -> Self {
        let view = Self::detached();
        view.attach(session);
        view
    }

    /// As [`start`](Self::start), for who has no session yet: [`attach`](Self::attach) gives it one.
    pub fn detached() -> Self {
        let (publish, views) = watch::channel(Arc::new(View::default()));
        let (sessions, attached) = watch::channel(None);
        let (asked, asks) = watch::channel(Asked::default());
        let (served, done) = watch::channel(Asked::default());
        let follower = Follower { view: View::default(), publish, asks, served };
        let task = tokio::spawn(follower.run(attached)).abort_handle();
        Self { views, sessions, asked, done, task }
    }

    /// The views, newest last. None is older than the one before it.
    pub fn views(&self) -> Receiver<Arc<View>> {
        self.views.clone()
    }

    /// The newest view.
    pub fn current(&self) -> Arc<View> {
        self.views.borrow().clone()
    }

    /// Goes on with another session, after the old one is over or before. What was seen stays.
    pub fn attach(&self, session: Arc<dyn Session>) {
        self.sessions.send_replace(Some(session));
    }

    /// Reads everything again, now, and gives a view at least as new as every write that was finished before this call.
    /// Callers at the same time share the reads.
    pub async fn refresh(&self) -> Result<Arc<View>, Error> {
        self.refreshed(|asked| &mut asked.everything).await
    }

    /// The same of the slots, whose register changes with every hand-over: what else is in the view may be older.
    pub async fn refresh_slots(&self) -> Result<Arc<View>, Error> {
        self.refreshed(|asked| &mut asked.slots).await
    }

    async fn refreshed(&self, of: impl Fn(&mut Asked) -> &mut u64) -> Result<Arc<View>, Error> {
        let mut number = 0;
        self.asked.send_modify(|asked| {
            *of(asked) += 1;
            number = *of(asked);
        });
        let mut done = self.done.clone();
        match timeout(REFRESH_MAX, done.wait_for(|done| *of(&mut done.clone()) >= number)).await {
            Ok(Ok(_)) => Ok(self.current()),
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::Disconnected { unknown: false }),
        }
    }
}

impl Drop for ClusterView {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What to read again.
enum Stale {
    All,
    Paths(BTreeSet<String>),
}

impl Stale {
    /// And everything, or the slots.
    fn add(&mut self, everything: bool, slots: bool) {
        match self {
            _ if everything => *self = Self::All,
            Self::Paths(paths) if slots => drop(paths.insert(paths::SLOTS.to_owned())),
            _ => {}
        }
    }
}

struct Follower {
    view: View,
    publish: Sender<Arc<View>>,
    asks: Receiver<Asked>,
    served: Sender<Asked>,
}

impl Follower {
    async fn run(mut self, mut sessions: Receiver<Option<Arc<dyn Session>>>) {
        loop {
            let Some(session) = sessions.borrow_and_update().clone() else {
                if sessions.changed().await.is_err() {
                    return;
                }
                continue;
            };
            tokio::select! {
                biased;
                attached = sessions.changed() => match attached {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                () = self.follow(&*session) => {}
            }
            debug!(session = %session.id(), "the view's session is over, waiting for another");
            self.publish(false);
            if sessions.changed().await.is_err() {
                return;
            }
        }
    }

    /// Until the session is over.
    async fn follow(&mut self, session: &dyn Session) {
        let mut state = session.state();
        loop {
            match state.wait_for(|state| *state != SessionState::Disconnected).await.map(|state| *state) {
                Ok(SessionState::Connected) => {}
                _ => return,
            }
            let error = match session.watch("/").await {
                Ok(watch) => self.follow_watch(session, watch, session.state()).await,
                Err(error) => error,
            };
            self.publish(false);
            if error.is_over() {
                return;
            }
            debug!(%error, "the view is behind");
            if *state.borrow() == SessionState::Connected {
                sleep(RETRY).await;
            }
        }
    }

    /// Until a read fails or the connection breaks.
    async fn follow_watch(
        &mut self,
        session: &dyn Session,
        mut watch: Watch,
        mut state: Receiver<SessionState>,
    ) -> Error {
        let mut stale = Stale::All;
        // Not put off by hints, nor by asks: those that come say nothing of a hint that was lost.
        let mut reread_at = Instant::now() + REREAD;
        loop {
            let (asked, served) = (*self.asks.borrow_and_update(), *self.served.borrow());
            stale.add(asked.everything > served.everything, asked.slots > served.slots);
            let whole = matches!(stale, Stale::All);
            if let Err(error) = self.read(session, stale).await {
                return error;
            }
            self.view.loaded |= whole;
            self.publish(true);
            self.served.send_replace(if whole { asked } else { Asked { slots: asked.slots, ..served } });
            if whole {
                reread_at = Instant::now() + REREAD;
            }
            stale = tokio::select! {
                biased;
                () = sleep_until(reread_at) => Stale::All,
                hint = watch.next() => match hint {
                    Some(hint) => gather(hint, &mut watch),
                    None => return Error::Expired,
                },
                broken = state.wait_for(|state| *state != SessionState::Connected) => match broken.map(|state| *state) {
                    Ok(SessionState::Disconnected) => return Error::Disconnected { unknown: false },
                    _ => return Error::Expired,
                },
                // What is asked for is added above.
                asked = self.asks.changed() => match asked {
                    Ok(()) => Stale::Paths(BTreeSet::new()),
                    Err(_) => return Error::Closed,
                },
            };
        }
    }

    async fn read(&mut self, session: &dyn Session, stale: Stale) -> Result<(), Error> {
        let stale = match stale {
            Stale::All => None,
            Stale::Paths(paths) if paths.is_empty() => return Ok(()),
            Stale::Paths(paths) => Some(paths),
        };
        session.sync("/").await?;
        let paths = match stale {
            Some(paths) => paths,
            None => self.everything(session).await?,
        };
        let mut nodes = stream::iter(paths)
            .map(|path| async move {
                let node = session.get(&path).await;
                (path, node)
            })
            .buffered(READS_MAX);
        while let Some((path, node)) = nodes.next().await {
            self.view.take(&path, node?.as_ref());
        }
        Ok(())
    }

    /// All paths to read: those that exist, and those that were known and may be gone.
    async fn everything(&mut self, session: &dyn Session) -> Result<BTreeSet<String>, Error> {
        let mut all: BTreeSet<String> =
            [paths::CLUSTER, paths::SLOTS, paths::MASTER_EPOCH, paths::MOVER, paths::HOLDS]
                .into_iter()
                .map(str::to_owned)
                .collect();
        for parent in [paths::MASTERS, paths::MEMBERS, paths::KNOWN, paths::SHARDS] {
            let names = session.children(parent).await?;
            all.extend(names.into_iter().map(|name| format!("{parent}/{name}")));
        }
        let view = &self.view;
        all.extend(view.master_nodes.keys().map(|name| format!("{}/{name}", paths::MASTERS)));
        all.extend(view.members.keys().map(|name| format!("{}/{name}", paths::MEMBERS)));
        all.extend(view.known.keys().map(|name| format!("{}/{name}", paths::KNOWN)));
        Ok(all)
    }

    fn publish(&mut self, connected: bool) {
        self.view.connected = connected;
        self.view.settle();
        self.publish.send_if_modified(|published| {
            let changed = **published != self.view;
            if changed {
                *published = Arc::new(self.view.clone());
            }
            changed
        });
    }
}

/// The paths of this hint and of those already behind it, as far as they matter here.
fn gather(first: Hint, watch: &mut Watch) -> Stale {
    let mut stale = BTreeSet::new();
    let mut next = Some(first);
    while let Some(hint) = next {
        match hint {
            Hint::Lost => return Stale::All,
            Hint::Changed(path) => {
                if is_register(&path) {
                    stale.insert(path);
                }
            }
        }
        next = watch.try_next();
    }
    Stale::Paths(stale)
}

fn is_register(path: &str) -> bool {
    let parents = [paths::MASTERS, paths::MEMBERS, paths::KNOWN, paths::SHARDS];
    matches!(path, paths::CLUSTER | paths::SLOTS | paths::MASTER_EPOCH | paths::MOVER | paths::HOLDS)
        || parents.iter().any(|parent| paths::child_of(path, parent).is_some())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_clients_are_sent_is_as_small_as_what_changed_though_versions_were_passed_over() {
        let mut view = View::default();
        let take = |view: &mut View, path: &str, data: Bytes, version: u64| {
            view.take(path, Some(&Node { data, version, owner: None }));
            view.settle();
        };
        let (cluster_id, placement) = ("c".to_owned(), "weighted".to_owned());
        let cluster = Cluster { cluster_id, slot_count: 16_384, shards_announced: 1, placement };
        take(&mut view, paths::CLUSTER, cluster.encode().unwrap(), 0);
        let slots = |version, moved: &[(u16, u64)]| {
            let mut table = Slots { version, owners: vec![(0, 16_383, 0)], ..Slots::default() }.to_table();
            for &(slot, tenure) in moved {
                let owner = &mut table.owners[usize::from(slot)];
                (owner.shard, owner.tenure.0) = (1, tenure);
            }
            Slots::of(&table, &Slots::default(), |_| 0).encode().unwrap()
        };
        take(&mut view, paths::SLOTS, slots(1, &[]), 0);
        take(&mut view, paths::SLOTS, slots(3, &[(7, 2)]), 2);
        let ranges = |view: &View, since| view.table.as_ref().unwrap().delta_since(since, |_| 0).ranges.len();
        assert_eq!(ranges(&view, 1), 1);
        take(&mut view, paths::SLOTS, slots(40, &[(7, 2), (9, 20), (11, 30)]), 39);
        assert_eq!((ranges(&view, 3), ranges(&view, 1), ranges(&view, 40)), (2, 3, 0));
        // One that went and came back within what was passed over has another tenure.
        take(&mut view, paths::SLOTS, slots(60, &[(7, 50), (9, 20), (11, 30)]), 59);
        assert_eq!(ranges(&view, 40), 1);
    }
}
