//! The network as the client sees it: a [`Transport`]. The default speaks gRPC; the simulator brings its own. Nothing
//! else in this crate knows what carries the frames.

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{BufMut, Bytes};
use futures_util::{Stream, future::BoxFuture};
use slotkv_proto::{
    Code,
    code::code_of,
    limits,
    v1::{self, admin_client::AdminClient, master_client::MasterClient},
};
use tokio::time::Instant;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, EncodeBuf, Encoder, Streaming},
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstDecoder;

use crate::connector::Connector;

/// A connection over which nothing has come for so long is asked for a sign of life by an HTTP/2 ping.
pub const KEEPALIVE_MS: u64 = 2_000;
/// It is closed when the sign does not come in this time.
pub const KEEPALIVE_WAIT_MS: u64 = 2_000;
/// How long a TCP connection may take to be made, unless the caller gives up before.
pub const TCP_CONNECT_MS_MAX: u64 = 5_000;
/// Members to which connections for single calls (pings, slot tables) are kept; past it all are dropped and made anew.
pub const CHANNELS_MAX: usize = 64;
/// One that no call has used for so long is closed: a member that was asked once, as while the masters were slow, need not be
/// kept awake for it.
pub const CHANNEL_IDLE_MS: u64 = 10_000;
/// Bytes that a member may send ahead on one stream.
const WINDOW_BYTES: u32 = 4 << 20;
/// Bytes of an HTTP/2 frame that a member may send. By the default of 16 KiB a value of 1 MiB would be 64 writes and reads.
const HTTP2_FRAME_BYTES_MAX: u32 = 1 << 20;

/// A `v1::ClientFrame` in its encoded form.
#[derive(Clone, Debug)]
pub struct Frame(pub(crate) Bytes);

impl Frame {
    /// The encoded message.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The message.
    pub fn decode(&self) -> Result<v1::ClientFrame, prost::DecodeError> {
        prost::Message::decode(self.0.clone())
    }
}

/// What the client sends on a stream. Ends when the client closes the stream.
pub type Outgoing = Pin<Box<dyn Stream<Item = Frame> + Send>>;
/// What the member sends. Ends when the member closes the stream.
pub type Incoming = Pin<Box<dyn Stream<Item = Result<v1::ServerFrame, TransportError>> + Send>>;

/// Why the network did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct TransportError {
    /// The kind; `UNAVAILABLE` when nothing was sent.
    pub code: Code,
    /// What happened.
    pub message: String,
}

/// How members are reached. Callers bound every call in time.
pub trait Transport: Send + Sync + 'static {
    /// Opens `Store.Stream` at `address` (`host:port`). Takes frames from `outgoing` as they come.
    fn open<'a>(
        &'a self,
        address: &'a str,
        outgoing: Outgoing,
    ) -> BoxFuture<'a, Result<Incoming, TransportError>>;

    /// `Master.Ping`.
    fn ping<'a>(
        &'a self,
        address: &'a str,
        request: v1::PingRequest,
    ) -> BoxFuture<'a, Result<v1::PingReply, TransportError>>;

    /// `Master.GetSlotTable`.
    fn slot_table<'a>(
        &'a self,
        address: &'a str,
        request: v1::SlotTableRequest,
    ) -> BoxFuture<'a, Result<v1::TableDelta, TransportError>>;

    /// `Admin.Status`.
    fn status<'a>(
        &'a self,
        address: &'a str,
        request: v1::StatusRequest,
    ) -> BoxFuture<'a, Result<v1::StatusReply, TransportError>>;
}

/// The transport that speaks gRPC. Each stream has a TCP connection of its own; single calls to one member share one.
#[derive(Default)]
pub struct TonicTransport {
    channels: Mutex<BTreeMap<String, Kept>>,
}

/// A connection for single calls. Calls under way hold it, too.
struct Kept {
    channel: Channel,
    used: Instant,
}

impl TonicTransport {
    /// The shared connection to a member, made when it is first used and again after it broke. Those that nobody uses go;
    /// pings see to it that this is asked all the time.
    fn channel(&self, address: &str) -> Result<Channel, TransportError> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        channels.retain(|_, kept| now - kept.used < Duration::from_millis(CHANNEL_IDLE_MS));
        if let Some(kept) = channels.get_mut(address) {
            kept.used = now;
            return Ok(kept.channel.clone());
        }
        if channels.len() >= CHANNELS_MAX {
            channels.clear();
        }
        let channel = endpoint(address)?.connect_with_connector_lazy(Connector::new());
        channels.insert(address.to_owned(), Kept { channel: channel.clone(), used: now });
        Ok(channel)
    }
}

impl fmt::Debug for TonicTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TonicTransport").finish_non_exhaustive()
    }
}

impl Transport for TonicTransport {
    fn open<'a>(
        &'a self,
        address: &'a str,
        outgoing: Outgoing,
    ) -> BoxFuture<'a, Result<Incoming, TransportError>> {
        Box::pin(async move {
            let channel = endpoint(address)?
                .connect_with_connector(Connector::new())
                .await
                .map_err(|error| TransportError { code: Code::Unavailable, message: chain(&error) })?;
            let mut grpc = Grpc::new(channel).max_decoding_message_size(limits::FRAME_BYTES_MAX);
            grpc.ready()
                .await
                .map_err(|error| TransportError { code: Code::Unavailable, message: chain(&error) })?;
            let path = PathAndQuery::from_static("/slotkv.v1.Store/Stream");
            let response = grpc.streaming(Request::new(outgoing), path, FrameCodec).await.map_err(refused)?;
            let incoming = TonicIncoming { frames: response.into_inner(), _connection: grpc };
            Ok(Box::pin(incoming) as Incoming)
        })
    }

    fn ping<'a>(
        &'a self,
        address: &'a str,
        request: v1::PingRequest,
    ) -> BoxFuture<'a, Result<v1::PingReply, TransportError>> {
        Box::pin(async move {
            let mut master = MasterClient::new(self.channel(address)?);
            Ok(master.ping(request).await.map_err(refused)?.into_inner())
        })
    }

    fn slot_table<'a>(
        &'a self,
        address: &'a str,
        request: v1::SlotTableRequest,
    ) -> BoxFuture<'a, Result<v1::TableDelta, TransportError>> {
        Box::pin(async move {
            let mut master = MasterClient::new(self.channel(address)?);
            Ok(master.get_slot_table(request).await.map_err(refused)?.into_inner())
        })
    }

    fn status<'a>(
        &'a self,
        address: &'a str,
        request: v1::StatusRequest,
    ) -> BoxFuture<'a, Result<v1::StatusReply, TransportError>> {
        Box::pin(async move {
            let admin = AdminClient::new(self.channel(address)?);
            let mut admin = admin.max_decoding_message_size(limits::FRAME_BYTES_MAX);
            Ok(admin.status(request).await.map_err(refused)?.into_inner())
        })
    }
}

fn endpoint(address: &str) -> Result<Endpoint, TransportError> {
    let malformed = |error: &dyn std::error::Error| TransportError {
        code: Code::InvalidArgument,
        message: format!("{address:?} is no host:port: {error}"),
    };
    Ok(Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| malformed(&error))?
        .user_agent(concat!("slotkv/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| malformed(&error))?
        .connect_timeout(Duration::from_millis(TCP_CONNECT_MS_MAX))
        .http2_keep_alive_interval(Duration::from_millis(KEEPALIVE_MS))
        .keep_alive_timeout(Duration::from_millis(KEEPALIVE_WAIT_MS))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(HTTP2_FRAME_BYTES_MAX))
}

/// The messages of an error and of all its sources; hyper's own ones say little.
fn chain(error: &dyn std::error::Error) -> String {
    chain_after(error.to_string(), error)
}

fn chain_after(mut text: String, error: &dyn std::error::Error) -> String {
    let mut source = error.source();
    while let Some(error) = source {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        source = error.source();
    }
    text
}

fn refused(status: Status) -> TransportError {
    let code = code_of(&status).unwrap_or(match status.code() {
        tonic::Code::InvalidArgument => Code::InvalidArgument,
        tonic::Code::Unimplemented => Code::Unsupported,
        tonic::Code::PermissionDenied | tonic::Code::Unauthenticated => Code::Denied,
        tonic::Code::ResourceExhausted => Code::Overloaded,
        tonic::Code::OutOfRange => Code::TooLarge,
        _ => Code::Unavailable,
    });
    TransportError { code, message: chain_after(status.message().to_owned(), &status) }
}

/// A stream of the member with the connection that it needs.
struct TonicIncoming {
    frames: Streaming<v1::ServerFrame>,
    _connection: Grpc<Channel>,
}

impl Stream for TonicIncoming {
    type Item = Result<v1::ServerFrame, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.frames).poll_next(cx).map_err(refused)
    }
}

/// Frames go out as they were encoded by the callers' threads, and come in decoded.
struct FrameCodec;

impl Codec for FrameCodec {
    type Encode = Frame;
    type Decode = v1::ServerFrame;
    type Encoder = FrameEncoder;
    type Decoder = ProstDecoder<v1::ServerFrame>;

    fn encoder(&mut self) -> FrameEncoder {
        FrameEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

struct FrameEncoder;

impl Encoder for FrameEncoder {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, Frame(bytes): Frame, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(bytes.len());
        buffer.put_slice(&bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_no_call_uses_any_more_is_let_go() {
        let transport = TonicTransport::default();
        let known = || transport.channels.lock().unwrap().keys().cloned().collect::<Vec<_>>();
        transport.channel("once:1").unwrap();
        for _ in 0..2 {
            transport.channel("often:1").unwrap();
            tokio::time::advance(Duration::from_millis(CHANNEL_IDLE_MS / 2)).await;
        }
        assert_eq!(known(), ["often:1", "once:1"]);
        transport.channel("often:1").unwrap();
        assert_eq!(known(), ["often:1"]);
    }
}
