//! One client's stream: frames of requests in, frames of replies out.
//!
//! The session is itself the stream of reply frames. Polled, it answers reads at once, hands writes to the committer and
//! pages to a thread, and collects what those finish from the [`Outbox`]. It takes no further request while it holds a
//! frame's worth of replies, so a client that does not read its replies is not read from either.

use std::{
    cell::Cell,
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use slotkv_proto::{
    Code,
    code::code_of,
    handshake,
    limits::{self, CLIENT_NAME_BYTES_MAX, HANDSHAKE_MS_MAX, NAMESPACE_BYTES_MAX, REPLY_BYTES_SOFT},
    v1::{self, ClientFrame, Hello, ReadLevel, Reply, Request, ServerFrame, Welcome},
};
use tokio::time::{Instant, Sleep};
use tonic::Status;

use crate::{
    intake::Intake,
    outbox::{self, Outbox},
    queue::Write,
    request::{self, Refusal, Sender},
    retry::ClientId,
    shard::Shard,
};

/// How long requests of a client that knows a newer slot table wait for this worker to catch up.
pub const CATCH_UP_MS_MAX: u64 = 500;
/// How long requests wait while the lead is on its way to this replica or from it to another, rather than be refused and
/// come again: a hand-over takes tens of milliseconds.
pub const TURN_MS_MAX: u64 = 250;
/// Requests answered in one poll before other streams get their turn.
const REQUESTS_PER_POLL_MAX: usize = 8192;
/// Reads from the engine, which may be reads from the disk, before the stream gives way to the others of its thread.
const COLD_READS_PER_TURN_MAX: usize = 64;

/// One client's stream, as the stream of its reply frames.
pub struct Session<S> {
    shard: Arc<Shard>,
    input: Option<S>,
    hello: Option<Pin<Box<Sleep>>>,
    sender: Sender,
    todo: Todo,
    catching_up: Option<Pin<Box<dyn Future<Output = bool> + Send>>>,
    ready: Vec<Reply>,
    ready_bytes: usize,
    writes: Vec<Write>,
    /// The present turn has read enough from the engine.
    gives_way: bool,
    /// What broke the stream, if its sender is to be told.
    broken: Option<Status>,
    outbox: Arc<Outbox>,
    sent_version: u64,
    sent_epoch: u64,
}

/// Requests that have come in, with what their frame said.
#[derive(Default)]
struct Todo {
    requests: VecDeque<Request>,
    table_version: u64,
    epoch: u64,
    received: Option<Instant>,
}

impl<S> Session<S>
where
    S: Stream<Item = Result<ClientFrame, Status>> + Unpin,
{
    /// Serves the frames of `input`.
    pub fn new(shard: Arc<Shard>, input: S) -> Self {
        Self {
            shard,
            input: Some(input),
            hello: Some(Box::pin(tokio::time::sleep(Duration::from_millis(HANDSHAKE_MS_MAX)))),
            sender: Sender { client: [0; 16], namespace: Arc::from("") },
            todo: Todo::default(),
            catching_up: None,
            ready: Vec::new(),
            ready_bytes: 0,
            writes: Vec::new(),
            gives_way: false,
            broken: None,
            outbox: Arc::new(Outbox::default()),
            sent_version: 0,
            sent_epoch: 0,
        }
    }

    fn accept(&mut self, frame: ClientFrame) {
        for id in frame.cancels {
            self.outbox.cancel(id);
        }
        if frame.requests.is_empty() {
            return;
        }
        self.todo = Todo {
            requests: frame.requests.into(),
            table_version: frame.table_version,
            epoch: frame.epoch,
            received: Some(Instant::now()),
        };
        let ownership = self.shard.ownership();
        let (version, epoch) = (frame.table_version, frame.epoch);
        let is_behind = ownership.is_behind(version);
        let waits_for_turn = self.shard.is_turning(epoch) && self.todo.requests.iter().any(needs_primary);
        if is_behind || waits_for_turn {
            let shard = self.shard.clone();
            self.catching_up = Some(Box::pin(async move {
                let wait = Duration::from_millis(CATCH_UP_MS_MAX);
                if is_behind && tokio::time::timeout(wait, shard.catch_up(version)).await.is_err() {
                    return false;
                }
                if waits_for_turn {
                    let wait = Duration::from_millis(TURN_MS_MAX);
                    let _ = tokio::time::timeout(wait, shard.turned(epoch)).await;
                }
                true
            }));
        }
    }

    /// Answers what has come in, up to a frame's worth of replies.
    fn work(&mut self, budget: &mut usize) {
        if self.todo.requests.is_empty() {
            return;
        }
        let shard = self.shard.clone();
        let ownership = shard.ownership();
        let admitted = shard.check_serving().and_then(|()| ownership.check_epoch(self.todo.epoch));
        let (sender, outbox) = (self.sender.clone(), self.outbox.clone());
        let received = self.todo.received.unwrap_or_else(Instant::now);
        let intake = Intake {
            shard: &shard,
            ownership: &ownership,
            sender: &sender,
            outbox: &outbox,
            received,
            many_reads: Cell::new(0),
            cold_reads: Cell::new(0),
            has_waited: false,
        };
        let first = self.ready.len();
        let mut leased = false;
        let mut ahead = VecDeque::new();
        while self.ready_bytes < REPLY_BYTES_SOFT && *budget > 0 {
            if ahead.is_empty() && admitted.is_ok() {
                ahead = shard.look_ahead(&ownership, &self.todo.requests, &sender);
            }
            let Some(request) = self.todo.requests.pop_front() else { break };
            let row = ahead.pop_front().flatten();
            *budget -= 1;
            if intake.cold_reads.get() >= COLD_READS_PER_TURN_MAX {
                self.todo.requests.push_front(request);
                self.gives_way = true;
                *budget = 0;
                break;
            }
            let id = request.id;
            let level = request.read_level();
            let may = match level {
                ReadLevel::Linearizable => admitted.clone(),
                level => shard.check_level(level, &request).unwrap_or_else(|| admitted.clone()),
            };
            let done = may.and_then(|()| intake.start(request, row, &mut self.writes));
            leased |= level == ReadLevel::Linearizable && matches!(done, Ok(Some(_)));
            *budget = budget.saturating_sub(intake.many_reads.take());
            match done {
                Ok(None) => {}
                Ok(Some(reply)) => self.reply(reply),
                Err(refusal) => self.reply(request::refuse(id, refusal)),
            }
        }
        if !self.writes.is_empty() {
            shard.queue().push(&mut self.writes);
        }
        // The lease is looked at after the values were read (protocol.md rule 5).
        if leased && !shard.holds_lease(ownership.epoch()) {
            let unconfirmed = self.ready.split_off(first);
            self.ready_bytes -= unconfirmed.iter().map(outbox::size).sum::<usize>().min(self.ready_bytes);
            outbox.hold(unconfirmed.len());
            let unconfirmed = unconfirmed.into_iter().map(|reply| (reply, 0)).collect();
            shard.confirm(ownership.epoch(), &outbox, unconfirmed);
        }
    }

    fn reply(&mut self, reply: Reply) {
        self.ready_bytes += outbox::size(&reply);
        self.ready.push(reply);
    }

    /// The frame of everything that is ready, with the correction that its receiver lacks.
    fn frame(&mut self) -> ServerFrame {
        let ownership = self.shard.ownership();
        let known_version = self.todo.table_version.max(self.sent_version);
        let known_epoch = self.todo.epoch.max(self.sent_epoch);
        let refused = self
            .ready
            .iter()
            .any(|reply| reply.code == Code::Moved.number() || reply.code == Code::NotPrimary.number());
        // What was sent before may still be on its way when a refusal needs it, so that one repeats it.
        let table = match refused {
            true => ownership.correction(self.todo.table_version, self.todo.epoch),
            false => ownership.correction(known_version, known_epoch),
        };
        if table.is_some() {
            self.sent_version = ownership.table().version();
            self.sent_epoch = ownership.epoch();
        }
        self.ready_bytes = 0;
        let (epoch, applied_index) = self.shard.shown();
        ServerFrame {
            replies: std::mem::take(&mut self.ready),
            table,
            applied_index,
            epoch,
            ..ServerFrame::default()
        }
    }

    fn poll_hello(&mut self, cx: &mut Context<'_>) -> Poll<Option<ServerFrame>> {
        let Some(input) = &mut self.input else { return Poll::Ready(None) };
        match Pin::new(input).poll_next(cx) {
            Poll::Pending => match self.hello.as_mut().map(|timer| timer.as_mut().poll(cx)) {
                Some(Poll::Pending) => Poll::Pending,
                _ => {
                    self.input = None;
                    Poll::Ready(Some(refusal_frame((
                        Code::Timeout,
                        format!("no hello within {HANDSHAKE_MS_MAX} ms"),
                    ))))
                }
            },
            Poll::Ready(None) => {
                self.input = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.input = None;
                let code = code_of(&error);
                Poll::Ready(code.map(|code| refusal_frame((code, words(&error)))))
            }
            Poll::Ready(Some(Ok(mut frame))) => match welcome(&self.shard, frame.hello.take()) {
                Ok((sender, welcome)) => {
                    self.sender = sender;
                    self.hello = None;
                    self.accept(frame);
                    let (epoch, applied_index) = self.shard.shown();
                    Poll::Ready(Some(ServerFrame {
                        applied_index,
                        epoch,
                        welcome: Some(welcome),
                        ..ServerFrame::default()
                    }))
                }
                Err(refusal) => {
                    self.input = None;
                    Poll::Ready(Some(refusal_frame(refusal)))
                }
            },
        }
    }
}

impl<S> Stream for Session<S>
where
    S: Stream<Item = Result<ClientFrame, Status>> + Unpin,
{
    type Item = Result<ServerFrame, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let session = &mut *self;
        if session.hello.is_some() {
            return session.poll_hello(cx).map(|frame| frame.map(Ok));
        }
        if std::mem::take(&mut session.gives_way) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut budget = REQUESTS_PER_POLL_MAX;
        session.outbox.register(cx.waker());
        loop {
            if let Some(waiting) = &mut session.catching_up {
                match waiting.as_mut().poll(cx) {
                    Poll::Ready(caught_up) => {
                        session.catching_up = None;
                        if !caught_up {
                            let version = session.todo.table_version;
                            for request in std::mem::take(&mut session.todo.requests) {
                                let text = format!(
                                    "this worker does not know version {version} of the slot table yet"
                                );
                                session.reply(Reply {
                                    retry_after_ms: CATCH_UP_MS_MAX as u32,
                                    ..request::refuse(request.id, (Code::Retry, text))
                                });
                            }
                        }
                        continue;
                    }
                    Poll::Pending => {}
                }
            } else {
                session.work(&mut budget);
            }
            let (outbox, ready) = (session.outbox.clone(), &mut session.ready);
            outbox.take(ready, &mut session.ready_bytes);
            if session.ready_bytes >= REPLY_BYTES_SOFT || budget == 0 {
                break;
            }
            if !session.todo.requests.is_empty() {
                // Only while catching up: the worker's watch wakes us.
                break;
            }
            let Some(input) = &mut session.input else { break };
            match Pin::new(input).poll_next(cx) {
                Poll::Ready(Some(Ok(frame))) => session.accept(frame),
                Poll::Ready(Some(Err(error))) => {
                    session.input = None;
                    session.outbox.close();
                    session.broken = code_of(&error).is_some().then_some(error);
                }
                // A sender that has said all it wants to say still gets its replies.
                Poll::Ready(None) => session.input = None,
                Poll::Pending => break,
            }
        }
        if let Some(error) = session.broken.take() {
            session.todo = Todo::default();
            session.ready.clear();
            return Poll::Ready(Some(Err(error)));
        }
        if !session.ready.is_empty() {
            return Poll::Ready(Some(Ok(session.frame())));
        }
        if budget == 0 {
            cx.waker().wake_by_ref();
        }
        let ended = session.input.is_none() && session.todo.requests.is_empty() && session.outbox.is_idle();
        if ended { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl<S> Drop for Session<S> {
    fn drop(&mut self) {
        self.outbox.close();
    }
}

/// Whether no other replica may answer it.
fn needs_primary(request: &Request) -> bool {
    request.read_level() == ReadLevel::Linearizable
}

/// Checks a hello and answers it.
pub fn welcome(shard: &Shard, hello: Option<Hello>) -> Result<(Sender, Welcome), Refusal> {
    let hello = hello
        .ok_or_else(|| (Code::InvalidArgument, "the first frame of a stream says no hello".to_string()))?;
    let version = handshake::agree(hello.version_min, hello.version_max).ok_or_else(|| {
        (
            Code::Unsupported,
            format!(
                "protocol versions {} to {} are not spoken here, only {} to {}",
                hello.version_min,
                hello.version_max,
                handshake::VERSION_MIN,
                handshake::VERSION_MAX
            ),
        )
    })?;
    let ownership = shard.ownership();
    let cluster_id = ownership.table().cluster_id();
    if !hello.cluster_id.is_empty() && hello.cluster_id != cluster_id {
        return Err((
            Code::WrongCluster,
            format!("this worker belongs to cluster {cluster_id}, not to {}", hello.cluster_id),
        ));
    }
    let client = ClientId::try_from(&hello.client_id[..]).map_err(|_| {
        (Code::InvalidArgument, format!("a client id of {} bytes; it has 16", hello.client_id.len()))
    })?;
    for (name, length, limit) in [
        ("namespace", hello.namespace.len(), NAMESPACE_BYTES_MAX),
        ("client name", hello.client_name.len(), CLIENT_NAME_BYTES_MAX),
    ] {
        if length > limit {
            return Err((Code::TooLarge, format!("a {name} of {length} bytes; the limit is {limit}")));
        }
    }
    shard.check_running()?;
    let welcome = Welcome {
        version,
        features: 0,
        cluster_id: cluster_id.to_string(),
        member: Some(v1::Member { zone: shard.zone().into(), ..shard.member().into() }),
        shard: shard.id(),
        epoch: ownership.epoch(),
        limits: Some(limits()),
    };
    Ok((Sender { client, namespace: Arc::from(hello.namespace.as_str()) }, welcome))
}

fn limits() -> slotkv_proto::v1::Limits {
    slotkv_proto::v1::Limits {
        key_bytes_max: limits::KEY_BYTES_MAX as u32,
        value_bytes_max: limits::VALUE_BYTES_MAX as u32,
        frame_bytes_max: limits::FRAME_BYTES_MAX as u32,
        inflight_count_max: limits::INFLIGHT_COUNT_MAX as u32,
        inflight_bytes_max: limits::INFLIGHT_BYTES_MAX as u64,
    }
}

/// What a status of ours says behind its code.
fn words(status: &Status) -> String {
    status.message().split_once(": ").map_or("", |(_, words)| words).into()
}

fn refusal_frame((code, message): Refusal) -> ServerFrame {
    ServerFrame {
        refusal: Some(slotkv_proto::v1::Refusal { code: code.number(), message }),
        ..ServerFrame::default()
    }
}
