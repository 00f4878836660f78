//! A link that can go silent without closing, as when a cable is pulled or a firewall forgets a connection: both ends go on
//! believing in it. [`Through`] leads a client's connections through such links.

use std::{collections::BTreeMap, io, sync::Arc};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use slotkv::transport::{Incoming, Outgoing, TonicTransport, Transport, TransportError};
use slotkv_proto::v1;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

/// Stands before one server.
pub struct Proxy {
    address: String,
    silent: watch::Sender<Silent>,
    _listener: JoinSet<()>,
}

/// Which connections carry nothing: numbers below `before`, and if `all`, every one.
#[derive(Clone, Copy, Debug, Default)]
struct Silent {
    next: u64,
    before: u64,
    all: bool,
}

impl Proxy {
    /// Listens on a free port for connections to `server`.
    pub async fn start(server: String) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let silent = watch::Sender::new(Silent::default());
        let mut task = JoinSet::new();
        task.spawn(listen(listener, server, silent.clone()));
        Ok(Self { address, silent, _listener: task })
    }

    /// `host:port` of this end.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The connections of now carry nothing any more, for good; new ones are carried.
    pub fn silence_present(&self) {
        self.silent.send_modify(|silent| silent.before = silent.next);
    }

    /// Nothing is carried from now on; connections are accepted.
    pub fn silence_all(&self) {
        self.silent.send_modify(|silent| (silent.before, silent.all) = (silent.next, true));
    }

    /// New connections are carried again.
    pub fn carry_new(&self) {
        self.silent.send_modify(|silent| (silent.before, silent.all) = (silent.next, false));
    }
}

async fn listen(listener: TcpListener, server: String, silent: watch::Sender<Silent>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let mut number = 0;
        silent.send_modify(|silent| {
            number = silent.next;
            silent.next += 1;
        });
        connections.spawn(carry(client, server.clone(), number, silent.subscribe()));
    }
}

async fn carry(client: TcpStream, server: String, number: u64, mut silent: watch::Receiver<Silent>) {
    let carried = async {
        let server = TcpStream::connect(&server).await?;
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let pumps = (pump(from_client, to_server), pump(from_server, to_client));
        tokio::select! { ended = pumps.0 => ended, ended = pumps.1 => ended }
    };
    let silenced = async {
        if silent.wait_for(|silent| silent.all || number < silent.before).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::pin!(carried);
    tokio::select! {
        biased;
        () = silenced => {}
        _ = &mut carried => return,
    }
    // The pumps are held and not polled: both sockets stay open, and nothing passes.
    std::future::pending::<()>().await;
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer).await? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read]).await?,
        }
    }
}

/// The network of a client that reaches some members through proxies.
pub struct Through {
    inner: TonicTransport,
    links: Mutex<BTreeMap<String, Arc<Proxy>>>,
}

impl Through {
    /// Puts a proxy before each member.
    pub async fn start(members: impl IntoIterator<Item = String>) -> io::Result<Self> {
        let mut links = BTreeMap::new();
        for member in members {
            links.insert(member.clone(), Arc::new(Proxy::start(member).await?));
        }
        Ok(Self { inner: TonicTransport::default(), links: Mutex::new(links) })
    }

    /// The proxy before a member.
    pub fn link(&self, member: &str) -> Arc<Proxy> {
        self.links.lock()[member].clone()
    }

    fn way(&self, address: &str) -> String {
        let links = self.links.lock();
        links.get(address).map_or_else(|| address.to_owned(), |link| link.address().to_owned())
    }
}

impl Transport for Through {
    fn open<'a>(
        &'a self,
        address: &'a str,
        outgoing: Outgoing,
    ) -> BoxFuture<'a, Result<Incoming, TransportError>> {
        Box::pin(async move { self.inner.open(&self.way(address), outgoing).await })
    }

    fn ping<'a>(
        &'a self,
        address: &'a str,
        request: v1::PingRequest,
    ) -> BoxFuture<'a, Result<v1::PingReply, TransportError>> {
        Box::pin(async move { self.inner.ping(&self.way(address), request).await })
    }

    fn slot_table<'a>(
        &'a self,
        address: &'a str,
        request: v1::SlotTableRequest,
    ) -> BoxFuture<'a, Result<v1::TableDelta, TransportError>> {
        Box::pin(async move { self.inner.slot_table(&self.way(address), request).await })
    }

    fn status<'a>(
        &'a self,
        address: &'a str,
        request: v1::StatusRequest,
    ) -> BoxFuture<'a, Result<v1::StatusReply, TransportError>> {
        Box::pin(async move { self.inner.status(&self.way(address), request).await })
    }
}
