//! A call: one operation of one caller from its beginning to its answer, all attempts included.
//!
//! At any time a call is in one [`Place`]; whoever has it there may move it on. It ends exactly once, by
//! [`Call::claim`]: answers, deadlines, the caller's cancel and the client's end all race for that, the first wins, and
//! only the winner frees what the call holds. Lock order: a connection's state, then a call.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use slotkv_proto::{Code, keys::Keys, limits, table::ShardId, v1};
use tokio::time::Instant;

use crate::{Error, Outcome, ReadLevel, Result, Session};

/// Gets the reply of a call; must be short.
pub(crate) type Callback = Box<dyn FnOnce(Result<v1::Reply>) + Send>;

/// Something that has calls and can let one go.
pub(crate) trait Holder: Send + Sync {
    /// Frees what `ticket` stands for; nothing if it is no longer there.
    fn release(&self, ticket: u64);
}

/// Where a call is.
pub(crate) enum Place {
    /// In the hands of a function that is about to put it somewhere.
    Moving,
    /// Waits at the gate for room in the client.
    Gated(u64),
    /// Waits for a connection, or for room on it.
    Parked(Arc<dyn Holder>, u64),
    /// In a frame: sent, or about to be.
    Sent(Arc<dyn Holder>, u64),
    /// Waits for its next attempt until an instant.
    Delayed(Instant, u64),
    /// Waits for a correction of the slot table to be applied.
    Rerouting,
    /// Ended.
    Done,
}

/// The route that an attempt took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub shard: ShardId,
    pub epoch: u64,
    /// Identifies the connection.
    pub lane: u64,
}

/// What has happened to a call.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub attempts: u32,
    /// Pauses so far.
    pub pauses: u32,
    /// Redirects since the last pause.
    pub redirects: u32,
    pub taken: Option<Taken>,
    /// Whether that was the way of a read which any replica may answer.
    pub at_replica: bool,
    /// Attempts at replicas since the last pause.
    pub replicas_tried: u32,
    /// No replica answers; the primary is asked until the next pause.
    pub to_primary: bool,
    /// The error of the first attempt that may have been applied.
    pub unknown: Option<Error>,
    /// The error of the latest attempt.
    pub last: Option<Error>,
}

enum Waiter {
    Callback(Callback),
    Task(Option<Waker>),
    Ready(Result<v1::Reply>),
    Nobody,
}

/// See the module.
pub(crate) struct Call {
    pub operation: v1::Operation,
    /// First and last slot that it touches.
    pub slots: (u16, u16),
    pub deadline: Instant,
    /// What it counts for in the statistics: one, or a read of many keys as many.
    pub count: u64,
    /// Bytes of keys and value, for the bounds.
    pub bytes: usize,
    /// Which share of the client's room it counts to.
    pub gate: u32,
    /// Whether it may wait at the gate without a bound, since its caller waits with it.
    pub patient: bool,
    /// How fresh its answer has to be; linearizable unless it is a read.
    pub level: ReadLevel,
    /// The session that it is part of, if not the client's.
    pub session: Option<Session>,
    pub span: tracing::Span,
    inner: Mutex<Inner>,
}

/// The part of a call that changes.
pub(crate) struct Inner {
    pub request: v1::Request,
    pub place: Place,
    pub history: History,
    waiter: Waiter,
}

impl Call {
    /// A call whose reply `callback` gets, or a task that polls for it.
    pub fn new(
        request: v1::Request,
        slots: (u16, u16),
        deadline: Instant,
        span: tracing::Span,
        callback: Option<Callback>,
    ) -> Self {
        Self {
            operation: request.operation(),
            slots,
            deadline,
            count: Keys::of(&request.keys).count().max(1) as u64,
            bytes: request.key.len() + request.value.len() + request.keys.len(),
            gate: 0,
            patient: callback.is_none(),
            level: ReadLevel::Linearizable,
            session: None,
            span,
            inner: Mutex::new(Inner {
                request,
                place: Place::Moving,
                history: History::default(),
                waiter: callback.map_or(Waiter::Task(None), Waiter::Callback),
            }),
        }
    }

    /// Whether it changes anything.
    pub fn is_write(&self) -> bool {
        is_write(self.operation)
    }

    /// Whether it reads single keys.
    pub fn is_of_keys(&self) -> bool {
        matches!(self.operation, v1::Operation::Get | v1::Operation::Has | v1::Operation::GetMany)
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the call somewhere; false if it has ended.
    pub fn put(&self, place: Place) -> bool {
        let mut inner = self.lock();
        let open = !matches!(inner.place, Place::Done);
        if open {
            inner.place = place;
        }
        open
    }

    /// Ends the call. `None` if it has ended before; else where it was, and the delivery of `result`, to be made when
    /// what the call held is free.
    pub fn claim(&self, result: impl FnOnce(&Inner) -> Result<v1::Reply>) -> Option<(Place, Delivery)> {
        self.lock().claim(result)
    }

    /// Appends the request to a frame and puts the call to `holder`; false, with nothing appended, if it has ended.
    pub fn encode(&self, holder: Arc<dyn Holder>, ticket: u64, now: Instant, frame: &mut BytesMut) -> bool {
        let mut inner = self.lock();
        if matches!(inner.place, Place::Done) {
            return false;
        }
        inner.place = Place::Sent(holder, ticket);
        let left_ms = self.deadline.saturating_duration_since(now).as_millis() + 1;
        inner.request.id = ticket;
        inner.request.deadline_ms = left_ms.min(u128::from(limits::DEADLINE_MS_MAX)) as u32;
        append_request(&inner.request, frame);
        true
    }

    /// The reply, for the task that the call was made for.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<v1::Reply>> {
        let mut inner = self.lock();
        match &mut inner.waiter {
            Waiter::Task(Some(waker)) if waker.will_wake(cx.waker()) => Poll::Pending,
            Waiter::Task(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Waiter::Ready(_) => match mem::replace(&mut inner.waiter, Waiter::Nobody) {
                Waiter::Ready(result) => Poll::Ready(result),
                _ => Poll::Pending,
            },
            Waiter::Callback(_) | Waiter::Nobody => Poll::Pending,
        }
    }
}

/// A call that is lost, as when its client ends while a member has it, still tells its caller.
impl Drop for Call {
    fn drop(&mut self) {
        let write = is_write(self.operation);
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !matches!(inner.waiter, Waiter::Callback(_)) {
            return;
        }
        let sent = inner.history.unknown.is_some() || matches!(inner.place, Place::Sent(..));
        let outcome = if write && sent { Outcome::Unknown } else { Outcome::Failed };
        let error = Error::new(Code::Closed, "the client was closed").with_outcome(outcome);
        if let Some((_, delivery)) = inner.claim(|_| Err(error)) {
            delivery.make();
        }
    }
}

impl Inner {
    /// See [`Call::claim`].
    pub fn claim(&mut self, result: impl FnOnce(&Inner) -> Result<v1::Reply>) -> Option<(Place, Delivery)> {
        if matches!(self.place, Place::Done) {
            return None;
        }
        let result = result(self);
        let place = mem::replace(&mut self.place, Place::Done);
        // Handles may keep the call for long; what it carried goes now.
        self.request.key = Bytes::new();
        self.request.value = Bytes::new();
        self.request.keys = Bytes::new();
        let delivery = match mem::replace(&mut self.waiter, Waiter::Nobody) {
            Waiter::Callback(callback) => Delivery::Callback(callback, result),
            Waiter::Task(waker) => {
                self.waiter = Waiter::Ready(result);
                waker.map_or(Delivery::None, Delivery::Wake)
            }
            Waiter::Ready(_) | Waiter::Nobody => Delivery::None,
        };
        Some((place, delivery))
    }
}

/// The last step of a call, made without any lock held.
#[must_use]
pub(crate) enum Delivery {
    Callback(Callback, Result<v1::Reply>),
    Wake(Waker),
    None,
}

impl Delivery {
    /// Hands the result over. A callback that panics harms nobody else.
    pub fn make(self) {
        match self {
            Delivery::Callback(callback, result) => {
                if catch_unwind(AssertUnwindSafe(|| callback(result))).is_err() {
                    tracing::error!("the callback of a call panicked");
                }
            }
            Delivery::Wake(waker) => waker.wake(),
            Delivery::None => {}
        }
    }
}

/// Whether an operation changes anything.
pub(crate) fn is_write(operation: v1::Operation) -> bool {
    matches!(
        operation,
        v1::Operation::Put | v1::Operation::Delete | v1::Operation::Increment | v1::Operation::Expire
    )
}

/// Whether a replica may answer it.
pub(crate) fn is_read(operation: v1::Operation) -> bool {
    use v1::Operation::{Count, Get, GetMany, Has, Scan};
    matches!(operation, Get | Has | GetMany | Count | Scan)
}

/// Field 2 of `ClientFrame`, length-delimited.
const REQUESTS_TAG: u8 = 2 << 3 | 2;

fn append_request(request: &v1::Request, frame: &mut BytesMut) {
    frame.put_u8(REQUESTS_TAG);
    // `BytesMut` grows as needed, so there is always room.
    let _ = request.encode_length_delimited(frame);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_is_lost_tells_its_caller() {
        struct Nowhere;
        impl Holder for Nowhere {
            fn release(&self, _ticket: u64) {}
        }
        let lost = |operation: v1::Operation, sent: bool| {
            let (send, told) = std::sync::mpsc::channel();
            let request = v1::Request { operation: operation as i32, ..Default::default() };
            let callback: Callback = Box::new(move |reply| send.send(reply).unwrap());
            let call = Call::new(request, (0, 0), Instant::now(), tracing::Span::none(), Some(callback));
            if sent {
                call.put(Place::Sent(Arc::new(Nowhere), 1));
            }
            drop(call);
            let error = told.try_recv().unwrap().unwrap_err();
            assert_eq!(error.code, Code::Closed);
            error.outcome
        };
        assert_eq!(lost(v1::Operation::Put, true), Outcome::Unknown);
        assert_eq!(lost(v1::Operation::Put, false), Outcome::Failed);
        assert_eq!(lost(v1::Operation::Get, true), Outcome::Failed);
    }

    #[test]
    fn requests_appended_one_by_one_are_the_requests_of_one_frame() {
        let request = |id: u64, key: &'static [u8]| v1::Request {
            id,
            operation: v1::Operation::Get as i32,
            key: key.into(),
            ..Default::default()
        };
        let (first, second) = (request(1, b"a"), request(70_000, &[b'x'; 300]));
        let mut bytes = BytesMut::new();
        append_request(&first, &mut bytes);
        append_request(&second, &mut bytes);
        let trailer = v1::ClientFrame { table_version: 9, epoch: 4, cancels: vec![5], ..Default::default() };
        trailer.encode(&mut bytes).unwrap();
        let frame = v1::ClientFrame::decode(bytes).unwrap();
        assert_eq!(frame, v1::ClientFrame { requests: vec![first, second], ..trailer });
    }
}
