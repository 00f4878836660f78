//! Operator: the way of a wish from whoever serves it to the master's office, and of the answer back.

use std::time::Duration;

use slotkv_proto::Code;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    order::{Done, Order},
    wish::{Refusal, Settled, Wish},
};

/// Wishes that may wait for the office; past it they are refused.
const WISHES_MAX: usize = 16;
/// How long an operator waits for the office.
pub(crate) const WISH_WAIT: Duration = Duration::from_secs(10);

/// What became of a wish.
pub(crate) type Answer = Result<Settled, Refusal>;

/// What is asked for, and where to answer.
pub(crate) enum Call {
    /// Of one shard's primary.
    Wish(Wish, oneshot::Sender<Answer>),
    /// Of what moves.
    Order(Order, oneshot::Sender<Result<Done, Refusal>>),
}

/// Takes wishes to a master's office.
#[derive(Clone, Debug)]
pub struct Operator {
    calls: mpsc::Sender<Call>,
}

impl Operator {
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Call>) {
        let (calls, receiver) = mpsc::channel(WISHES_MAX);
        (Self { calls }, receiver)
    }

    /// One behind which there is no office, as of a master that is stopping.
    pub fn closed() -> Self {
        Self::channel().0
    }

    /// Has a wish written into its shard's register. Only the office of the leading master does that.
    pub async fn ask(&self, wish: Wish) -> Result<Settled, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Call::Wish(wish, reply), answer).await
    }

    /// Has weights and holds changed, which is what moves slots and what stops them. Only the office of the leading master does
    /// that.
    pub async fn order(&self, order: Order) -> Result<Done, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Call::Order(order, reply), answer).await
    }

    async fn send<T>(&self, call: Call, answer: oneshot::Receiver<Result<T, Refusal>>) -> Result<T, Refusal> {
        let refusal = |code, text: &str| Refusal { code, text: text.to_owned() };
        self.calls.try_send(call).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                refusal(Code::Overloaded, "too many wishes wait for this master")
            }
            mpsc::error::TrySendError::Closed(_) => refusal(Code::ShuttingDown, "this master is stopping"),
        })?;
        match timeout(WISH_WAIT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(refusal(
                Code::SteppedDown,
                "this master stopped leading meanwhile; the wish may have been written",
            )),
            Err(_) => {
                Err(refusal(Code::Timeout, "the coordinator did not answer; the wish may have been written"))
            }
        }
    }
}
