//! `slotkv://host:port[,host:port...][/namespace][?option=value&...]`: where a cluster is and how to talk to it.
//!
//! Hosts are masters or any members. Namespace and option values may be percent-encoded. What is not known is refused by
//! name, so that a misspelt option does not go unnoticed.

use std::time::Duration;

use slotkv_proto::{Code, limits};

use crate::{
    Error, Options, Result,
    options::{DEADLINE_MS_MAX, INFLIGHT_MAX_MAX},
};

/// The port of a host that names none: a master's.
pub const PORT_DEFAULT: u16 = 7700;
/// Most hosts in one URI.
pub const HOSTS_MAX: usize = 64;
/// Longest URI, in bytes.
pub const URI_BYTES_MAX: usize = 16 << 10;

/// A parsed URI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// `host:port` of masters or any members, at least one, each once.
    pub hosts: Vec<String>,
    /// Namespace of calls that name none; empty for the one without a name.
    pub namespace: String,
    /// `deadline_ms`
    pub deadline: Option<Duration>,
    /// `connect_timeout_ms`
    pub connect_timeout: Option<Duration>,
    /// `inflight_max`
    pub inflight_max: Option<usize>,
    /// `ping_ms`
    pub ping: Option<Duration>,
    /// `client_name`
    pub client_name: Option<String>,
    /// `zone`
    pub zone: Option<String>,
}

impl Target {
    /// Parses a URI. What is wrong is named in the error.
    pub fn parse(uri: &str) -> Result<Self> {
        if uri.len() > URI_BYTES_MAX {
            let message = format!("the URI has {} bytes; it may have {URI_BYTES_MAX}", uri.len());
            return Err(Error::new(Code::TooLarge, message));
        }
        let Some((scheme, rest)) = uri.split_once("://") else {
            return Err(Error::invalid(format!("{uri:?} is no URI; it begins with slotkv://")));
        };
        match scheme {
            "slotkv" => {}
            "slotkvs" => return Err(Error::new(Code::Unsupported, "slotkvs://: TLS is not built yet")),
            _ => return Err(Error::invalid(format!("unknown scheme {scheme:?}; slotkv:// is known"))),
        }
        if rest.contains('#') {
            return Err(Error::invalid("a slotkv URI has no fragment (#...)"));
        }
        let (rest, options) = rest.split_once('?').map_or((rest, ""), |(rest, options)| (rest, options));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));

        let mut target = Target { hosts: parse_hosts(hosts)?, ..Target::default() };
        target.namespace = parse_namespace(path)?;
        let mut seen = Vec::new();
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option
                .split_once('=')
                .ok_or_else(|| Error::invalid(format!("option {option:?} has no value")))?;
            if seen.contains(&name) {
                return Err(Error::invalid(format!("option {name:?} is given twice")));
            }
            seen.push(name);
            target.set(name, &decode(value)?)?;
        }
        Ok(target)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "deadline_ms" => self.deadline = Some(millis(name, value, u64::from(DEADLINE_MS_MAX))?),
            "connect_timeout_ms" => {
                self.connect_timeout = Some(millis(name, value, u64::from(DEADLINE_MS_MAX))?);
            }
            "ping_ms" => self.ping = Some(millis(name, value, u64::from(DEADLINE_MS_MAX))?),
            "inflight_max" => {
                self.inflight_max = Some(number(name, value, INFLIGHT_MAX_MAX as u64)? as usize);
            }
            "client_name" if value.len() > limits::CLIENT_NAME_BYTES_MAX => {
                return Err(Error::new(
                    Code::TooLarge,
                    format!(
                        "option client_name has {} bytes; it may have {}",
                        value.len(),
                        limits::CLIENT_NAME_BYTES_MAX
                    ),
                ));
            }
            "client_name" => self.client_name = Some(value.to_owned()),
            "zone" => self.zone = Some(value.to_owned()),
            _ => {
                return Err(Error::invalid(format!(
                    "unknown option {name:?}; known are deadline_ms, connect_timeout_ms, inflight_max, ping_ms, \
                     client_name and zone"
                )));
            }
        }
        Ok(())
    }

    /// `options` with what the URI says in their place.
    pub(crate) fn over(&self, mut options: Options) -> Options {
        options.deadline = self.deadline.unwrap_or(options.deadline);
        options.connect_timeout = self.connect_timeout.unwrap_or(options.connect_timeout);
        options.inflight_max = self.inflight_max.unwrap_or(options.inflight_max);
        options.ping = self.ping.unwrap_or(options.ping);
        if let Some(name) = &self.client_name {
            options.client_name.clone_from(name);
        }
        if self.zone.is_some() {
            options.zone.clone_from(&self.zone);
        }
        options
    }
}

/// Refuses a namespace that is too long.
pub(crate) fn check_namespace(namespace: &str) -> Result<()> {
    if namespace.len() > limits::NAMESPACE_BYTES_MAX {
        return Err(Error::new(
            Code::TooLarge,
            format!(
                "the namespace has {} bytes; it may have {}",
                namespace.len(),
                limits::NAMESPACE_BYTES_MAX
            ),
        ));
    }
    Ok(())
}

fn parse_hosts(text: &str) -> Result<Vec<String>> {
    if text.is_empty() {
        return Err(Error::invalid("the URI names no host"));
    }
    let mut hosts = Vec::new();
    for host in text.split(',') {
        let host = parse_host(host)?;
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    if hosts.len() > HOSTS_MAX {
        let message = format!("the URI names {} hosts; it may name {HOSTS_MAX}", hosts.len());
        return Err(Error::new(Code::TooLarge, message));
    }
    Ok(hosts)
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`, with the port filled in.
fn parse_host(text: &str) -> Result<String> {
    let malformed = |why: &str| Error::invalid(format!("host {text:?}: {why}"));
    if text.contains('@') {
        return Err(malformed("a user or password is not taken in the URI"));
    }
    let (name, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or_else(|| malformed("the [ is not closed"))?;
        let address: std::net::Ipv6Addr =
            address.parse().map_err(|_| malformed("there is no IPv6 address between [ and ]"))?;
        let port = match rest {
            "" => None,
            _ => Some(rest.strip_prefix(':').ok_or_else(|| malformed("only :port may follow the ]"))?),
        };
        (format!("[{address}]"), port)
    } else {
        match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(malformed("an IPv6 address stands in [ and ]"));
            }
            Some((name, port)) => (name.to_owned(), Some(port)),
            None => (text.to_owned(), None),
        }
    };
    if name.is_empty() {
        return Err(malformed("the name is missing"));
    }
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
    if let Some(byte) = name.bytes().find(|&byte| !known(byte)) {
        return Err(malformed(&format!("{:?} cannot be in a name", char::from(byte))));
    }
    let port = match port {
        None => PORT_DEFAULT,
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err(malformed(&format!("port {port:?} is not 1 to 65535"))),
            Ok(_) if port.starts_with('+') => return Err(malformed(&format!("port {port:?} is no number"))),
            Ok(port) => port,
        },
    };
    Ok(format!("{name}:{port}"))
}

fn parse_namespace(path: &str) -> Result<String> {
    if path.contains('/') {
        return Err(Error::invalid(format!("namespace {path:?}: a / in it is written %2F")));
    }
    let namespace = decode(path)?;
    check_namespace(&namespace)?;
    Ok(namespace)
}

fn millis(name: &str, value: &str, max: u64) -> Result<Duration> {
    number(name, value, max).map(Duration::from_millis)
}

fn number(name: &str, value: &str, max: u64) -> Result<u64> {
    value
        .parse()
        .ok()
        .filter(|number| (1..=max).contains(number) && !value.starts_with('+'))
        .ok_or_else(|| Error::invalid(format!("option {name}: {value:?} is not a number from 1 to {max}")))
}

fn decode(text: &str) -> Result<String> {
    let malformed = || Error::invalid(format!("{text:?}: % stands before two hexadecimal digits of UTF-8"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(malformed);
        bytes.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(uri: &str) -> Error {
        Target::parse(uri).expect_err(uri)
    }

    #[test]
    fn hosts_namespace_and_options_are_read() {
        let target = Target::parse(
            "slotkv://a:1,b.example:22,[::1]:7700/app%2Fone?deadline_ms=250&ping_ms=100&inflight_max=7\
             &connect_timeout_ms=9&client_name=my%20app&zone=north",
        )
        .unwrap();
        assert_eq!(
            target,
            Target {
                hosts: vec!["a:1".into(), "b.example:22".into(), "[::1]:7700".into()],
                namespace: "app/one".into(),
                deadline: Some(Duration::from_millis(250)),
                connect_timeout: Some(Duration::from_millis(9)),
                inflight_max: Some(7),
                ping: Some(Duration::from_millis(100)),
                client_name: Some("my app".into()),
                zone: Some("north".into()),
            }
        );
    }

    #[test]
    fn a_missing_port_is_the_masters_and_a_host_named_twice_counts_once() {
        let target = Target::parse("slotkv://a,a:7700,[2001:DB8::1]").unwrap();
        assert_eq!(target.hosts, ["a:7700", "[2001:db8::1]:7700"]);
        assert_eq!(target.namespace, "");
        assert_eq!(Target::parse("slotkv://a/").unwrap().namespace, "");
        assert_eq!(Target::parse("slotkv://a/?").unwrap(), Target::parse("slotkv://a").unwrap());
    }

    #[test]
    fn tls_is_refused_plainly_and_never_becomes_plaintext() {
        let error = refused("slotkvs://a:1");
        assert_eq!(error.code, Code::Unsupported);
        assert!(error.message.contains("TLS is not built yet"), "{error}");
    }

    #[test]
    fn what_is_unknown_or_malformed_is_named() {
        for (uri, named) in [
            ("", "no URI"),
            ("localhost:7700", "no URI"),
            ("redis://a", "\"redis\""),
            ("slotkv://", "no host"),
            ("slotkv:///name", "no host"),
            ("slotkv://a,,b", "name is missing"),
            ("slotkv://:7700", "name is missing"),
            ("slotkv://a:", "port \"\""),
            ("slotkv://a:0", "port \"0\""),
            ("slotkv://a:65536", "port \"65536\""),
            ("slotkv://a:+1", "port \"+1\""),
            ("slotkv://a:http", "port \"http\""),
            ("slotkv://::1", "[ and ]"),
            ("slotkv://[::1", "not closed"),
            ("slotkv://[zz]:1", "IPv6"),
            ("slotkv://[::1]7700", ":port"),
            ("slotkv://u:p@a:1", "user or password"),
            ("slotkv://a b:1", "' '"),
            ("slotkv://a:1/x/y", "%2F"),
            ("slotkv://a:1/%zz", "hexadecimal"),
            ("slotkv://a:1/%f", "hexadecimal"),
            ("slotkv://a:1/%ff", "UTF-8"),
            ("slotkv://a:1?colour=red", "\"colour\""),
            ("slotkv://a:1?deadline_ms", "no value"),
            ("slotkv://a:1?deadline_ms=", "deadline_ms"),
            ("slotkv://a:1?deadline_ms=0", "1 to 300000"),
            ("slotkv://a:1?deadline_ms=300001", "1 to 300000"),
            ("slotkv://a:1?deadline_ms=-5", "1 to 300000"),
            ("slotkv://a:1?inflight_max=1e9", "inflight_max"),
            ("slotkv://a:1?ping_ms=1&ping_ms=2", "twice"),
            ("slotkv://a:1#top", "fragment"),
        ] {
            let error = refused(uri);
            assert_eq!(error.code, Code::InvalidArgument, "{uri}");
            assert!(error.message.contains(named), "{uri}: {error}");
        }
    }

    #[test]
    fn what_is_past_a_limit_is_refused_with_the_limit() {
        let namespace = "n".repeat(limits::NAMESPACE_BYTES_MAX);
        assert!(Target::parse(&format!("slotkv://a/{namespace}")).is_ok());
        let hosts: Vec<_> = (0..=HOSTS_MAX).map(|host| format!("h{host}")).collect();
        for (uri, limit) in [
            (format!("slotkv://a/{namespace}n"), limits::NAMESPACE_BYTES_MAX),
            (format!("slotkv://a?client_name={}", "n".repeat(257)), limits::CLIENT_NAME_BYTES_MAX),
            (format!("slotkv://{}", hosts.join(",")), HOSTS_MAX),
            (format!("slotkv://{}", "a".repeat(URI_BYTES_MAX)), URI_BYTES_MAX),
        ] {
            let error = refused(&uri);
            assert_eq!(error.code, Code::TooLarge, "{error}");
            assert!(error.message.contains(&limit.to_string()), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_fail_otherwise(text in ".*") {
            let _ = Target::parse(&text);
            let _ = Target::parse(&format!("slotkv://{text}"));
        }
    }
}
