//! The future of a call: its reply. Dropping it cancels the call.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use slotkv_proto::v1;

use super::Dispatch;
use crate::{Result, call::Call};

/// See the module.
pub(crate) struct Waiting {
    dispatch: Arc<Dispatch>,
    call: Arc<Call>,
    done: bool,
}

impl Waiting {
    pub fn new(dispatch: Arc<Dispatch>, call: Arc<Call>) -> Self {
        Self { dispatch, call, done: false }
    }
}

impl Future for Waiting {
    type Output = Result<v1::Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let poll = self.call.poll(cx);
        self.done |= poll.is_ready();
        poll
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.done {
            self.dispatch.cancel(&self.call);
        }
    }
}
