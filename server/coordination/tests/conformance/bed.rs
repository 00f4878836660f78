//! What a case runs on.

use std::{
    future::Future,
    ops::Deref,
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
    time::Duration,
};

use slotkv_coordination::{
    Coordinator, Embedded, Error, Hint, Node, Session, SessionState, Watch, ZooKeeper,
    embedded::{Faults, WriteFate},
    ensemble::Ensemble,
};
use tokio::time::{sleep, timeout};

use crate::proxy::Proxy;

/// Longer than any case: the session stays unless it is closed.
pub const LONG: Duration = Duration::from_secs(90);
/// For sessions that are meant to expire.
pub const SHORT: Duration = Duration::from_millis(1500);
/// Longest wait for something that must come.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// Which coordinator.
pub enum Kind {
    Embedded,
    ZooKeeper(Ensemble),
}

impl Kind {
    pub async fn zookeeper(servers: usize) -> Self {
        Kind::ZooKeeper(Ensemble::start(servers).await.unwrap_or_else(|error| panic!("{error}")))
    }

    pub fn name(&self) -> String {
        match self {
            Kind::Embedded => "embedded".into(),
            Kind::ZooKeeper(ensemble) => format!("zookeeper x{}", ensemble.count()),
        }
    }
}

/// An empty tree for one case: a root of its own in the servers that all cases share, or an embedded coordinator of its own.
pub struct Bed {
    kind: Arc<Kind>,
    root: String,
    embedded: Embedded,
}

impl Bed {
    pub fn new(kind: Arc<Kind>, case: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let root = format!("/{}-{}", case.replace("::", "-"), COUNT.fetch_add(1, Ordering::Relaxed));
        Self { kind, root, embedded: Embedded::new() }
    }

    /// A session that stays.
    pub async fn peer(&self) -> Peer {
        self.peer_for(LONG).await
    }

    pub async fn peer_for(&self, session_timeout: Duration) -> Peer {
        match &*self.kind {
            Kind::Embedded => {
                let session = self.embedded.open(session_timeout).await.unwrap();
                Peer { session, link: Link::Embedded(self.embedded.faults()) }
            }
            Kind::ZooKeeper(ensemble) => {
                let proxy = Proxy::start(&ensemble.ports()).await;
                let coordinator = ZooKeeper::new(&format!("{}{}", proxy.address(), self.root)).unwrap();
                let session = coordinator.open(session_timeout).await.unwrap();
                Peer { session, link: Link::Proxy(proxy) }
            }
        }
    }

    /// A coordinator that nobody answers for.
    pub async fn unreachable(&self) -> (Arc<dyn Coordinator>, &'static str) {
        match &*self.kind {
            Kind::Embedded => {
                let embedded = Embedded::new();
                embedded.faults().stop();
                (Arc::new(embedded), "embedded")
            }
            Kind::ZooKeeper(ensemble) => {
                let proxy = Proxy::start(&ensemble.ports()).await;
                proxy.cut();
                (Arc::new(ZooKeeper::new(&proxy.address()).unwrap()), "zk://127.0.0.1:")
            }
        }
    }

    /// Kills the server that decides, as `kill -9` does. The answer starts it again.
    pub async fn kill_leader(&self) -> Down<'_> {
        match &*self.kind {
            Kind::Embedded => {
                self.embedded.faults().stop();
                Down::Embedded(self.embedded.faults())
            }
            Kind::ZooKeeper(ensemble) => {
                let leader = ensemble.leader().await.unwrap();
                ensemble.kill(leader);
                Down::Killed(ensemble, vec![leader])
            }
        }
    }

    /// Kills every server.
    pub async fn kill_all(&self) -> Down<'_> {
        match &*self.kind {
            Kind::Embedded => self.kill_leader().await,
            Kind::ZooKeeper(ensemble) => {
                let all: Vec<usize> = (0..ensemble.count()).collect();
                all.iter().for_each(|&index| ensemble.kill(index));
                Down::Killed(ensemble, all)
            }
        }
    }

    /// Stops the clock of the server that decides.
    pub async fn pause_leader(&self) -> Down<'_> {
        match &*self.kind {
            Kind::Embedded => self.kill_leader().await,
            Kind::ZooKeeper(ensemble) => {
                let leader = ensemble.leader().await.unwrap();
                ensemble.pause(leader);
                Down::Paused(ensemble, leader)
            }
        }
    }

    /// Whether the coordinator serves while the server that decides is down.
    pub fn survives_a_server(&self) -> bool {
        matches!(&*self.kind, Kind::ZooKeeper(ensemble) if ensemble.count() >= 3)
    }
}

/// What was taken away.
pub enum Down<'a> {
    Embedded(Faults),
    Killed(&'a Ensemble, Vec<usize>),
    Paused(&'a Ensemble, usize),
}

impl Down<'_> {
    pub async fn bring_back(self) {
        match self {
            Down::Embedded(faults) => faults.start(),
            Down::Killed(ensemble, killed) => {
                let restarts = killed.iter().map(|&index| ensemble.restart(index));
                for restarted in futures_util::future::join_all(restarts).await {
                    restarted.unwrap();
                }
                ensemble.settled().await.unwrap();
            }
            Down::Paused(ensemble, paused) => {
                ensemble.resume(paused);
                ensemble.settled().await.unwrap();
            }
        }
    }
}

/// A session, and power over its connection.
pub struct Peer {
    pub session: Arc<dyn Session>,
    link: Link,
}

enum Link {
    Embedded(Faults),
    Proxy(Proxy),
}

impl Deref for Peer {
    type Target = dyn Session;

    fn deref(&self) -> &Self::Target {
        &*self.session
    }
}

impl Peer {
    /// Cuts the owner off and waits until it knows.
    pub async fn cut(&self) {
        match &self.link {
            Link::Embedded(faults) => faults.partition(self.id()),
            Link::Proxy(proxy) => proxy.cut(),
        }
        self.reach(SessionState::Disconnected).await;
    }

    pub fn heal(&self) {
        match &self.link {
            Link::Embedded(faults) => faults.heal(self.id()),
            Link::Proxy(proxy) => proxy.heal(),
        }
    }

    /// Breaks the connection for a moment and waits until it is back.
    pub async fn blink(&self) {
        self.cut().await;
        self.heal();
        self.reach(SessionState::Connected).await;
    }

    /// The next write's outcome stays unknown.
    pub fn next_write(&self, fate: WriteFate) {
        match &self.link {
            Link::Embedded(faults) => faults.next_write(Some(self.id()), fate),
            Link::Proxy(proxy) => proxy.next_write(fate),
        }
    }

    /// Waits for a state.
    pub async fn reach(&self, wanted: SessionState) {
        let mut state = self.state();
        let reached = timeout(WAIT_MAX, state.wait_for(|state| *state == wanted)).await;
        assert!(matches!(reached, Ok(Ok(_))), "the session is {:?}, not {wanted:?}", self.state_now());
    }

    pub fn state_now(&self) -> SessionState {
        *self.state().borrow()
    }

    /// Waits until the node at `path` is as wanted.
    pub async fn until(&self, path: &str, wanted: impl Fn(Option<&Node>) -> bool) -> Option<Node> {
        let waiting = async {
            loop {
                match self.fresh(path).await {
                    Ok(node) if wanted(node.as_ref()) => return node,
                    Ok(_) => sleep(POLL).await,
                    Err(error) if error.is_passing() => sleep(POLL).await,
                    Err(error) => panic!("{path}: {error}"),
                }
            }
        };
        timeout(WAIT_MAX, waiting).await.unwrap_or_else(|_| panic!("{path} did not become as wanted"))
    }

    /// A read that is not old.
    pub async fn fresh(&self, path: &str) -> Result<Option<Node>, Error> {
        self.sync(path).await?;
        self.get(path).await
    }

    /// Repeats an operation until the connection lets it through.
    pub async fn insist<T, F: Future<Output = Result<T, Error>>>(&self, operation: impl Fn() -> F) -> T {
        let insisting = async {
            loop {
                match operation().await {
                    Ok(done) => return done,
                    Err(error) if error.is_passing() => sleep(POLL).await,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        timeout(WAIT_MAX, insisting).await.expect("the coordinator did not come back")
    }
}

/// The next hint, which must come.
pub async fn hint(watch: &mut Watch) -> Option<Hint> {
    timeout(WAIT_MAX, watch.next()).await.expect("no hint came")
}

/// Waits for a hint that tells of `path`, or that anything may have changed.
pub async fn hint_of(watch: &mut Watch, path: &str) {
    loop {
        match hint(watch).await.expect("the watch has ended") {
            Hint::Changed(changed) if changed == path => return,
            Hint::Lost => return,
            Hint::Changed(_) => {}
        }
    }
}
