//! Which coordinator a text names: `zk://host:port[,host:port...][/path]`.

use std::{fmt, sync::Arc};

use crate::{Coordinator, Error, ZooKeeper, paths};

/// ZooKeeper's port, if none is named.
pub const ZOOKEEPER_PORT: u16 = 2181;
/// Most servers in one address.
pub const SERVERS_MAX: usize = 32;

/// The coordinator that `uri` names. Nothing is contacted yet.
pub fn parse(uri: &str) -> Result<Arc<dyn Coordinator>, Error> {
    Ok(Arc::new(ZooKeeper::at(Address::parse(uri)?)))
}

/// A ZooKeeper ensemble, and the node that is the root of all paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Host (IPv6 without brackets) and port of each server.
    pub servers: Vec<(String, u16)>,
    /// `/` for the ensemble's own root.
    pub root: String,
}

impl Address {
    /// Reads `zk://host:port[,host:port...][/path]`.
    pub fn parse(uri: &str) -> Result<Self, Error> {
        match uri.split_once("://") {
            Some(("zk", rest)) => Self::parse_servers(rest),
            Some(("zks", _)) => Err(Error::Invalid("zks: TLS to ZooKeeper is not built yet".into())),
            Some((scheme, _)) => {
                Err(Error::Invalid(format!("coordinator scheme {scheme:?} is not known, use zk://")))
            }
            None => {
                Err(Error::Invalid(format!("coordinator {uri:?} has no scheme, use zk://host:port/path")))
            }
        }
    }

    /// Reads `host:port[,host:port...][/path]`.
    pub fn parse_servers(text: &str) -> Result<Self, Error> {
        let (servers, root) = match text.find('/') {
            Some(at) => text.split_at(at),
            None => (text, "/"),
        };
        paths::validate(root, false)?;
        let servers = servers.split(',').map(server).collect::<Result<Vec<_>, _>>()?;
        if servers.len() > SERVERS_MAX {
            return Err(Error::Invalid(format!(
                "{} coordinator servers, the limit is {SERVERS_MAX}",
                servers.len()
            )));
        }
        Ok(Self { servers, root: root.to_owned() })
    }

    /// `host:port[,host:port...]`
    pub fn servers(&self) -> String {
        let servers: Vec<String> = self
            .servers
            .iter()
            .map(
                |(host, port)| {
                    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
                },
            )
            .collect();
        servers.join(",")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zk://{}{}", self.servers(), if self.root == "/" { "" } else { &self.root })
    }
}

fn server(text: &str) -> Result<(String, u16), Error> {
    let refuse = |why: &str| Error::Invalid(format!("coordinator server {text:?} {why}"));
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(|| refuse("lacks a ']'"))?;
            let port = match port.strip_prefix(':') {
                Some(port) => Some(port),
                None if port.is_empty() => None,
                None => return Err(refuse("has something other than a port behind the ']'")),
            };
            (host, port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'%');
    if host.is_empty() || !host.bytes().all(fine) {
        return Err(refuse("has no proper host name"));
    }
    let port = match port {
        None => ZOOKEEPER_PORT,
        Some(port) => port
            .parse()
            .ok()
            .filter(|&port| port != 0)
            .ok_or_else(|| refuse("has no port from 1 to 65535"))?,
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in ["zk://a:1", "zk://a:1,b:2/slotkv", "zk://[::1]:2181,10.0.0.1:2182/a/b"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Address::parse("zk://a,[::1]/").unwrap().to_string(), "zk://a:2181,[::1]:2181");
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for (text, why) in [
            ("a:1", "no scheme"),
            ("etcd://a:1", "\"etcd\" is not known"),
            ("zks://a:1", "TLS"),
            ("zk://", "host name"),
            ("zk://a:1,", "host name"),
            ("zk://a:0", "port"),
            ("zk://a:70000", "port"),
            ("zk://a:x", "port"),
            ("zk://[::1", "']'"),
            ("zk://[::1]x", "']'"),
            ("zk://a b:1", "host name"),
            ("zk://a:1/b/", "empty name"),
            ("zk://a:1/../b", "relative name"),
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(Address::parse(&format!("zk://{}", vec!["a"; 33].join(","))).is_err());
    }
}
