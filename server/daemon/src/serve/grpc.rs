//! One gRPC server: the services of a role, health and reflection, on one listener, with bounds on everything.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{
    Status,
    service::{InterceptorLayer, Routes, RoutesBuilder},
    transport::Server,
};
use tonic_health::{ServingStatus, server::HealthReporter};

use super::{
    incoming::{Admission, Incoming},
    listen::Listening,
};

/// Bytes that a peer may send on a stream, and on a connection, before it waits for us.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Largest HTTP/2 frame we take.
const HTTP2_FRAME_BYTES_MAX: u32 = 1 << 20;
/// Calls at the same time on one connection; a program of ours needs a handful.
const STREAMS_PER_CONNECTION_MAX: u32 = 1024;
/// An idle peer is asked so often whether it is there, and has so long to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What every process serves beside the services of its role.
const NAMES: [&str; 2] = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"];

/// The services of one process, not serving yet.
pub(crate) struct Services {
    routes: Routes,
    names: &'static [&'static str],
    health: HealthReporter,
}

impl Services {
    /// Health and reflection, and what `add` adds; `names` are those that health is asked by and that reflection lists.
    pub fn new(names: &'static [&'static str], add: impl FnOnce(&mut RoutesBuilder)) -> Self {
        let mut routes = Routes::builder();
        add(&mut routes);
        let (health, service) = tonic_health::server::health_reporter();
        routes.add_service(service);
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(slotkv_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        // The descriptors are of every role; what is listed is what this one serves.
        let reflection =
            names.iter().chain(&NAMES).fold(reflection, |all, name| all.with_service_name(*name));
        routes.add_service(reflection.build_v1().expect("the descriptors are compiled in"));
        Self { routes: routes.routes().prepare(), names, health }
    }

    /// Serves on the calling runtime.
    pub async fn serve(self, listening: Listening, connections_max: usize) -> std::io::Result<Serving> {
        let listener = tokio::net::TcpListener::from_std(listening.listener)?;
        let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
        let incoming = Incoming::new(listener, connections_max, cut.clone());
        let server = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(HTTP2_FRAME_BYTES_MAX)
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .layer(InterceptorLayer::new(move |request: tonic::Request<()>| {
                match request.extensions().get::<Admission>() {
                    Some(Admission { admitted: false }) => Err(Status::resource_exhausted(format!(
                        "this process takes {connections_max} connections at the same time, and has them"
                    ))),
                    _ => Ok(request),
                }
            }))
            .add_routes(self.routes);
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(async move {
            if let Err(error) = server.serve_with_incoming_shutdown(incoming, stopped).await {
                tracing::error!(%error, "the gRPC server ended");
            }
        });
        set_health(&self.health, self.names, ServingStatus::Serving).await;
        Ok(Serving { names: self.names, health: self.health, stop, cut, task })
    }
}

async fn set_health(health: &HealthReporter, names: &[&str], status: ServingStatus) {
    health.set_service_status("", status).await;
    for name in names {
        health.set_service_status(*name, status).await;
    }
}

/// A running gRPC server. Dropped, it closes its connections.
pub(crate) struct Serving {
    names: &'static [&'static str],
    health: HealthReporter,
    stop: CancellationToken,
    cut: CancellationToken,
    task: JoinHandle<()>,
}

impl Serving {
    /// Tells those who ask for its health that it is about to stop.
    pub async fn announce_stop(&self) {
        set_health(&self.health, self.names, ServingStatus::NotServing).await;
    }

    /// Takes no more calls, waits so long for those under way, then closes every connection.
    pub async fn stop(mut self, patience: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(patience, &mut self.task).await.is_err() {
            tracing::debug!("calls are still under way, closing their connections");
        }
        self.cut.cancel();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.cancel();
        self.cut.cancel();
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tonic::transport::Channel;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

    use super::*;

    async fn serving(connections_max: usize) -> (Serving, String) {
        let listening = Listening::bind("127.0.0.1:0", 0, None).unwrap();
        let address = listening.advertise().to_owned();
        (
            Services::new(&["slotkv.v1.Store"], |_| ()).serve(listening, connections_max).await.unwrap(),
            address,
        )
    }

    async fn health(address: &str) -> Result<HealthClient<Channel>, Status> {
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let mut client = HealthClient::new(channel);
        client.check(HealthCheckRequest { service: "slotkv.v1.Store".into() }).await?;
        Ok(client)
    }

    #[tokio::test]
    async fn a_connection_past_the_limit_is_told_the_limit_and_others_go_on() {
        let (serving, address) = serving(1).await;
        let mut first = health(&address).await.unwrap();
        let refusal = health(&address).await.unwrap_err();
        assert_eq!(refusal.code(), tonic::Code::ResourceExhausted);
        assert!(refusal.message().contains("1 connections"), "{}", refusal.message());
        first.check(HealthCheckRequest { service: String::new() }).await.unwrap();
        drop(first);
        while health(&address).await.is_err() {
            tokio::task::yield_now().await;
        }
        serving.stop(Duration::from_secs(5)).await;
    }

    #[tokio::test]
    async fn a_stopped_server_leaves_no_connection_and_no_listener() {
        let (serving, address) = serving(10).await;
        let mut watch = health(&address).await.unwrap();
        let watching = HealthCheckRequest { service: "slotkv.v1.Store".into() };
        let mut changes = watch.watch(watching).await.unwrap().into_inner();
        assert_eq!(changes.message().await.unwrap().unwrap().status, 1);
        serving.announce_stop().await;
        assert_eq!(changes.message().await.unwrap().unwrap().status, 2);
        serving.stop(Duration::from_millis(1)).await;
        assert!(changes.message().await.is_err(), "the stream was to end with its connection");
        assert!(tokio::net::TcpStream::connect(&address).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_is_closed() {
        let (_serving, address) = serving(10).await;
        let mut silent = tokio::net::TcpStream::connect(&address).await.unwrap();
        let _ = silent.read_to_end(&mut Vec::new()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_only_begins_the_preface_is_closed() {
        let (_serving, address) = serving(10).await;
        let mut slow = tokio::net::TcpStream::connect(&address).await.unwrap();
        slow.write_all(b"P").await.unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(3600), slow.read_to_end(&mut Vec::new())).await;
        assert!(closed.is_ok(), "it was kept for an hour");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stops_answering_is_dropped() {
        let (_serving, address) = serving(10).await;
        let mut half_open = tokio::net::TcpStream::connect(&address).await.unwrap();
        // The preface and an empty SETTINGS frame; pings are never answered.
        half_open.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let begun = tokio::time::Instant::now();
        let mut sent = Vec::new();
        let _ = half_open.read_to_end(&mut sent).await;
        assert!(begun.elapsed() >= KEEPALIVE_INTERVAL, "it was dropped for another reason");
        let ping = [0, 0, 8, 6];
        assert!(sent.windows(ping.len()).any(|bytes| bytes == ping), "no PING in {sent:x?}");
    }

    #[tokio::test]
    async fn bytes_that_are_no_http2_end_their_connection_alone() {
        let (_serving, address) = serving(10).await;
        let mut bad = tokio::net::TcpStream::connect(&address).await.unwrap();
        bad.write_all(b"GET / HTTP/1.1\r\n\r\n\0\xff\xff\xff\xff\xff\xff").await.unwrap();
        let mut rest = Vec::new();
        let _ = bad.read_to_end(&mut rest).await;
        health(&address).await.unwrap();
    }
}
