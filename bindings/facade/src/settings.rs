//! What clients and calls can be told, the same in every binding.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use slotkv::transport::Transport;
use slotkv::{CallOptions, Options};

/// Makes a network for one process.
pub type Network = Arc<dyn Fn() -> Arc<dyn Transport> + Send + Sync>;

/// What a client is told when it is made. `None` stands for the core's default; what the URI says of the same thing
/// wins.
#[derive(Clone, Default)]
pub struct Settings {
    /// Namespace of the client's calls; `None` for the URI's.
    pub namespace: Option<String>,
    /// Time for a call that names none.
    pub deadline: Option<Duration>,
    /// Time for connecting, and for one connection to a member.
    pub connect_timeout: Option<Duration>,
    /// How often the master is pinged.
    pub ping_interval: Option<Duration>,
    /// Calls open at once.
    pub inflight_max: Option<usize>,
    /// Connections to each member.
    pub streams_per_member: Option<usize>,
    /// Where the client stands, for reads that backups may answer.
    pub zone: Option<String>,
    /// The client's name, for people; `None` for the binding's.
    pub client_name: Option<String>,
    /// Name and version of the binding, as "python/0.1.0".
    pub binding: &'static str,
    /// The network; `None` for the real one.
    pub network: Option<Network>,
}

impl Settings {
    /// Settings of a binding that says nothing else.
    pub fn new(binding: &'static str) -> Self {
        Self { binding, ..Self::default() }
    }

    /// The core's options. What they hold, as a transport with its connections, belongs to the process that asks.
    pub fn options(&self) -> Options {
        let defaults = Options::default();
        let name = self.client_name.as_deref().unwrap_or(self.binding);
        Options {
            deadline: self.deadline.unwrap_or(defaults.deadline),
            connect_timeout: self.connect_timeout.unwrap_or(defaults.connect_timeout),
            ping: self.ping_interval.unwrap_or(defaults.ping),
            inflight_max: self.inflight_max.unwrap_or(defaults.inflight_max),
            streams_per_member: self.streams_per_member.unwrap_or(defaults.streams_per_member),
            zone: self.zone.clone().or(defaults.zone),
            client_name: if name.is_empty() { defaults.client_name } else { name.into() },
            transport: self.network.as_ref().map_or(defaults.transport, |network| network()),
            ..defaults
        }
    }

    /// What calls of the client say unless they say it themselves.
    pub(crate) fn defaults(&self) -> CallOptions {
        CallOptions { namespace: self.namespace.clone(), ..CallOptions::default() }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.options().fmt(formatter)
    }
}

/// What holds for a call: what it says itself, else what its client says.
pub(crate) fn over(call: CallOptions, client: &CallOptions) -> CallOptions {
    CallOptions {
        deadline: call.deadline.or(client.deadline),
        namespace: call.namespace.or_else(|| client.namespace.clone()),
        traceparent: call.traceparent.or_else(|| client.traceparent.clone()),
        read_level: call.read_level.or(client.read_level),
        session: call.session.or_else(|| client.session.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_the_core_s_except_for_the_name() {
        let (options, core) = (Settings::new("c/1").options(), Options::default());
        assert_eq!((options.deadline, options.ping), (core.deadline, core.ping));
        assert_eq!(options.client_name, "c/1");
        let named = Settings { client_name: Some("shop".into()), ..Settings::new("c/1") };
        assert_eq!(named.options().client_name, "shop");
    }

    #[test]
    fn a_call_s_own_options_go_before_its_client_s() {
        let client = CallOptions {
            deadline: Some(Duration::from_secs(1)),
            namespace: Some("client".into()),
            ..CallOptions::default()
        };
        let call = CallOptions { namespace: Some(String::new()), ..CallOptions::default() };
        let over = over(call, &client);
        assert_eq!((over.deadline, over.namespace.as_deref()), (client.deadline, Some("")));
    }
}
