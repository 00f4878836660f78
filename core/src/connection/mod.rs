//! One connection to one member: a [`Lane`].
//!
//! Callers' threads encode their requests straight into the frame that is being filled ([`state`]); the stream that
//! sends frames drains it ([`outgoing`]); the lane's task connects, reads replies, connects again and ends calls whose
//! deadline has passed ([`task`]). What happens to a call that got no final answer is for the [`Receiver`] to decide.

mod outgoing;
mod slab;
mod state;
mod task;

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use slotkv_proto::{
    Code, handshake, limits,
    seam::Chance,
    table::{Member, ShardId},
    v1,
};
use tokio::time::Instant;

use crate::{
    call::{Call, Holder},
    routing::QUIET_MS,
    session::{Heard, Seen},
    stats::Counters,
    transport::Transport,
};
use state::State;

/// How exactly deadlines are kept, in milliseconds: calls whose deadlines lie closer together end together.
pub(crate) const SWEEP_MS: u64 = 5;
/// A connection on which a deadline passed and nothing came for so long, although replies are owed, is made anew.
pub(crate) const SILENCE_MS_MAX: u64 = 4_000;
/// First pause before connecting again, in milliseconds; doubled each time, with jitter.
pub(crate) const RECONNECT_MS_FIRST: u64 = 20;
/// Longest pause before connecting again, in milliseconds.
pub(crate) const RECONNECT_MS_MAX: u64 = 1_000;
/// The same when calls were sent in vain, which pause by themselves: the longer a lane pauses, the more of them meet in the
/// first frame, and the more the next break costs.
pub(crate) const REOPEN_MS_MAX: u64 = 40;
/// A session that brought no reply counts as one that could not be made, unless it lasted so long, in milliseconds.
pub(crate) const SESSION_SOUND_MS: u64 = 1_000;
/// What a call is told whose request does not fit into the member's frames.
pub(crate) const TOO_LARGE: &str = "the request is larger than the frames that the member takes";
/// A frame is closed when it holds this many bytes.
pub(crate) const FRAME_BYTES_SOFT: usize = 1 << 20;

/// What all lanes of a client have in common.
pub(crate) struct Context {
    pub transport: Arc<dyn Transport>,
    pub chance: Arc<dyn Chance>,
    pub connect_timeout: Duration,
    pub cluster_id: String,
    pub client_id: Bytes,
    pub client_name: String,
    pub namespace: String,
    /// Where the client stands.
    pub zone: Option<String>,
    pub receiver: Weak<dyn Receiver>,
    pub counters: Arc<Counters>,
}

impl Context {
    pub(crate) fn hello(&self) -> v1::Hello {
        v1::Hello {
            cluster_id: self.cluster_id.clone(),
            namespace: self.namespace.clone(),
            ..hello(self.client_id.clone(), self.client_name.clone())
        }
    }
}

/// The hello of a client that knows no cluster yet.
pub(crate) fn hello(client_id: Bytes, client_name: String) -> v1::Hello {
    v1::Hello {
        version_min: handshake::VERSION_MIN,
        version_max: handshake::VERSION_MAX,
        features: 0,
        cluster_id: String::new(),
        client_id,
        namespace: String::new(),
        credentials: Bytes::new(),
        client_name,
        limits: Some(v1::Limits {
            key_bytes_max: limits::KEY_BYTES_MAX as u32,
            value_bytes_max: limits::VALUE_BYTES_MAX as u32,
            frame_bytes_max: limits::FRAME_BYTES_MAX as u32,
            inflight_count_max: limits::INFLIGHT_COUNT_MAX as u32,
            inflight_bytes_max: limits::INFLIGHT_BYTES_MAX as u64,
        }),
    }
}

/// Why calls came back without a reply.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub code: Code,
    pub message: String,
    /// Whether the requests may have reached the member.
    pub sent: bool,
}

impl Failure {
    fn unsent(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), sent: false }
    }
}

/// Why a lane does not take a call.
pub(crate) enum Unfit {
    /// It takes no more calls.
    Closed(Arc<Call>),
    /// The member's frames cannot hold the request.
    TooLarge(Arc<Call>),
}

/// Who decides what becomes of calls. Called without any lock held.
pub(crate) trait Receiver: Send + Sync {
    /// A frame came: replies to calls, whose room is free already, what the member knows of the table, and the place in the
    /// shard's history at which it was made.
    fn frame(
        &self,
        lane: &Arc<Lane>,
        seen: Seen,
        table: Option<v1::TableDelta>,
        replies: &mut Vec<(Arc<Call>, v1::Reply)>,
    );

    /// Calls come back without a reply.
    fn failed(&self, lane: &Arc<Lane>, calls: Vec<Arc<Call>>, failure: &Failure);

    /// The first connection stands.
    fn opened(&self, lane: &Arc<Lane>);

    /// The connection broke or could not be made.
    fn broken(&self, lane: &Arc<Lane>);
}

const STOP: u8 = 1;
const REARM: u8 = 2;

/// See the module.
pub(crate) struct Lane {
    /// Number of this lane in its client.
    pub number: u64,
    pub shard: ShardId,
    pub member: Member,
    /// The newest that any lane of the shard has heard of.
    heard: Arc<Heard>,
    /// The member's zone, as its welcome said.
    zone: OnceLock<String>,
    /// What frames say of the sender's table.
    table_version: AtomicU64,
    epoch: AtomicU64,
    context: Arc<Context>,
    task: AtomicWaker,
    signals: AtomicU8,
    state: Mutex<State>,
}

/// How good a choice a lane is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// Connected, or about to be.
    pub usable: bool,
    /// In the client's zone.
    pub near: bool,
    /// Microseconds that a reply will take, about.
    pub cost: u64,
}

/// How a lane is doing.
#[derive(Debug)]
pub(crate) struct Health {
    pub connected: bool,
    pub in_flight: usize,
    pub waiting: usize,
    pub last_error: String,
}

impl Lane {
    /// A lane to `member`; nothing happens until [`Lane::run`] is.
    pub fn new(
        number: u64,
        shard: ShardId,
        member: Member,
        heard: Arc<Heard>,
        context: Arc<Context>,
    ) -> Arc<Self> {
        Arc::new(Self {
            number,
            shard,
            member,
            heard,
            zone: OnceLock::new(),
            table_version: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            context,
            task: AtomicWaker::new(),
            signals: AtomicU8::new(0),
            state: Mutex::new(State::default()),
        })
    }

    /// Says which table requests are routed by from now on.
    pub fn stamp(&self, table_version: u64, epoch: u64) {
        self.table_version.fetch_max(table_version, Ordering::Relaxed);
        self.epoch.fetch_max(epoch, Ordering::Relaxed);
    }

    /// Log index up to which the shard had applied when it was last heard of.
    pub fn applied_index(&self) -> u64 {
        self.heard.index()
    }

    /// The newest that the shard was heard of.
    pub fn heard(&self) -> Seen {
        self.heard.seen()
    }

    /// Takes a call; it is sent at once, or when the connection stands and has room.
    pub fn submit(self: &Arc<Self>, call: Arc<Call>, now: Instant) -> Result<(), Unfit> {
        let mut state = self.lock();
        if state.closed() {
            return Err(Unfit::Closed(call));
        }
        let early = call.deadline + Duration::from_millis(SWEEP_MS);
        let rearm = state.sweep_at.is_none_or(|at| early < at);
        if rearm {
            state.sweep_at = Some(call.deadline);
        }
        let rejected = state.take(self, call, now);
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        if rearm {
            self.signal(REARM);
        }
        rejected.map_or(Ok(()), |call| Err(Unfit::TooLarge(call)))
    }

    /// Ends, since the member does not lead its shard any more. Gives back the calls that were not sent; the others fail.
    pub fn retire(self: &Arc<Self>) -> Vec<Arc<Call>> {
        let mut state = self.lock();
        state.die();
        let (sent, mut unsent) = state.end_session();
        unsent.extend(mem::take(&mut state.parked).into_values());
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        self.signal(STOP);
        let message =
            format!("{} does not lead its shard any more and has not answered", self.member.address);
        self.fail(sent, &Failure { code: Code::SteppedDown, message, sent: true });
        unsent
    }

    /// Takes back reads that another replica may answer.
    pub fn recall_reads(self: &Arc<Self>) {
        let recalled = {
            let mut state = self.lock();
            let recalled = state.recall_reads();
            if !state.cancels.is_empty()
                && let Some(writer) = state.writer.take()
            {
                writer.wake();
            }
            recalled
        };
        self.fail(
            recalled,
            &Failure::unsent(Code::Unavailable, format!("{} says nothing", self.member.address)),
        );
    }

    /// Whether the member owes replies and has said nothing for [`QUIET_MS`].
    pub fn is_quiet(&self, now: Instant) -> bool {
        self.lock().quiet_since.is_some_and(|since| now - since >= Duration::from_millis(QUIET_MS))
    }

    /// Whether the last attempt to connect failed, or the connection broke, and there is none yet.
    pub fn is_failing(&self) -> bool {
        let state = self.lock();
        !state.is_open() && !state.last_error.is_empty()
    }

    /// What there is to choose by among replicas.
    pub fn standing(&self) -> Standing {
        let near = self.context.zone.is_some() && self.zone.get() == self.context.zone.as_ref();
        let state = self.lock();
        let usable = state.is_open() || (!state.closed() && state.last_error.is_empty());
        Standing { usable, near, cost: state.cost(Instant::now()) }
    }

    /// Ends at once, with every call that it has.
    pub fn stop(self: &Arc<Self>) {
        let mut state = self.lock();
        state.die();
        let (sent, mut unsent) = state.end_session();
        unsent.extend(mem::take(&mut state.parked).into_values());
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        self.signal(STOP);
        let failure = |sent| Failure { code: Code::Closed, message: "the client was closed".into(), sent };
        self.fail(sent, &failure(true));
        self.fail(unsent, &failure(false));
    }

    pub fn health(&self) -> Health {
        let state = self.lock();
        Health {
            connected: state.is_open(),
            in_flight: state.slab.open(),
            waiting: state.parked.len(),
            last_error: state.last_error.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, signal: u8) {
        self.signals.fetch_or(signal, Ordering::AcqRel);
        self.task.wake();
    }

    fn fail(self: &Arc<Self>, calls: Vec<Arc<Call>>, failure: &Failure) {
        if calls.is_empty() {
            return;
        }
        if let Some(receiver) = self.context.receiver.upgrade() {
            receiver.failed(self, calls, failure);
        }
    }
}

impl Holder for Lane {
    fn release(&self, ticket: u64) {
        let mut state = self.lock();
        let call = state.release(ticket);
        let writer = if state.cancels.is_empty() { None } else { state.writer.take() };
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        drop(call);
    }
}
