//! A client of etcd's `KV` service (etcd 3, `etcdserverpb`), with the fields that a load needs. Like etcd's own, it turns
//! to another member when the one it talks to does not answer.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

/// Longest time for one call; a member that has stopped answers never.
const CALL_MAX: Duration = Duration::from_secs(1);

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

/// `serializable` is left out: such reads are linearizable.
#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

/// Connections to members, one at least to each.
pub struct Etcd {
    channels: Vec<Channel>,
    at: AtomicUsize,
}

impl Etcd {
    /// A connection for each of `host:port,...`; an address that stands there twice gets two. They are made when needed.
    pub fn new(addresses: &str) -> Result<Self, String> {
        let channels: Result<Vec<Channel>, String> = addresses
            .split(',')
            .map(|address| {
                let endpoint = Endpoint::from_shared(format!("http://{address}"));
                let endpoint = endpoint.map_err(|error| error.to_string())?;
                Ok(endpoint.connect_timeout(CALL_MAX).tcp_nodelay(true).connect_lazy())
            })
            .collect();
        Ok(Self { channels: channels?, at: AtomicUsize::new(0) })
    }

    /// Writes a key by the member that was good last.
    pub async fn put(&self, key: Bytes, value: Bytes) -> Result<(), String> {
        let at = self.at.load(Relaxed);
        let put = self.put_by(at, key, value).await;
        if put.is_err() {
            // Of many calls that fail at once the first moves on for all.
            let _ = self.at.compare_exchange(at, at + 1, Relaxed, Relaxed);
        }
        put
    }

    /// Writes a key by a connection.
    pub async fn put_by(&self, at: usize, key: Bytes, value: Bytes) -> Result<(), String> {
        let PutResponse {} = self.call(at, "/etcdserverpb.KV/Put", PutRequest { key, value }).await?;
        Ok(())
    }

    /// Reads a key, linearizable, by a connection.
    pub async fn get_by(&self, at: usize, key: Bytes) -> Result<Option<Bytes>, String> {
        let reply: RangeResponse = self.call(at, "/etcdserverpb.KV/Range", RangeRequest { key }).await?;
        Ok(reply.kvs.into_iter().next().map(|found| found.value))
    }

    async fn call<Q, A>(&self, at: usize, path: &'static str, request: Q) -> Result<A, String>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = tonic::client::Grpc::new(self.channels[at % self.channels.len()].clone());
        let call = async move {
            grpc.ready().await.map_err(|error| format!("not connected: {error}"))?;
            let codec = tonic_prost::ProstCodec::<Q, A>::default();
            let path = PathAndQuery::from_static(path);
            let reply = grpc.unary(tonic::Request::new(request), path, codec).await;
            reply.map(tonic::Response::into_inner).map_err(|status| status.code().to_string())
        };
        tokio::time::timeout(CALL_MAX, call).await.unwrap_or_else(|_| Err("no answer".to_owned()))
    }
}
