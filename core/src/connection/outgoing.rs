//! The frames of one session, as a stream that the transport polls.
//!
//! When something is there to send, the stream yields once before it hands it over: what other tasks of this thread submit
//! meanwhile travels in the same frame. That makes frames fuller than any timer would, at no cost in latency.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use futures_util::Stream;
use prost::Message;
use slotkv_proto::v1;

use super::Lane;
use crate::transport::Frame;

pub(super) struct Outgoing {
    lane: Arc<Lane>,
    session: u64,
    hello: Option<v1::Hello>,
    yielded: bool,
}

impl Outgoing {
    pub fn new(lane: Arc<Lane>, session: u64) -> Self {
        let hello = Some(lane.context.hello());
        Self { lane, session, hello, yielded: false }
    }
}

impl Stream for Outgoing {
    type Item = Frame;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        let this = self.get_mut();
        let mut state = this.lane.lock();
        if state.session != this.session {
            return Poll::Ready(None);
        }
        if let Some(hello) = this.hello.take() {
            let frame = v1::ClientFrame { hello: Some(hello), ..Default::default() };
            return Poll::Ready(Some(Frame(frame.encode_to_vec().into())));
        }
        let (pending, whole) = state.pending();
        if !pending {
            this.yielded = false;
            if !state.writer.as_ref().is_some_and(|writer| writer.will_wake(cx.waker())) {
                state.writer = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        if !whole && !this.yielded {
            this.yielded = true;
            drop(state);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.yielded = false;
        let (table_version, epoch) = (&this.lane.table_version, &this.lane.epoch);
        let bytes = state.take_frame(table_version.load(Ordering::Relaxed), epoch.load(Ordering::Relaxed));
        drop(state);
        this.lane.context.counters.frames_sent.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Some(Frame(bytes)))
    }
}
