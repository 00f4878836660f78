//! Addresses: what a server binds, and what it tells others.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

/// A bound socket and the address that others reach it by.
#[derive(Debug)]
pub struct Listening {
    pub(crate) listener: TcpListener,
    bound: String,
    advertise: String,
}

/// Why an address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Neither `host` nor `host:port`.
    #[error("{given:?} is neither host nor host:port (IPv6: [::1]:7700)")]
    Malformed {
        /// What was given.
        given: String,
    },
    /// There is no port that it means by itself.
    #[error("{given:?} names no port (host:port)")]
    NoPort {
        /// What was given.
        given: String,
    },
    /// The port belongs to another process, or the address to another machine.
    #[error("cannot listen on {given}: {source}")]
    Bind {
        /// What was given.
        given: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Nobody can be told to connect to "any address".
    #[error(
        "listening on {given} takes any address; say with --advertise by which one others reach this server"
    )]
    NoAddress {
        /// What was given.
        given: String,
    },
}

impl Listening {
    /// Binds `listen` (`host` or `host:port`, port 0 for a free one). Others are told `advertise` (`host` or
    /// `host:port`), or else the bound address.
    pub fn bind(listen: &str, default_port: u16, advertise: Option<&str>) -> Result<Self, ListenError> {
        let (listener, bound) = bind(listen, Some(default_port))?;
        let advertise = match advertise {
            Some(given) => advertised(given, bound.port())?,
            None if bound.ip().is_unspecified() => {
                return Err(ListenError::NoAddress { given: listen.into() });
            }
            None => bound.to_string(),
        };
        Ok(Self { listener, bound: bound.to_string(), advertise })
    }

    /// The same socket once more: what one does not accept, the other does. Whoever connects while nobody takes connections
    /// from it waits.
    pub(crate) fn again(&self) -> std::io::Result<Self> {
        let Self { listener, bound, advertise } = self;
        let (bound, advertise) = (bound.clone(), advertise.clone());
        Ok(Self { listener: listener.try_clone()?, bound, advertise })
    }

    /// `ip:port` that is bound.
    pub fn bound(&self) -> &str {
        &self.bound
    }

    /// `host:port` that others are told.
    pub fn advertise(&self) -> &str {
        &self.advertise
    }
}

/// A socket for a runtime, and where it is.
pub(crate) fn bind(
    listen: &str,
    default_port: Option<u16>,
) -> Result<(TcpListener, SocketAddr), ListenError> {
    let (host, port) = split(listen);
    let Some(host) = host else { return Err(ListenError::Malformed { given: listen.into() }) };
    let Some(port) = port.or(default_port) else { return Err(ListenError::NoPort { given: listen.into() }) };
    let failed = |source| ListenError::Bind { given: listen.into(), source };
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(failed)?.collect();
    let listener = TcpListener::bind(&addresses[..]).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn advertised(given: &str, bound_port: u16) -> Result<String, ListenError> {
    let (Some(host), port) = split(given) else {
        return Err(ListenError::Malformed { given: given.into() });
    };
    let port = port.unwrap_or(bound_port);
    Ok(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// Host (without brackets) and port of `host:port`, `host`, `[v6]:port`, `[v6]` or `v6`; no host if it is malformed.
fn split(text: &str) -> (Option<&str>, Option<u16>) {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None => return (None, None),
        },
        None if text.matches(':').count() > 1 => (text, None),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let sound = !host.is_empty() && !host.contains(['[', ']', '/', ' ', '?']);
    match port.map(str::parse) {
        _ if !sound => (None, None),
        None => (Some(host), None),
        Some(Ok(port)) => (Some(host), Some(port)),
        Some(Err(_)) => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_is_told_as_it_was_bound() {
        let listening = Listening::bind("127.0.0.1:0", 1, None).unwrap();
        let port = listening.listener.local_addr().unwrap().port();
        assert_eq!(listening.advertise(), format!("127.0.0.1:{port}"));
        let listening = Listening::bind("127.0.0.1:0", 1, Some("kv.example")).unwrap();
        assert!(listening.advertise().starts_with("kv.example:") && !listening.advertise().ends_with(":0"));
        assert!(!Listening::bind("localhost", 0, None).unwrap().bound().ends_with(":0"));
        assert_eq!(
            Listening::bind("127.0.0.1:0", 1, Some("kv.example:9")).unwrap().advertise(),
            "kv.example:9"
        );
    }

    #[test]
    fn ipv6_addresses_stand_in_brackets() {
        assert_eq!(split("[::1]:7700"), (Some("::1"), Some(7700)));
        assert_eq!(split("::1"), (Some("::1"), None));
        assert_eq!(advertised("::1", 5).unwrap(), "[::1]:5");
        assert_eq!(advertised("[::1]:7", 5).unwrap(), "[::1]:7");
    }

    #[test]
    fn any_address_needs_one_to_tell() {
        assert!(matches!(Listening::bind("0.0.0.0:0", 1, None), Err(ListenError::NoAddress { .. })));
        assert!(Listening::bind("0.0.0.0:0", 1, Some("127.0.0.1")).is_ok());
    }

    #[test]
    fn malformed_and_taken_addresses_are_refused_by_name() {
        for bad in ["", ":7700", "h:70000", "h:x", "[::1", "[::1]7700", "slotkv://h:1"] {
            assert!(matches!(Listening::bind(bad, 0, None), Err(ListenError::Malformed { .. })), "{bad}");
        }
        let taken = Listening::bind("127.0.0.1:0", 1, None).unwrap();
        let error = Listening::bind(taken.advertise(), 1, None).unwrap_err();
        assert!(error.to_string().contains(taken.advertise()), "{error}");
    }
}
