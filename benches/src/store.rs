//! A store as a program meets it: slotkv by its client, Redis Cluster by redis-rs (`cluster-async`), both as they come but
//! for a time of 5 s for a call, which is what slotkv's client takes by itself.

use std::time::Duration;

use ::redis::cluster::ClusterClientBuilder;
use ::redis::cluster_async::ClusterConnection;
use ::redis::cmd;

/// Longest time for a call, all its attempts included.
const CALL_MAX: Duration = Duration::from_secs(5);

/// One client.
#[derive(Clone)]
pub enum Store {
    /// Of slotkv.
    Slotkv(slotkv::Client),
    /// Of Redis Cluster. Its clones share connections, one to each server.
    Redis(ClusterConnection),
}

impl Store {
    /// Connects a client, `slotkv` or `redis`, to a URI or to ports of this machine.
    pub async fn open(client: &str, to: &str) -> Result<Self, String> {
        match client {
            "slotkv" => Ok(Self::Slotkv(slotkv::Client::connect(to).await.map_err(text)?)),
            "redis" => {
                let nodes = to.split(',').map(|port| format!("redis://127.0.0.1:{port}"));
                let builder = ClusterClientBuilder::new(nodes.collect::<Vec<_>>());
                let client = builder.overall_response_timeout(Some(CALL_MAX)).build().map_err(text)?;
                Ok(Self::Redis(client.get_async_connection().await.map_err(text)?))
            }
            other => Err(format!("no client {other:?}; there are slotkv and redis")),
        }
    }

    /// Writes a key.
    pub async fn put(&mut self, key: &str, value: &[u8]) -> Result<(), String> {
        match self {
            Self::Slotkv(client) => {
                client.put(key.to_owned(), value.to_owned()).await.map(drop).map_err(text)
            }
            Self::Redis(connection) => {
                cmd("SET").arg(key).arg(value).query_async(connection).await.map_err(text)
            }
        }
    }

    /// Reads a key that is there; how many bytes it has.
    pub async fn get(&mut self, key: &str) -> Result<usize, String> {
        let found = match self {
            Self::Slotkv(client) => client.get(key).await.map_err(text)?.map(|value| value.len()),
            Self::Redis(connection) => {
                let found: Result<Option<Vec<u8>>, _> = cmd("GET").arg(key).query_async(connection).await;
                found.map_err(text)?.map(|value| value.len())
            }
        };
        found.ok_or_else(|| format!("{key} is missing; the load wants hits only"))
    }

    /// How often a call was sent elsewhere because a server said so, as far as the client tells.
    pub fn redirects(&self) -> Option<u64> {
        match self {
            Self::Slotkv(client) => Some(client.stats().redirects),
            Self::Redis(_) => None,
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string().replace('\n', " ")
}
