//! A cluster of one member behind a fake transport: every slot is its own, nothing is replicated, nothing is durable.
//! Keys and prefixes that begin with `hold` are not answered until [`Fake::release`].

// Each test file takes what it needs.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use slotkv::transport::{Incoming, Outgoing, Transport, TransportError};
use slotkv::{Code, Options};
use slotkv_facade::settings::{Network, Settings};
use slotkv_proto::{keys::Keys, v1};
use tokio::sync::{Notify, mpsc};

const CLUSTER: &str = "fake";
const ADDRESS: &str = "fake:1";

type Answered<'a, T> = Pin<Box<dyn Future<Output = Result<T, TransportError>> + Send + 'a>>;

/// The cluster. Clones are the same one.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    data: BTreeMap<Bytes, (Bytes, u64)>,
    version: u64,
    held: Vec<(mpsc::UnboundedSender<Vec<v1::Reply>>, v1::Request)>,
    cancels: Vec<u64>,
    traceparents: Vec<String>,
    /// Nobody answers to pings or tells the state meanwhile.
    is_silent: bool,
    spoken: Arc<Notify>,
    unanswered: usize,
    clients: BTreeSet<Bytes>,
    drivers: BTreeSet<String>,
    watchers: Vec<std::sync::mpsc::Sender<()>>,
}

impl Fake {
    /// Options of a client of this cluster.
    pub fn options(&self) -> Options {
        Options { transport: Arc::new(self.clone()), ..Options::default() }
    }

    /// The same, as settings of a client.
    pub fn settings(&self) -> Settings {
        let fake = self.clone();
        let network: Network = Arc::new(move || Arc::new(fake.clone()));
        // Miri takes long for everything.
        let patience = cfg!(miri).then_some(Duration::from_secs(120));
        let (deadline, connect_timeout) = (patience, patience);
        Settings { network: Some(network), deadline, connect_timeout, ..Settings::new("test/1") }
    }

    /// Lets nobody in and tells nobody the cluster's state, until it is taken back.
    pub fn silence(&self, is_silent: bool) {
        let mut state = self.0.lock().unwrap();
        state.is_silent = is_silent;
        if !is_silent {
            state.spoken.notify_waiters();
        }
    }

    /// Begins anew, with nothing stored and nothing held.
    pub fn forget(&self) {
        *self.0.lock().unwrap() = State::default();
    }

    /// How many have asked in vain.
    pub fn unanswered(&self) -> usize {
        self.0.lock().unwrap().unanswered
    }

    /// The traceparents that requests came with.
    pub fn traceparents(&self) -> Vec<String> {
        self.0.lock().unwrap().traceparents.clone()
    }

    /// Never answers while the cluster is silent.
    async fn speak(&self) {
        let spoken = {
            let mut state = self.0.lock().unwrap();
            if !state.is_silent {
                return;
            }
            state.unanswered += 1;
            state.watchers.retain(|watcher| watcher.send(()).is_ok());
            // Whoever is in it now is woken, also before it waits.
            state.spoken.clone().notified_owned()
        };
        spoken.await;
    }

    /// Answers the requests that are held, those of one stream in one frame.
    pub fn release(&self) {
        let mut state = self.0.lock().unwrap();
        let mut frames: Vec<(mpsc::UnboundedSender<Vec<v1::Reply>>, Vec<v1::Reply>)> = Vec::new();
        for (stream, request) in std::mem::take(&mut state.held) {
            let reply = state.carry_out(&request);
            match frames.iter_mut().find(|(known, _)| known.same_channel(&stream)) {
                Some((_, replies)) => replies.push(reply),
                None => frames.push((stream, vec![reply])),
            }
        }
        for (stream, replies) in frames {
            stream.send(replies).ok();
        }
    }

    /// How many requests are held.
    pub fn held(&self) -> usize {
        self.0.lock().unwrap().held.len()
    }

    /// How many cancels have come.
    pub fn cancels(&self) -> usize {
        self.0.lock().unwrap().cancels.len()
    }

    /// How many client ids have said hello.
    pub fn clients(&self) -> usize {
        self.0.lock().unwrap().clients.len()
    }

    /// Names of the threads that have driven clients since this was last asked.
    pub fn drivers(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.0.lock().unwrap().drivers)
    }

    /// Blocks until `holds` is true of the cluster. It is looked at after every frame that comes in.
    pub fn wait_until(&self, holds: impl Fn(&Fake) -> bool) {
        let (tell, told) = std::sync::mpsc::channel();
        self.0.lock().unwrap().watchers.push(tell);
        while !holds(self) {
            told.recv().unwrap();
        }
    }

    fn take_in(&self, frame: v1::ClientFrame, replies: &mpsc::UnboundedSender<Vec<v1::Reply>>) {
        let mut state = self.0.lock().unwrap();
        state.drivers.extend(std::thread::current().name().map(String::from));
        if let Some(hello) = frame.hello {
            state.clients.insert(hello.client_id);
        }
        state.cancels.extend(&frame.cancels);
        let traceparents = frame.requests.iter().map(|request| request.traceparent.clone());
        state.traceparents.extend(traceparents.filter(|traceparent| !traceparent.is_empty()));
        let (held, now): (Vec<_>, Vec<_>) = frame.requests.into_iter().partition(|request| {
            let prefix = request.range.as_ref().map(|range| &range.prefix);
            prefix.unwrap_or(&request.key).starts_with(b"hold")
                || Keys::of(&request.keys).any(|key| key.unwrap().starts_with(b"hold"))
        });
        state.held.extend(held.into_iter().map(|request| (replies.clone(), request)));
        if !now.is_empty() {
            let answers = now.iter().map(|request| state.carry_out(request)).collect();
            replies.send(answers).ok();
        }
        state.watchers.retain(|watcher| watcher.send(()).is_ok());
    }
}

impl State {
    fn carry_out(&mut self, request: &v1::Request) -> v1::Reply {
        let known = self.data.get(&request.key).cloned();
        let mut reply = v1::Reply { id: request.id, ..Default::default() };
        let stored = known.as_ref().map(|(_, version)| *version);
        let holds = match request.condition() {
            v1::Condition::Always => true,
            v1::Condition::Absent => stored.is_none(),
            v1::Condition::Present => stored.is_some(),
            v1::Condition::Version => stored == Some(request.version),
        };
        if !holds {
            reply.set_status(v1::Status::Unmet);
            return v1::Reply { version: stored.unwrap_or(0), ..reply };
        }
        let (status, version) = match request.operation() {
            v1::Operation::Get | v1::Operation::Has => match known {
                Some((value, version)) => {
                    reply.value = own(&value);
                    (v1::Status::Found, version)
                }
                None => (v1::Status::NotFound, 0),
            },
            v1::Operation::GetMany => {
                let found = |key| match self.data.get(key) {
                    Some((value, version)) => v1::Found {
                        status: v1::Status::Found.into(),
                        value: own(value),
                        version: *version,
                        ttl_ms: 0,
                    },
                    None => v1::Found { status: v1::Status::NotFound.into(), ..Default::default() },
                };
                reply.found = Keys::of(&request.keys).map(|key| found(key.unwrap())).collect();
                (v1::Status::Found, 0)
            }
            v1::Operation::Put => {
                self.version += 1;
                self.data.insert(request.key.clone(), (request.value.clone(), self.version));
                (if known.is_some() { v1::Status::Updated } else { v1::Status::Created }, self.version)
            }
            v1::Operation::Expire => match known {
                Some((value, _)) => {
                    self.version += 1;
                    self.data.insert(request.key.clone(), (value, self.version));
                    (v1::Status::Updated, self.version)
                }
                None => (v1::Status::Unmet, 0),
            },
            v1::Operation::Increment => {
                let old = known.map_or(Some(0), |(value, _)| String::from_utf8_lossy(&value).parse().ok());
                let Some(old) = old else { return refused(request, Code::NotANumber) };
                let Some(sum) = i64::checked_add(old, request.delta) else {
                    return refused(request, Code::Overflow);
                };
                self.version += 1;
                reply.number = sum;
                let value = Bytes::from(reply.number.to_string());
                self.data.insert(request.key.clone(), (value, self.version));
                (v1::Status::Updated, self.version)
            }
            v1::Operation::Delete => {
                self.version += 1;
                match self.data.remove(&request.key) {
                    Some(_) => (v1::Status::Deleted, self.version),
                    None => (v1::Status::NotFound, 0),
                }
            }
            v1::Operation::Outcome => (v1::Status::NotApplied, 0),
            v1::Operation::Count => {
                let range = request.range.as_ref().unwrap();
                reply.number = self.data.keys().filter(|key| is_within(key, range)).count() as i64;
                (v1::Status::Counted, 0)
            }
            v1::Operation::Scan => {
                let range = request.range.as_ref().unwrap();
                let after = range.resumed.then(|| (range.after_slot, range.after_key.clone()));
                let mut places: Vec<(u32, Bytes)> = self
                    .data
                    .keys()
                    .filter(|key| is_within(key, range))
                    .map(|key| (slot_of(key), key.clone()))
                    .filter(|place| (range.slot_first..=range.slot_last).contains(&place.0))
                    .map(|(slot, key)| (if range.ordered { 0 } else { slot }, key))
                    .filter(|place| after.as_ref().is_none_or(|after| place > after))
                    .collect();
                places.sort();
                reply.more = places.len() > range.items_max as usize;
                places.truncate(range.items_max as usize);
                if let Some((slot, key)) = places.last() {
                    (reply.last_slot, reply.last_key) = (*slot, key.clone());
                }
                reply.items.extend(places.into_iter().map(|(_, key)| {
                    let (value, version) = self.data[&key].clone();
                    v1::Item { slot: slot_of(&key), key: own(&key), value: own(&value), version, ttl_ms: 0 }
                }));
                (v1::Status::Page, 0)
            }
            other => panic!("the fake does not know {other:?}"),
        };
        reply.set_status(status);
        reply.version = version;
        reply
    }
}

fn is_within(key: &[u8], range: &v1::Range) -> bool {
    key.starts_with(&range.prefix)
        && *key >= range.start[..]
        && (range.end.is_empty() || *key < range.end[..])
}

fn refused(request: &v1::Request, code: Code) -> v1::Reply {
    v1::Reply { id: request.id, code: code.number(), message: "refused".into(), ..Default::default() }
}

/// As it comes out of a message: kept by nobody but who got it, so that Miri sees a use of what is gone.
fn own(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn slot_of(key: &[u8]) -> u32 {
    slotkv_proto::slot::slot(key, slotkv_proto::SlotCount::new(1024).unwrap()).into()
}

fn table() -> v1::TableDelta {
    v1::TableDelta {
        cluster_id: CLUSTER.into(),
        slot_count: 1024,
        from_version: 0,
        version: 1,
        ranges: vec![v1::SlotRange { first: 0, last: 1023, shard: 1 }],
        routes: vec![v1::Route { shard: 1, epoch: 1, revision: 1, primary: Some(member()), backups: vec![] }],
    }
}

fn member() -> v1::Member {
    v1::Member { name: "fake".into(), run: "1".into(), address: ADDRESS.into(), ..Default::default() }
}

fn welcome() -> v1::ServerFrame {
    let welcome = v1::Welcome {
        version: 1,
        cluster_id: CLUSTER.into(),
        member: Some(member()),
        shard: 1,
        epoch: 1,
        limits: Some(v1::Limits {
            key_bytes_max: 32 << 10,
            value_bytes_max: 16 << 20,
            frame_bytes_max: 20 << 20,
            inflight_count_max: 4096,
            inflight_bytes_max: 32 << 20,
        }),
        ..Default::default()
    };
    v1::ServerFrame { welcome: Some(welcome), epoch: 1, ..Default::default() }
}

impl Transport for Fake {
    fn open<'a>(&'a self, _: &'a str, mut outgoing: Outgoing) -> Answered<'a, Incoming> {
        Box::pin(async move {
            let (replies, received) = mpsc::unbounded_channel();
            let fake = self.clone();
            tokio::spawn(async move {
                while let Some(frame) = std::future::poll_fn(|cx| outgoing.as_mut().poll_next(cx)).await {
                    fake.take_in(frame.decode().unwrap(), &replies);
                }
            });
            Ok(Box::pin(Replies { welcome: Some(welcome()), received }) as Incoming)
        })
    }

    fn ping<'a>(&'a self, _: &'a str, _: v1::PingRequest) -> Answered<'a, v1::PingReply> {
        let reply = v1::PingReply {
            version: 1,
            cluster_id: CLUSTER.into(),
            table_version: 1,
            route_revisions: 1,
            masters: vec![ADDRESS.into()],
            leader: true,
            master_epoch: 1,
        };
        Box::pin(async move {
            self.speak().await;
            Ok(reply)
        })
    }

    fn slot_table<'a>(&'a self, _: &'a str, _: v1::SlotTableRequest) -> Answered<'a, v1::TableDelta> {
        Box::pin(async {
            self.speak().await;
            Ok(table())
        })
    }

    fn status<'a>(&'a self, _: &'a str, _: v1::StatusRequest) -> Answered<'a, v1::StatusReply> {
        Box::pin(async {
            self.speak().await;
            Err(TransportError { code: Code::Unavailable, message: "the fake has none".into() })
        })
    }
}

/// What the member sends on a stream.
struct Replies {
    welcome: Option<v1::ServerFrame>,
    received: mpsc::UnboundedReceiver<Vec<v1::Reply>>,
}

impl futures_util::Stream for Replies {
    type Item = Result<v1::ServerFrame, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(welcome) = self.welcome.take() {
            return Poll::Ready(Some(Ok(welcome)));
        }
        self.received.poll_recv(cx).map(|replies| {
            let frame =
                |replies| v1::ServerFrame { replies, epoch: 1, applied_index: 1, ..Default::default() };
            replies.map(|replies| Ok(frame(replies)))
        })
    }
}

/// Whether a descriptor is readable, or becomes so in time.
#[cfg(unix)]
pub fn is_readable(fd: std::os::raw::c_int, patience: Duration) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, live for the call.
    unsafe { libc::poll(&mut poll, 1, patience.as_millis() as i32) == 1 }
}
