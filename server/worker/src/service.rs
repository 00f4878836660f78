//! The gRPC face of a worker: `slotkv.v1.Store`.

use std::{
    cell::Cell,
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{FutureExt, Stream, future::BoxFuture};
use slotkv_proto::{
    Code,
    limits::{DEADLINE_MS_MAX, FRAME_BYTES_MAX, PAGE_BYTES_MAX},
    v1::{
        ClientFrame, Operation, ReadLevel, Reply, Request, ServerFrame,
        store_server::{Store, StoreServer},
    },
};
use tokio::{
    sync::Semaphore,
    time::{Duration, Instant},
};
use tonic::{
    Status,
    body::Body,
    codegen::http,
    server::{Grpc, NamedService, StreamingService},
};

use crate::{
    codec::FrameCodec,
    intake::Intake,
    outbox::Outbox,
    request::{self, Sender},
    session::Session,
    shard::Shard,
};

/// Unary calls that one process works on at a time; past it they are refused as OVERLOADED. A stream has bounds of its own.
pub const UNARY_COUNT_MAX: usize = 1024;
/// Bytes of keys, values and pages of the unary calls that one process works on at a time.
pub const UNARY_BYTES_MAX: usize = 128 << 20;
/// How long a unary call that names no deadline may wait for its reply.
pub const UNARY_DEADLINE_MS_DEFAULT: u32 = 10_000;

/// Serves one shard's data.
#[derive(Clone)]
pub struct StoreService {
    shard: Arc<Shard>,
    unary_count: Arc<Semaphore>,
    unary_bytes: Arc<Semaphore>,
}

/// The gRPC server of a shard: as generated, but for the codec of streams.
#[derive(Clone)]
pub struct StoreFront {
    service: StoreService,
    unary: StoreServer<StoreService>,
}

impl NamedService for StoreFront {
    const NAME: &'static str = <StoreServer<StoreService> as NamedService>::NAME;
}

impl tonic::codegen::Service<http::Request<Body>> for StoreFront {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != STREAM_PATH {
            return self.unary.call(request);
        }
        let service = self.service.clone();
        async move {
            let mut grpc = Grpc::new(FrameCodec)
                .max_decoding_message_size(FRAME_BYTES_MAX)
                .max_encoding_message_size(FRAME_BYTES_MAX);
            Ok(grpc.streaming(service, request).await)
        }
        .boxed()
    }
}

const STREAM_PATH: &str = "/slotkv.v1.Store/Stream";

impl StreamingService<ClientFrame> for StoreService {
    type Response = ServerFrame;
    type ResponseStream = Frames;
    type Future = BoxFuture<'static, Result<tonic::Response<Frames>, Status>>;

    fn call(&mut self, request: tonic::Request<tonic::Streaming<ClientFrame>>) -> Self::Future {
        let service = self.clone();
        async move { service.stream(request).await }.boxed()
    }
}

impl StoreService {
    /// The gRPC server of a shard, with the limits of a frame.
    pub fn server(shard: Arc<Shard>) -> StoreFront {
        let service = Self {
            shard,
            unary_count: Arc::new(Semaphore::new(UNARY_COUNT_MAX)),
            unary_bytes: Arc::new(Semaphore::new(UNARY_BYTES_MAX)),
        };
        let unary = StoreServer::new(service.clone())
            .max_decoding_message_size(FRAME_BYTES_MAX)
            .max_encoding_message_size(FRAME_BYTES_MAX);
        StoreFront { service, unary }
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
        let page_bytes = if operation == Operation::Scan { PAGE_BYTES_MAX } else { 0 };
        let bytes = (request.key.len() + request.value.len()) as u32 + page_bytes;
        let (Ok(_count), Ok(_bytes)) =
            (self.unary_count.try_acquire(), self.unary_bytes.try_acquire_many(bytes))
        else {
            let text =
                format!("{UNARY_COUNT_MAX} unary calls or {UNARY_BYTES_MAX} bytes of them are in flight");
            return Err(slotkv_proto::code::status_of(Code::Overloaded, text));
        };
        if request.client_id.is_empty() {
            // Nobody but a stream or a named client can ask again for the result.
            request.sequence = 0;
            request.oldest_open = 0;
        }
        let wait = match request.deadline_ms {
            0 => UNARY_DEADLINE_MS_DEFAULT,
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
            many_reads: Cell::new(0),
            cold_reads: Cell::new(0),
            has_waited: false,
        };
        let mut writes = Vec::new();
        let level = request.read_level();
        let may = match level {
            ReadLevel::Linearizable => self.shard.check_serving(),
            level => {
                let may = self.shard.check_level(level, &request);
                may.unwrap_or_else(|| self.shard.check_serving())
            }
        };
        let started = may.and_then(|()| intake.start(request, None, &mut writes));
        let started = match started {
            Ok(Some(reply))
                if level == ReadLevel::Linearizable && !self.shard.holds_lease(ownership.epoch()) =>
            {
                outbox.hold(1);
                self.shard.confirm(ownership.epoch(), &outbox, vec![(reply, 0)]);
                Ok(None)
            }
            started => started,
        };
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
