//! The client: one object per cluster, cheap to clone, safe to share between threads and tasks.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use slotkv_proto::{Code, SlotCount, SlotTable, limits, slot, v1};
use tokio::{
    runtime,
    time::{Instant, timeout},
};

use crate::{
    Answer, CallOptions, Command, Error, Explain, Options, ReadLevel, Result, Session, Stats,
    call::{Call, Callback, is_read},
    composite::{CompositeTask, Composites},
    connection::{self, Context, Receiver},
    options::DEADLINE_MS_MAX,
    policy::{Dispatch, Waiting},
    routing::{self, Observer, Routing, Setup, Snapshot},
    session,
    stats::Counters,
    uri::{Target, check_namespace},
    wire::{self, Parsed},
};

/// Longest traceparent of a call, in bytes; a W3C one has 55.
pub const TRACEPARENT_BYTES_MAX: usize = 256;

/// A client of a cluster, for any number of threads and tasks. Clones share everything but what [`Client::namespace`],
/// [`Client::with_deadline`], [`Client::with_traceparent`], [`Client::with_read_level`] and [`Client::with_session_token`] change.
///
/// Each call ends within its deadline, with an answer or with an error that says whether the operation was applied.
/// Dropping the future of a call cancels it, at the worker too. When the last clone is dropped, open calls end with
/// `CLOSED` and the client's tasks end.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    /// `None` for the namespace of the URI.
    namespace: Option<Arc<str>>,
    deadline: Duration,
    traceparent: Option<Arc<str>>,
    level: ReadLevel,
    /// `None` for all that the client has heard of.
    session: Option<Session>,
}

/// What holds for one call.
struct Told<'a> {
    /// `None` for the namespace of the URI.
    namespace: Option<&'a str>,
    namespace_bytes: usize,
    deadline: Duration,
    traceparent: Option<&'a str>,
    level: ReadLevel,
    session: Option<&'a Session>,
}

impl Told<'_> {
    fn traceparent(&self) -> String {
        self.traceparent.unwrap_or_default().to_owned()
    }
}

/// What all clones share; ends the client when the last one goes.
struct Shared {
    dispatch: Arc<Dispatch>,
    runtime: runtime::Handle,
    cluster_id: String,
    slots: SlotCount,
    namespace: String,
    composites: Arc<Composites>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.dispatch.shut_down();
    }
}

impl Client {
    /// Connects to a cluster: `slotkv://host:port[,host:port...][/namespace][?option=value]`. Must be called
    /// within a tokio runtime, on which the client's tasks run from then on.
    ///
    /// Errors: `INVALID_ARGUMENT` and `UNSUPPORTED` for the URI, `NO_MASTER` if none of the hosts tells the slot table
    /// within the connect timeout.
    pub async fn connect(uri: &str) -> Result<Client> {
        Self::connect_with(uri, Options::default()).await
    }

    /// Connects with options; what the URI says of the same thing wins.
    pub async fn connect_with(uri: &str, options: Options) -> Result<Client> {
        let target = Target::parse(uri)?;
        let options = target.over(options);
        options.check()?;
        let runtime = runtime::Handle::try_current()
            .map_err(|error| Error::invalid(format!("connect runs within a tokio runtime: {error}")))?;
        let mut id = BytesMut::with_capacity(limits::CLIENT_ID_BYTES);
        id.put_u64(options.chance.next_u64());
        id.put_u64(options.chance.next_u64());
        let id = id.freeze();
        let hello = v1::Hello {
            namespace: target.namespace.clone(),
            ..connection::hello(id.clone(), options.client_name.clone())
        };
        let table = routing::connect(&target.hosts, &options, hello).await?;
        let (cluster_id, slots) = (table.cluster_id().to_owned(), table.slots());

        let dispatch = Arc::new_cyclic(|dispatch: &Weak<Dispatch>| {
            let counters = Arc::new(Counters::default());
            let context = Arc::new(Context {
                transport: options.transport.clone(),
                chance: options.chance.clone(),
                connect_timeout: options.connect_timeout,
                cluster_id: cluster_id.clone(),
                client_id: id,
                client_name: options.client_name.clone(),
                namespace: target.namespace.clone(),
                zone: options.zone.clone(),
                receiver: dispatch.clone() as Weak<dyn Receiver>,
                counters: counters.clone(),
            });
            let setup = Setup {
                context,
                clock: options.clock.clone(),
                runtime: runtime.clone(),
                observer: dispatch.clone() as Weak<dyn Observer>,
                hosts: target.hosts.clone(),
                ping: options.ping,
                streams_per_member: options.streams_per_member,
            };
            let routing = Routing::new(setup, table);
            Dispatch::new(routing, counters, options.chance.clone(), options.inflight_max)
        });
        dispatch.launch();
        let shared = Shared {
            dispatch,
            runtime,
            cluster_id,
            slots,
            namespace: target.namespace,
            composites: Arc::default(),
        };
        Ok(Client {
            shared: Arc::new(shared),
            namespace: None,
            deadline: options.deadline,
            traceparent: None,
            level: ReadLevel::Linearizable,
            session: None,
        })
    }

    /// The same connections, for the keys of another namespace; an empty name is the one without a name.
    pub fn namespace(&self, name: &str) -> Result<Client> {
        check_namespace(name)?;
        let namespace = (name != self.shared.namespace).then(|| name.into());
        Ok(Client { namespace, ..self.clone() })
    }

    /// The same connections, with another deadline for calls that name none; at most [`DEADLINE_MS_MAX`].
    pub fn with_deadline(&self, deadline: Duration) -> Client {
        Client { deadline: capped(deadline), ..self.clone() }
    }

    /// The same connections, for calls that are part of a trace: a W3C traceparent travels with each of them.
    ///
    /// Errors: `TOO_LARGE` past [`TRACEPARENT_BYTES_MAX`].
    pub fn with_traceparent(&self, traceparent: &str) -> Result<Client> {
        check_traceparent(Some(traceparent))?;
        Ok(Client { traceparent: Some(traceparent.into()), ..self.clone() })
    }

    /// The same connections, with another freshness of reads that name none: get, has, get of many, count, scan. A session
    /// is all that this client object has written and read, unless [`Client::with_session_token`] began one of its own.
    pub fn with_read_level(&self, level: ReadLevel) -> Client {
        Client { level, ..self.clone() }
    }

    /// What the session has seen, as opaque bytes for another process or language: whoever goes on with them reads nothing
    /// older. Without a session of its own, it is what all calls of this client object have seen.
    pub fn session_token(&self) -> Bytes {
        match &self.session {
            Some(session) => session.token(),
            None => {
                let snapshot = self.snapshot();
                session::encode(snapshot.shards.iter().map(|shard| (shard.id, shard.heard.seen())))
            }
        }
    }

    /// The same connections, for a session that goes on where the token stands: reads of this view and its clones are of
    /// [`ReadLevel::Session`] and never older than the token or than what the view itself has written and read; what other views
    /// do does not count. No bytes begin a session that has seen nothing.
    ///
    /// Errors: `UNSUPPORTED` for a token of a newer format, `INVALID_ARGUMENT` for what is none.
    pub fn with_session_token(&self, token: &[u8]) -> Result<Client> {
        let session = Some(Session::from_token(token)?);
        Ok(Client { session, level: ReadLevel::Session, ..self.clone() })
    }

    /// Carries out an operation.
    pub async fn call(&self, command: Command, options: &CallOptions) -> Result<Answer> {
        let told = self.told(options)?;
        match wire::parse(command, told.namespace_bytes)? {
            Parsed::Single(request) => {
                let operation = request.operation();
                let call = self.begin(request, &told, None);
                wire::answer_of(operation, Waiting::new(self.shared.dispatch.clone(), call).await)
            }
            Parsed::Composite(command) => self.view(&told).composite(command, &told.traceparent()).await,
        }
    }

    /// Begins an operation; `callback` is called exactly once, on one of the client's threads or on this one, perhaps
    /// before this function returns. It must be short and must not block.
    ///
    /// Past the bounds of what may be open and may wait, `callback` gets `OVERLOADED`.
    pub fn submit(
        &self,
        command: Command,
        options: CallOptions,
        callback: impl FnOnce(Result<Answer>) + Send + 'static,
    ) -> CancelHandle {
        let parsed =
            self.told(&options).and_then(|told| Ok((wire::parse(command, told.namespace_bytes)?, told)));
        match parsed {
            Err(error) => {
                callback(Err(error));
                CancelHandle(Cancel::Nothing)
            }
            Ok((Parsed::Single(request), told)) => {
                let operation = request.operation();
                let callback: Callback = Box::new(move |reply| callback(wire::answer_of(operation, reply)));
                let call = self.begin(request, &told, Some(callback));
                CancelHandle(Cancel::Call(self.shared.dispatch.clone(), call))
            }
            Ok((Parsed::Composite(command), told)) => {
                let (count, bytes) = command.load(self.snapshot().shards.len());
                let counted = match self.shared.composites.admit(count, bytes) {
                    Ok(counted) => counted,
                    Err(error) => {
                        callback(Err(error));
                        return CancelHandle(Cancel::Nothing);
                    }
                };
                let client = self.view(&told);
                let traceparent = told.traceparent();
                let task = CompositeTask::spawn(
                    &self.shared.runtime,
                    command.may_write(),
                    counted,
                    Box::new(callback),
                    async move { client.composite(command, &traceparent).await },
                );
                CancelHandle(Cancel::Task(task))
            }
        }
    }

    /// The slot of a key.
    pub fn slot(&self, key: &[u8]) -> u16 {
        slot::slot(key, self.shared.slots)
    }

    /// Where calls for a key go, and why.
    pub fn explain(&self, key: &[u8]) -> Explain {
        Explain::of(&self.snapshot(), key)
    }

    /// What this client has done so far, and its state now: counts since it was made, over all its clones.
    pub fn stats(&self) -> Stats {
        self.shared.dispatch.stats()
    }

    /// The slot table as the client knows it.
    pub fn slot_table(&self) -> SlotTable {
        self.snapshot().table.clone()
    }

    /// Which cluster.
    pub fn cluster_id(&self) -> &str {
        &self.shared.cluster_id
    }

    /// The namespace of this client's calls; empty for the one without a name.
    pub fn namespace_name(&self) -> &str {
        self.namespace.as_deref().unwrap_or(&self.shared.namespace)
    }

    /// What a master says of the whole cluster.
    pub async fn status(&self) -> Result<v1::StatusReply> {
        self.status_with(&CallOptions::default()).await
    }

    /// The same within the deadline of these options; the others have no meaning for it.
    pub async fn status_with(&self, options: &CallOptions) -> Result<v1::StatusReply> {
        let deadline = self.told(options)?.deadline;
        let status = self.shared.dispatch.routing.status();
        timeout(deadline, status).await.unwrap_or_else(|_| {
            let message = format!("no master told the status within {} ms", deadline.as_millis());
            Err(Error::new(Code::Timeout, message))
        })
    }

    /// Ends the client: lets no more calls in, waits up to 2 s for open ones, ends the rest with `CLOSED`, and joins the
    /// client's tasks.
    pub async fn close(&self) {
        self.shared.dispatch.close().await;
    }

    /// Sends a request; the future of its reply. It is sent now, not when the future is polled first.
    pub(crate) fn send(&self, request: v1::Request, deadline: Duration, traceparent: &str) -> Waiting {
        let told = self.told_within(deadline, traceparent);
        Waiting::new(self.shared.dispatch.clone(), self.begin(request, &told, None))
    }

    /// The same for one of many requests, of whose key the slot is known; all have `now` and `end` in common.
    pub(crate) fn send_one(
        &self,
        request: v1::Request,
        slot: u16,
        now: Instant,
        end: Instant,
        traceparent: &str,
    ) -> Waiting {
        let told = self.told_within(end.saturating_duration_since(now), traceparent);
        let call = self.begin_at(request, (slot, slot), &told, now, None);
        Waiting::new(self.shared.dispatch.clone(), call)
    }

    fn told_within<'a>(&'a self, deadline: Duration, traceparent: &'a str) -> Told<'a> {
        Told {
            namespace: self.namespace.as_deref(),
            namespace_bytes: self.namespace_name().len(),
            deadline,
            traceparent: Some(traceparent),
            level: self.level,
            session: self.session.as_ref(),
        }
    }

    fn begin(&self, request: v1::Request, told: &Told<'_>, callback: Option<Callback>) -> Arc<Call> {
        let slots = match &request.range {
            None => {
                let slot = self.slot(&request.key);
                (slot, slot)
            }
            // Who plans ranges keeps to the slots that there are.
            Some(range) => (range.slot_first as u16, range.slot_last as u16),
        };
        let now = Instant::now();
        self.begin_at(request, slots, told, now, callback)
    }

    fn begin_at(
        &self,
        mut request: v1::Request,
        slots: (u16, u16),
        told: &Told<'_>,
        now: Instant,
        callback: Option<Callback>,
    ) -> Arc<Call> {
        if request.operation() != v1::Operation::Outcome {
            request.namespace = told.namespace.map(str::to_owned);
        }
        request.traceparent = told.traceparent();
        let operation = request.operation();
        let span = tracing::debug_span!("slotkv", operation = operation.as_str_name(), slot = slots.0);
        let mut call = Call::new(request, slots, now + told.deadline, span, callback);
        if is_read(operation) {
            call.level = told.level;
        }
        call.session = told.session.cloned();
        self.shared.dispatch.begin(call, now)
    }

    /// What holds for a call with these options.
    fn told<'a>(&'a self, options: &'a CallOptions) -> Result<Told<'a>> {
        let mut told = Told {
            namespace: self.namespace.as_deref(),
            namespace_bytes: self.namespace_name().len(),
            deadline: options.deadline.map_or(self.deadline, capped),
            traceparent: options.traceparent.as_deref().or(self.traceparent.as_deref()),
            level: options.read_level.unwrap_or(self.level),
            session: options.session.as_ref().or(self.session.as_ref()),
        };
        if let Some(name) = options.namespace.as_deref() {
            check_namespace(name)?;
            told.namespace = (name != self.shared.namespace).then_some(name);
            told.namespace_bytes = name.len();
        }
        check_traceparent(options.traceparent.as_deref())?;
        Ok(told)
    }

    fn view(&self, told: &Told<'_>) -> Client {
        let namespace = told.namespace.map(Arc::from);
        let session = told.session.cloned();
        Client { namespace, deadline: told.deadline, level: told.level, session, ..self.clone() }
    }

    /// What travels with calls that name none; empty for nothing.
    pub(crate) fn traceparent(&self) -> &str {
        self.traceparent.as_deref().unwrap_or_default()
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.dispatch.routing.snapshot()
    }

    /// Share of the client's room that calls for a slot count to.
    pub(crate) fn gate(&self, slot: u16) -> usize {
        self.shared.dispatch.routing.load().gate(slot) as usize
    }

    pub(crate) fn slots(&self) -> SlotCount {
        self.shared.slots
    }

    /// Time of a call that names none.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("cluster_id", &self.shared.cluster_id)
            .field("namespace", &self.namespace_name())
            .field("deadline", &self.deadline)
            .field("read_level", &self.level)
            .finish_non_exhaustive()
    }
}

fn check_traceparent(traceparent: Option<&str>) -> Result<()> {
    if traceparent.is_some_and(|traceparent| traceparent.len() > TRACEPARENT_BYTES_MAX) {
        let message = format!("the traceparent has more than {TRACEPARENT_BYTES_MAX} bytes");
        return Err(Error::new(Code::TooLarge, message));
    }
    Ok(())
}

/// A deadline that can be added to an instant.
fn capped(deadline: Duration) -> Duration {
    deadline.min(Duration::from_millis(DEADLINE_MS_MAX.into()))
}

/// Cancels a call that was submitted. Dropping it does nothing.
#[must_use = "without it the call cannot be cancelled; drop it if that is meant"]
pub struct CancelHandle(Cancel);

enum Cancel {
    Nothing,
    Call(Arc<Dispatch>, Arc<Call>),
    Task(CompositeTask),
}

impl CancelHandle {
    /// Ends the call: its callback gets `CANCELLED`, on this thread, unless it was called already; and the worker is told.
    pub fn cancel(&self) {
        match &self.0 {
            Cancel::Nothing => {}
            Cancel::Call(dispatch, call) => dispatch.cancel(call),
            Cancel::Task(task) => task.cancel(),
        }
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelHandle").finish_non_exhaustive()
    }
}
