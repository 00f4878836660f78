//! Replies on their way to one stream, from whichever task or thread makes them.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
    task::Waker,
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use slotkv_proto::{
    Code,
    limits::{INFLIGHT_BYTES_MAX, INFLIGHT_COUNT_MAX, REPLY_BYTES_SOFT},
    v1::{Found, Reply},
};

/// Collects replies until the stream sends them, and counts the requests that wait for one.
#[derive(Default)]
pub struct Outbox {
    state: Mutex<State>,
    waker: AtomicWaker,
    any_cancelled: AtomicBool,
    closed: AtomicBool,
}

#[derive(Default)]
struct State {
    replies: Vec<Reply>,
    waiting_count: usize,
    waiting_bytes: usize,
    /// Of the replies that the stream has not taken.
    reply_bytes: usize,
    cancelled: HashSet<u64>,
}

impl Outbox {
    /// Counts requests that will be answered later; refuses them past the stream's limits. Replies that the stream has
    /// not taken count too, so that a client that reads none does not fill the memory.
    pub fn admit(&self, bytes: usize) -> Result<(), (Code, String)> {
        let mut state = self.state.lock();
        if state.waiting_count >= INFLIGHT_COUNT_MAX {
            return Err((
                Code::Overloaded,
                format!("{INFLIGHT_COUNT_MAX} requests are in flight on this connection"),
            ));
        }
        let held = state.waiting_bytes + state.reply_bytes;
        if held > 0 && held + bytes > INFLIGHT_BYTES_MAX {
            return Err((
                Code::Overloaded,
                format!("more than {INFLIGHT_BYTES_MAX} bytes are in flight on this connection"),
            ));
        }
        state.waiting_count += 1;
        state.waiting_bytes += bytes;
        Ok(())
    }

    /// Counts replies that are made already and wait to be confirmed.
    pub fn hold(&self, count: usize) {
        self.state.lock().waiting_count += count;
    }

    /// An admitted request is counted by somebody else from now on.
    pub fn release(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.waiting_count = state.waiting_count.saturating_sub(1);
        state.waiting_bytes = state.waiting_bytes.saturating_sub(bytes);
    }

    /// Answers admitted requests: each reply with the bytes it was admitted with.
    pub fn complete(&self, replies: impl IntoIterator<Item = (Reply, usize)>) {
        {
            let mut state = self.state.lock();
            for (reply, bytes) in replies {
                state.waiting_count = state.waiting_count.saturating_sub(1);
                state.waiting_bytes = state.waiting_bytes.saturating_sub(bytes);
                if !state.cancelled.is_empty() {
                    state.cancelled.remove(&reply.id);
                }
                state.reply_bytes += size(&reply);
                state.replies.push(reply);
            }
            if state.waiting_count == 0 {
                // What is left came after its reply.
                state.cancelled.clear();
                self.any_cancelled.store(false, Ordering::Release);
            }
        }
        self.waker.wake();
    }

    /// Moves replies into `into` until it holds about a frame's worth; `bytes` counts what it holds.
    pub fn take(&self, into: &mut Vec<Reply>, bytes: &mut usize) {
        let mut state = self.state.lock();
        let (mut count, before) = (0, *bytes);
        while count < state.replies.len() && *bytes < REPLY_BYTES_SOFT {
            *bytes += size(&state.replies[count]);
            count += 1;
        }
        state.reply_bytes = state.reply_bytes.saturating_sub(*bytes - before);
        if into.is_empty() && count == state.replies.len() {
            std::mem::swap(into, &mut state.replies);
        } else {
            into.extend(state.replies.drain(..count));
        }
    }

    /// Whether every admitted request has been answered and the answers were taken.
    pub fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.waiting_count == 0 && state.replies.is_empty()
    }

    /// Who is woken by the next reply.
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// The caller of request `id` has gone. Ignored unless requests wait. There are no more cancels than those; one past
    /// that means that others came after their replies, and as nobody knows which, all make room: a cancel only saves work.
    pub fn cancel(&self, id: u64) {
        let mut state = self.state.lock();
        if state.waiting_count == 0 {
            return;
        }
        if state.cancelled.len() >= state.waiting_count {
            state.cancelled.clear();
        }
        state.cancelled.insert(id);
        self.any_cancelled.store(true, Ordering::Release);
    }

    /// Whether nobody waits for request `id` any more: it was cancelled.
    pub fn is_cancelled(&self, id: u64) -> bool {
        self.any_cancelled.load(Ordering::Acquire) && self.state.lock().cancelled.contains(&id)
    }

    /// The stream has ended; queued work of it need not start.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether the stream has ended.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// Roughly what one key of many takes in a frame.
pub fn found_size(found: &Found) -> usize {
    found.value.len() + 16
}

/// Roughly what a reply takes in a frame.
pub fn size(reply: &Reply) -> usize {
    let items: usize = reply.items.iter().map(|item| item.key.len() + item.value.len() + 32).sum();
    let found: usize = reply.found.iter().map(found_size).sum();
    reply.value.len() + reply.message.len() + reply.last_key.len() + items + found + 32
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn reply(id: u64, bytes: usize) -> Reply {
        Reply { id, value: Bytes::from(vec![0; bytes]), ..Reply::default() }
    }

    #[test]
    fn requests_past_the_limit_are_refused_until_others_are_answered() {
        let outbox = Outbox::default();
        for _ in 0..INFLIGHT_COUNT_MAX {
            outbox.admit(1).unwrap();
        }
        assert_eq!(outbox.admit(1).unwrap_err().0, Code::Overloaded);
        outbox.complete([(reply(1, 0), 1)]);
        outbox.admit(1).unwrap();
    }

    #[test]
    fn one_request_larger_than_the_byte_limit_is_admitted_alone() {
        let outbox = Outbox::default();
        outbox.admit(INFLIGHT_BYTES_MAX + 1).unwrap();
        assert_eq!(outbox.admit(1).unwrap_err().0, Code::Overloaded);
    }

    #[test]
    fn replies_are_taken_in_frames_bounded_by_bytes() {
        let outbox = Outbox::default();
        for id in 0..3 {
            outbox.admit(0).unwrap();
            outbox.complete([(reply(id, REPLY_BYTES_SOFT), 0)]);
        }
        for id in 0..3 {
            let (mut replies, mut bytes) = (Vec::new(), 0);
            outbox.take(&mut replies, &mut bytes);
            assert_eq!(replies.iter().map(|reply| reply.id).collect::<Vec<_>>(), vec![id]);
        }
        assert!(outbox.is_idle());
    }

    #[test]
    fn replies_that_nobody_takes_count_until_they_are_taken() {
        let outbox = Outbox::default();
        outbox.admit(0).unwrap();
        outbox.complete([(reply(1, INFLIGHT_BYTES_MAX), 0)]);
        assert_eq!(outbox.admit(1).unwrap_err().0, Code::Overloaded);
        outbox.take(&mut Vec::new(), &mut 0);
        outbox.admit(1).unwrap();
    }

    #[test]
    fn cancels_that_come_after_their_replies_do_not_keep_later_ones_out() {
        let outbox = Outbox::default();
        outbox.admit(0).unwrap();
        outbox.cancel(1);
        outbox.cancel(2);
        assert!(outbox.is_cancelled(2));
        outbox.complete([(reply(9, 0), 0)]);
        outbox.admit(0).unwrap();
        assert!(!outbox.is_cancelled(2));
    }

    #[test]
    fn a_cancelled_request_is_known_until_it_is_answered() {
        let outbox = Outbox::default();
        outbox.cancel(7);
        assert!(!outbox.is_cancelled(7));
        outbox.admit(0).unwrap();
        outbox.cancel(7);
        assert!(outbox.is_cancelled(7));
        outbox.complete([(reply(7, 0), 0)]);
        assert!(!outbox.is_cancelled(7));
    }
}
