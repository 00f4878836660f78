//! `torture-final URI FOLDER [WORKER...]`: the last look at a cluster that is whole again. Reads every key that the clients
//! used and tells it as an operation in `FOLDER/final.ops`; a scan has to have the same keys; and each worker has to hold
//! the same as the others, as far as it holds a key's shard; and each slot has to be served by the shard that the slot table
//! names, and by no other. What is wrong it says in lines that begin with `wrong`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Write,
    path::Path,
    time::Duration,
};

use slotkv::{Client, Range};
use slotkv_proto::v1::{ReadLevel, Request, Status, store_client::StoreClient};
use slotkv_tests::simulation::history::{Call, End, Event};
use slotkv_torture::{line, now, owners, verdict, work};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Endpoint;

/// Longest time for one read: recovery is over by then.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest time for replicas to become equal.
const EQUAL_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

type Held = BTreeMap<String, Option<(u64, u64)>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [uri, folder, workers @ ..] = &*arguments else {
        return Err("usage: torture-final URI FOLDER [WORKER...]".into());
    };
    let folder = Path::new(folder);
    let keys: BTreeSet<String> = verdict::read(folder)?.into_iter().map(|event| event.key).collect();
    let begun = Instant::now();
    let client = Client::connect(uri).await?.with_deadline(PATIENCE);
    let mut file = File::create(folder.join("final.ops"))?;
    let mut held = Held::new();
    for key in keys {
        let begun = now();
        let end = work::ask(&client, &key, &Call::Get).await;
        match end {
            End::Read(read) => {
                held.insert(key.clone(), read);
            }
            _ => println!("wrong key {key} cannot be read within {} s", PATIENCE.as_secs()),
        }
        writeln!(file, "{}", line::text(&Event { key, call: Call::Get, begun, ended: now(), end }))?;
    }
    println!("last look: {} keys read in {:.1} s", held.len(), begun.elapsed().as_secs_f64());

    let mut scan = client.scan(Range::default())?;
    let mut left: BTreeSet<&String> =
        held.iter().filter(|(_, read)| read.is_some()).map(|(key, _)| key).collect();
    while let Some(item) = scan.next().await {
        let key = String::from_utf8_lossy(&item?.key).into_owned();
        if !left.remove(&key) {
            println!("wrong a scan finds {key}, and a read does not");
        }
    }
    for key in left {
        println!("wrong a read finds {key}, and a scan does not");
    }
    if !workers.is_empty() {
        match timeout(EQUAL_MAX + PATIENCE, one_owner(&client, workers)).await {
            Ok(Ok(line)) => println!("{line}"),
            Ok(Err(why)) => println!("wrong owner: {why}"),
            Err(_) => println!("wrong owner: workers do not answer"),
        }
    }
    client.close().await;

    for worker in workers {
        match timeout(EQUAL_MAX + PATIENCE, compare(worker, &held)).await {
            Ok(Ok(count)) => println!("replica {worker}: {count} keys as they should be"),
            Ok(Err(why)) => println!("wrong replica {worker}: {why}"),
            Err(_) => println!("wrong replica {worker} does not answer"),
        }
    }
    Ok(())
}

/// Asks every worker about every slot; replicas that were away have to catch up first.
async fn one_owner(client: &Client, workers: &[String]) -> Result<String, String> {
    let end = Instant::now() + EQUAL_MAX;
    loop {
        let table = client.slot_table();
        match owners::check(&table, workers).await {
            Ok(count) => {
                return Ok(format!("owners: {count} answers fit the table: {}", owners::shares(&table)));
            }
            Err(why) if Instant::now() > end => return Err(why),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Reads every key of one replica without asking whether it is up to date; it has to become so.
async fn compare(worker: &str, held: &Held) -> Result<usize, String> {
    let end = Instant::now() + EQUAL_MAX;
    loop {
        match compared(worker, held).await {
            Ok(count) if count > 0 => return Ok(count),
            Err(why) if Instant::now() > end => return Err(why),
            Ok(_) if Instant::now() > end => return Err("it has no key at all".into()),
            _ => sleep(PAUSE).await,
        }
    }
}

async fn compared(worker: &str, held: &Held) -> Result<usize, String> {
    let endpoint = Endpoint::from_shared(format!("http://{worker}")).map_err(|error| error.to_string())?;
    let mut store = StoreClient::new(endpoint.connect().await.map_err(|error| error.to_string())?);
    let mut count = 0;
    for (key, expected) in held {
        let mut request = Request { key: key.clone().into_bytes().into(), ..Request::default() };
        request.set_read_level(ReadLevel::Stale);
        let reply = match store.get(request).await {
            Ok(reply) => reply.into_inner(),
            // Another shard's.
            Err(status) if status.message().contains("MOVED") => continue,
            Err(status) => return Err(format!("key {key}: {status}")),
        };
        let found = match reply.status() {
            Status::Found => {
                let value = String::from_utf8_lossy(&reply.value).parse().unwrap_or(u64::MAX);
                Some((reply.version, value))
            }
            _ => None,
        };
        if found != *expected {
            return Err(format!("key {key} holds {found:?}, and should {expected:?}"));
        }
        count += 1;
    }
    Ok(count)
}
