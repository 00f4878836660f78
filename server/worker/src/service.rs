//! The gRPC face of a worker: `slotkv.v1.Store`.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use futures_util::Stream;
use slotkv_proto::{
    Code,
    limits::{DEADLINE_MS_MAX, FRAME_BYTES_MAX},
    v1::{
        ClientFrame, Operation, Reply, Request, ServerFrame,
        store_server::{Store, StoreServer},
    },
};
use tokio::time::{Duration, Instant};
use tonic::Status;

use crate::{
    intake::Intake,
    outbox::Outbox,
    request::{self, Sender},
    session::Session,
    shard::Shard,
};

/// Serves one shard's data.
#[derive(Clone)]
pub struct StoreService {
    shard: Arc<Shard>,
}

impl StoreService {
    /// The gRPC server of a shard, with the limits of a frame.
    pub fn server(shard: Arc<Shard>) -> StoreServer<Self> {
        StoreServer::new(Self { shard })
            .max_decoding_message_size(FRAME_BYTES_MAX)
            .max_encoding_message_size(FRAME_BYTES_MAX)
    }

    /// Answers one request that came without a stream. Its sender has no slot table, so nothing is compared with it.
    async fn unary(
        &self,
        operation: Operation,
        request: tonic::Request<Request>,
    ) -> Result<tonic::Response<Reply>, Status> {
        let mut request = request.into_inner();
        request.operation = operation as i32;
        let id = request.id;
        let sender = Sender { client: [0; 16], namespace: Arc::from("") };
        if request.client_id.is_empty() {
            // Nobody but a stream or a named client can ask again for the result.
            request.sequence = 0;
            request.oldest_open = 0;
        }
        let wait = match request.deadline_ms {
            0 => DEADLINE_MS_MAX,
            ms => ms.min(DEADLINE_MS_MAX),
        };
        let outbox = Arc::new(Outbox::default());
        let ownership = self.shard.ownership();
        let intake = Intake {
            shard: &self.shard,
            ownership: &ownership,
            sender: &sender,
            outbox: &outbox,
            received: Instant::now(),
        };
        let mut writes = Vec::new();
        let started = self.shard.check_serving().and_then(|()| intake.start(request, &mut writes));
        if !writes.is_empty() {
            self.shard.queue().push(&mut writes);
        }
        let reply = match started {
            Ok(Some(reply)) => reply,
            Err(refusal) => request::refuse(id, refusal),
            Ok(None) => {
                let gone = CloseOnDrop(outbox);
                let wait = Duration::from_millis(u64::from(wait));
                match tokio::time::timeout(wait, next_reply(&gone.0)).await {
                    Ok(reply) => reply,
                    Err(_) => request::refuse(id, (Code::Timeout, "the deadline passed".into())),
                }
            }
        };
        match Code::from_number(reply.code) {
            Some(code) => Err(slotkv_proto::code::status_of(code, &reply.message)),
            None => Ok(tonic::Response::new(reply)),
        }
    }
}

/// Tells queued work that its caller has gone.
struct CloseOnDrop(Arc<Outbox>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

async fn next_reply(outbox: &Outbox) -> Reply {
    poll_fn(|cx| {
        outbox.register(cx.waker());
        let (mut replies, mut bytes) = (Vec::new(), 0);
        outbox.take(&mut replies, &mut bytes);
        replies.pop().map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

type Frames = Pin<Box<dyn Stream<Item = Result<ServerFrame, Status>> + Send>>;

#[tonic::async_trait]
impl Store for StoreService {
    type StreamStream = Frames;

    async fn stream(
        &self,
        request: tonic::Request<tonic::Streaming<ClientFrame>>,
    ) -> Result<tonic::Response<Frames>, Status> {
        let session = Session::new(self.shard.clone(), request.into_inner());
        Ok(tonic::Response::new(Box::pin(session)))
    }

    async fn get(&self, request: tonic::Request<Request>) -> Result<tonic::Response<Reply>, Status> {
        self.unary(Operation::Get, request).await
    }

    async fn has(&self, request: tonic::Request<Request>) -> Result<tonic::Response<Reply>, Status> {
        self.unary(Operation::Has, request).await
    }

    async fn put(&self, request: tonic::Request<Request>) -> Result<tonic::Response<Reply>, Status> {
        self.unary(Operation::Put, request).await
    }

    async fn delete(&self, request: tonic::Request<Request>) -> Result<tonic::Response<Reply>, Status> {
        self.unary(Operation::Delete, request).await
    }

    async fn increment(&self, request: tonic::Request<Request>) -> Result<tonic::Response<Reply>, Status> {
        self.unary(Operation::Increment, request).await
    }

    async fn count(&self, request: tonic::Request<Request>) -> Result<tonic::Response<Reply>, Status> {
        self.unary(Operation::Count, request).await
    }

    async fn scan(&self, request: tonic::Request<Request>) -> Result<tonic::Response<Reply>, Status> {
        self.unary(Operation::Scan, request).await
    }
}
