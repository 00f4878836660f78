//! Arguments into Rust. Keys and values are bytes; texts are for the layer above.

use std::time::Duration;

use slotkv_facade::core::CallOptions;
use slotkv_facade::{core, settings};

/// What `connect` is told; what is missing is the default. What the URI says of the same thing wins.
#[derive(uniffi::Record)]
pub struct ConnectOptions {
    /// Namespace of the client's calls; without it the URI's, or the one without a name.
    #[uniffi(default = None)]
    pub namespace: Option<String>,
    /// Time of a call that names none, with all its attempts: 1 ms to 300 s, by default 5 s.
    #[uniffi(default = None)]
    pub deadline: Option<Duration>,
    /// Time for connecting, and for one connection to a member; by default 5 s.
    #[uniffi(default = None)]
    pub connect_timeout: Option<Duration>,
    /// How often the master is pinged; by default 300 ms.
    #[uniffi(default = None)]
    pub ping_interval: Option<Duration>,
    /// Calls open at once; further ones wait. By default 16,384.
    #[uniffi(default = None)]
    pub inflight_max: Option<u32>,
    /// Connections to each member: 1 to 16, by default 1.
    #[uniffi(default = None)]
    pub streams_per_member: Option<u32>,
    /// The client's name, for people.
    #[uniffi(default = None)]
    pub client_name: Option<String>,
    /// Where the client stands: reads that backups may answer go to those of the same zone, if there are any.
    #[uniffi(default = None)]
    pub zone: Option<String>,
}

impl From<ConnectOptions> for settings::Settings {
    fn from(told: ConnectOptions) -> Self {
        Self {
            namespace: told.namespace,
            deadline: told.deadline,
            connect_timeout: told.connect_timeout,
            ping_interval: told.ping_interval,
            inflight_max: told.inflight_max.map(|count| count as usize),
            streams_per_member: told.streams_per_member.map(|count| count as usize),
            client_name: told.client_name,
            zone: told.zone,
            ..default_settings()
        }
    }
}

/// What a client is told that is told nothing.
pub fn default_settings() -> settings::Settings {
    settings::Settings::new(concat!("uniffi/", env!("CARGO_PKG_VERSION")))
}

/// Which keys.
#[derive(uniffi::Record)]
pub struct Range {
    /// Those that begin with it.
    #[uniffi(default = None)]
    pub prefix: Option<Vec<u8>>,
    /// Those from it on.
    #[uniffi(default = None)]
    pub start: Option<Vec<u8>>,
    /// Those below it.
    #[uniffi(default = None)]
    pub end: Option<Vec<u8>>,
    /// Merged in key order, which costs more, instead of slot order; of scans.
    #[uniffi(default = false)]
    pub ordered: bool,
    /// Without values: they are empty; of scans.
    #[uniffi(default = false)]
    pub keys_only: bool,
    /// Items that are fetched at a time, 0 for 1,000; of scans.
    #[uniffi(default = 0)]
    pub page_items: u32,
}

impl From<Range> for core::Range {
    fn from(told: Range) -> Self {
        Self {
            prefix: told.prefix.unwrap_or_default().into(),
            start: told.start.unwrap_or_default().into(),
            end: told.end.unwrap_or_default().into(),
            ordered: told.ordered,
            keys_only: told.keys_only,
            items_max: told.page_items,
        }
    }
}

/// How fresh the answer of a read has to be.
#[derive(Debug, Clone, Copy, uniffi::Enum)]
pub enum ReadLevel {
    /// What the key holds at the time of the read. The primary answers.
    Linearizable,
    /// Not older than what the session has written or read before.
    Session,
    /// Perhaps old, by however much.
    Stale,
}

impl From<ReadLevel> for core::ReadLevel {
    fn from(level: ReadLevel) -> Self {
        match level {
            ReadLevel::Linearizable => Self::Linearizable,
            ReadLevel::Session => Self::Session,
            ReadLevel::Stale => Self::Stale,
        }
    }
}

/// A key and the value to store.
#[derive(uniffi::Record)]
pub struct Pair {
    /// The key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// What one call says differently from its client.
pub fn call_options(deadline: Option<Duration>) -> CallOptions {
    CallOptions { deadline, ..CallOptions::default() }
}
