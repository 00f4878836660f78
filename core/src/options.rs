//! What a client and a call can be told.

use std::{fmt, sync::Arc, time::Duration};

use slotkv_proto::{
    limits,
    seam::{Chance, Clock, SystemChance, SystemClock},
};

use crate::{
    Condition, Error, ReadLevel, Result, Session,
    transport::{TonicTransport, Transport},
};

/// Longest deadline of a call, in milliseconds; longer ones are cut to it.
pub const DEADLINE_MS_MAX: u32 = limits::DEADLINE_MS_MAX;
/// Most streams to one member.
pub const STREAMS_PER_MEMBER_MAX: usize = 16;
/// Longest name of a zone, in bytes.
pub const ZONE_BYTES_MAX: usize = 256;
/// Most calls that a client may be told to keep open at once.
pub const INFLIGHT_MAX_MAX: usize = 1 << 20;

/// How a client behaves. What the URI says of the same thing wins.
#[derive(Clone)]
pub struct Options {
    /// Time for a call that names none, all its attempts included. URI: `deadline_ms`. Default 5 s, at most 300 s.
    pub deadline: Duration,
    /// Time for connecting, and for one connection to a member. URI: `connect_timeout_ms`. Default 5 s, at most 300 s.
    pub connect_timeout: Duration,
    /// Calls open at once; further ones wait. URI: `inflight_max`. Default 16384, at most 1048576. One shard has at most half of it,
    /// and a quarter is kept for all shards in equal parts, so that calls to dead ones leave room for the others.
    pub inflight_max: usize,
    /// How often the master is pinged. URI: `ping_ms`. Default 300 ms, at most 300 s.
    pub ping: Duration,
    /// The client's name, for people. URI: `client_name`. Default `rust/<version>`.
    pub client_name: String,
    /// Where the client stands: reads that backups may answer go to those of the same zone, if there are any. URI: `zone`. Default
    /// none.
    pub zone: Option<String>,
    /// Connections to each member, up to 16. Default 1.
    pub streams_per_member: usize,
    /// The network.
    pub transport: Arc<dyn Transport>,
    /// Wall clock; for display, nothing is decided by it.
    pub clock: Arc<dyn Clock>,
    /// Source of client ids and jitter.
    pub chance: Arc<dyn Chance>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            inflight_max: 16384,
            ping: Duration::from_millis(300),
            client_name: concat!("rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            zone: None,
            streams_per_member: 1,
            transport: Arc::new(TonicTransport::default()),
            clock: Arc::new(SystemClock),
            chance: Arc::new(SystemChance),
        }
    }
}

impl Options {
    /// Refuses what cannot be, by name.
    pub(crate) fn check(&self) -> Result<()> {
        let longest = Duration::from_millis(DEADLINE_MS_MAX.into());
        for (name, time) in
            [("deadline", self.deadline), ("connect_timeout", self.connect_timeout), ("ping", self.ping)]
        {
            if time.is_zero() || time > longest {
                return Err(Error::invalid(format!("{name} is {time:?}; it is 1 ms to {longest:?}")));
            }
        }
        for (name, count, max) in [
            ("inflight_max", self.inflight_max, INFLIGHT_MAX_MAX),
            ("streams_per_member", self.streams_per_member, STREAMS_PER_MEMBER_MAX),
        ] {
            if count == 0 || count > max {
                return Err(Error::invalid(format!("{name} is {count}; it is 1 to {max}")));
            }
        }
        let zone_bytes = self.zone.as_ref().map_or(0, String::len);
        if zone_bytes > ZONE_BYTES_MAX {
            return Err(Error::invalid(format!("zone has {zone_bytes} bytes of {ZONE_BYTES_MAX}")));
        }
        if self.client_name.len() > limits::CLIENT_NAME_BYTES_MAX {
            let max = limits::CLIENT_NAME_BYTES_MAX;
            return Err(Error::invalid(format!("client_name has {} bytes of {max}", self.client_name.len())));
        }
        Ok(())
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("deadline", &self.deadline)
            .field("connect_timeout", &self.connect_timeout)
            .field("inflight_max", &self.inflight_max)
            .field("ping", &self.ping)
            .field("client_name", &self.client_name)
            .field("zone", &self.zone)
            .field("streams_per_member", &self.streams_per_member)
            .finish_non_exhaustive()
    }
}

/// What a put may say beside its key and value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// What must hold; else the answer is [`Put::Unmet`](crate::Put::Unmet).
    pub condition: Condition,
    /// Lifetime of the key, 1 ms to 315360000 s (ten years); `None`: it lives for ever.
    pub ttl: Option<Duration>,
}

impl PutOptions {
    /// A lifetime, and no condition.
    pub fn ttl(ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..Self::default() }
    }
}

/// What one call may say differently from its client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallOptions {
    /// Time for the call with all its attempts, at most 300 s; `None` for the client's.
    pub deadline: Option<Duration>,
    /// Namespace; `None` for the client's, empty for the one without a name.
    pub namespace: Option<String>,
    /// W3C traceparent of the caller's span; `None` for the client's.
    pub traceparent: Option<String>,
    /// How fresh the answer of a read has to be; `None` for the client's.
    pub read_level: Option<ReadLevel>,
    /// What a session's read may not be older than: what the session has seen, which the call adds to. `None` for the client's.
    pub session: Option<Session>,
}
