//! What a slot table that is old costs its client: one refusal, and a question to nobody. The members are real ones; the client
//! hears of a new table by a refusal only.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture};
use parking_lot::Mutex;
use slotkv::{
    Client, Code, Options, Range,
    transport::{Incoming, Outgoing, TonicTransport, Transport, TransportError},
};
use slotkv_daemon::dev::{Dev, DevOptions};
use slotkv_proto::v1::{self, Operation};
use slotkv_tests::{WAIT_MAX, operator::Operator};

/// The calls that are tried, each by a client of its own. Of a batch no more is refused than the keys that have moved, by leaving
/// them out; see `core/tests/routing.rs`.
const CALLS: [Operation; 8] = [
    Operation::Get,
    Operation::Has,
    Operation::Put,
    Operation::Delete,
    Operation::Increment,
    Operation::Expire,
    Operation::Count,
    Operation::Scan,
];

/// The network, with a book of what went over it.
#[derive(Default)]
struct Watched {
    network: TonicTransport,
    book: Arc<Book>,
    /// The last answer of each master, which it gives again while the client is deaf.
    pings: Mutex<BTreeMap<String, v1::PingReply>>,
    tables_asked: AtomicU64,
}

#[derive(Default)]
struct Book {
    /// What nobody asked for does not reach the client.
    is_deaf: AtomicBool,
    /// Requests, and whom they were sent to.
    requests: Mutex<Vec<(String, Operation)>>,
    /// Replies by their codes.
    codes: Mutex<Vec<u32>>,
}

impl Watched {
    /// From now on masters' answers stay what they were, and workers tell no news of their own accord.
    fn deafen(&self) {
        self.book.is_deaf.store(true, Relaxed);
        self.book.requests.lock().clear();
        self.book.codes.lock().clear();
        self.tables_asked.store(0, Relaxed);
    }

    fn requests(&self) -> Vec<(String, Operation)> {
        self.book.requests.lock().clone()
    }

    fn refusals(&self) -> usize {
        self.book.codes.lock().iter().filter(|code| **code == Code::Moved.number()).count()
    }
}

impl Transport for Watched {
    fn open<'a>(
        &'a self,
        address: &'a str,
        outgoing: Outgoing,
    ) -> BoxFuture<'a, Result<Incoming, TransportError>> {
        let (sent, received, to) = (self.book.clone(), self.book.clone(), address.to_owned());
        let outgoing = outgoing.inspect(move |frame| {
            let frame = frame.decode().expect("a frame of ours");
            let requests = frame.requests.iter().map(|request| (to.clone(), request.operation()));
            sent.requests.lock().extend(requests);
        });
        Box::pin(async move {
            let incoming = self.network.open(address, Box::pin(outgoing)).await?;
            let incoming = incoming.map(move |frame| {
                let mut frame = frame?;
                received.codes.lock().extend(frame.replies.iter().map(|reply| reply.code));
                if frame.replies.is_empty() && received.is_deaf.load(Relaxed) {
                    frame.table = None;
                }
                Ok(frame)
            });
            Ok(Box::pin(incoming) as Incoming)
        })
    }

    fn ping<'a>(
        &'a self,
        address: &'a str,
        request: v1::PingRequest,
    ) -> BoxFuture<'a, Result<v1::PingReply, TransportError>> {
        Box::pin(async move {
            let known = self.pings.lock().get(address).cloned();
            if let (true, Some(known)) = (self.book.is_deaf.load(Relaxed), known) {
                return Ok(known);
            }
            let reply = self.network.ping(address, request).await?;
            self.pings.lock().insert(address.to_owned(), reply.clone());
            Ok(reply)
        })
    }

    fn slot_table<'a>(
        &'a self,
        address: &'a str,
        request: v1::SlotTableRequest,
    ) -> BoxFuture<'a, Result<v1::TableDelta, TransportError>> {
        self.tables_asked.fetch_add(1, Relaxed);
        self.network.slot_table(address, request)
    }

    fn status<'a>(
        &'a self,
        address: &'a str,
        request: v1::StatusRequest,
    ) -> BoxFuture<'a, Result<v1::StatusReply, TransportError>> {
        self.network.status(address, request)
    }
}

/// Makes one call about the key, or about all keys that begin as it does.
async fn call(client: &Client, operation: Operation, key: &str) -> slotkv::Result<()> {
    match operation {
        Operation::Get => assert_eq!(client.get(key).await?.unwrap(), "1"),
        Operation::Has => assert!(client.has(key).await?),
        Operation::Put => drop(client.put(key, "2").await?),
        Operation::Delete => drop(client.delete(key).await?),
        Operation::Increment => assert_eq!(client.increment(key, 1).await?, 2),
        Operation::Expire => drop(client.expire(key, Duration::from_secs(600)).await?),
        Operation::Count => assert_eq!(client.count(Range::prefix(key)).await?, 1),
        Operation::Scan => assert_eq!(client.dump(Range::prefix(key)).await?.len(), 1),
        other => unreachable!("{other:?} is not among the calls"),
    }
    Ok(())
}

/// For each call a key of the shard.
fn keys_of(client: &Client, shard: u32) -> Vec<(Operation, String)> {
    let of_call = |call: Operation| {
        let names = (0..).map(|number| format!("{}/{number}/", call.as_str_name()));
        let mut here = names.filter(|name| client.explain(name.as_bytes()).shard == Some(shard));
        (call, here.next().expect("a shard with half of the slots"))
    };
    CALLS.into_iter().map(of_call).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_an_old_table_is_refused_once_and_right_at_the_next_attempt_whatever_it_asks() {
    let options = DevOptions { masters: 1, shards: 2, slots: 64, ..DevOptions::default() };
    let dev = Dev::start(options).await.unwrap();
    let filler = Client::connect(&dev.uri()).await.unwrap();
    let keys = keys_of(&filler, 0);
    let [old, new] = [0, 1].map(|shard| {
        let name = (0..).map(|number| number.to_string());
        let mut seen = name.map(|name| filler.explain(name.as_bytes()));
        seen.find(|seen| seen.shard == Some(shard)).and_then(|seen| seen.address).expect("it has a primary")
    });
    let mut clients = Vec::new();
    for (operation, key) in keys {
        filler.put(&key, "1").await.unwrap();
        let network = Arc::new(Watched::default());
        let options = Options { transport: network.clone(), ..Options::default() };
        let client = Client::connect_with(&dev.uri(), options).await.unwrap().with_deadline(WAIT_MAX);
        // A worker tells news to those only who have asked something; what is to be seen is that it need not.
        assert!(client.has(&key).await.unwrap());
        network.deafen();
        clients.push((operation, key, client, network));
    }
    let mut operator = Operator::at(&dev.master_addresses()[0]).await;
    operator.weigh(0, 0.0).await;
    operator.settled().await;

    for (operation, key, client, network) in clients {
        assert_eq!(client.explain(key.as_bytes()).shard, Some(0), "the table of {operation:?} is old");
        call(&client, operation, &key).await.unwrap();
        let (asked, stats) = (network.requests(), client.stats());
        let to = |whom: &str| asked.iter().filter(|(address, _)| address == whom).count();
        assert!(asked.iter().all(|(_, asked)| *asked == operation), "{asked:?}");
        assert_eq!((to(&old), network.refusals()), (1, 1), "{operation:?}: {asked:?}");
        // A range was begun at each of both shards.
        let ranges = usize::from(matches!(operation, Operation::Count | Operation::Scan));
        assert_eq!(to(&new), 1 + ranges, "{operation:?}: {asked:?}");
        assert_eq!(network.tables_asked.load(Relaxed), 0, "{operation:?}: a member was asked for the table");
        assert_eq!((stats.redirects, stats.retries, stats.refreshes), (1, 0, 0), "{operation:?}: {stats:?}");
        // Once is enough.
        client.has(&key).await.unwrap();
        assert_eq!((network.requests().len(), network.refusals()), (asked.len() + 1, 1), "{operation:?}");
        client.close().await;
    }
    filler.close().await;
    dev.shutdown().await;
}
