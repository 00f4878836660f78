//! The masters: which there are, which answered last, and the first table.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use slotkv_proto::{Code, SlotTable, handshake, seam::Chance, v1};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Routing;
use crate::{Error, Options, Result, stats::count};

/// Masters that are remembered; further ones of a reply are ignored.
pub(crate) const MASTERS_MAX: usize = 64;
/// Members that are asked for the same thing at once.
pub(crate) const ASKED_AT_ONCE_MAX: usize = 16;
/// How long a member has to itself to answer before others are asked the same, in milliseconds.
const WIDEN_MS: u64 = 200;
/// How long a master may take to answer a ping, in milliseconds.
pub(crate) const PING_TIMEOUT_MS: u64 = 1_000;
/// Pause between two rounds of asking every host for the first table, in milliseconds.
const CONNECT_PAUSE_MS: u64 = 100;

/// What is known of the masters.
pub(crate) struct Masters {
    /// From the URI: masters or any members.
    hosts: Vec<String>,
    /// From the latest ping.
    known: Vec<String>,
    good: Option<String>,
}

impl Masters {
    pub fn new(hosts: Vec<String>) -> Self {
        Self { hosts, known: Vec::new(), good: None }
    }

    /// Who answered last.
    pub fn good(&self) -> Option<String> {
        self.good.clone()
    }

    /// Everybody else, the masters first, each once.
    pub fn others(&self) -> Vec<String> {
        let mut others: Vec<String> = Vec::new();
        for address in self.known.iter().chain(&self.hosts) {
            if self.good.as_ref() != Some(address) && !others.contains(address) {
                others.push(address.clone());
            }
        }
        others
    }

    /// Everybody once, in random order: the masters, or who may be one, and then `members`.
    pub fn at_random(&self, members: &[String], chance: &dyn Chance) -> Vec<String> {
        let masters = if self.known.is_empty() { &self.hosts } else { &self.known };
        let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
        for addresses in [masters, &self.hosts, members] {
            let mut new: Vec<_> = addresses.iter().filter(|&address| seen.insert(address)).cloned().collect();
            for last in (1..new.len()).rev() {
                new.swap(last, chance.below(last as u64 + 1) as usize);
            }
            order.extend(new);
        }
        order
    }

    /// Everybody, the good one first.
    pub fn in_order(&self) -> Vec<String> {
        self.good.iter().cloned().chain(self.others()).collect()
    }

    /// Takes the list of a reply, and the one who replied as good: if it is a master.
    fn answered(&mut self, address: String, masters: Vec<String>) {
        if !masters.is_empty() {
            self.known = masters;
            self.known.truncate(MASTERS_MAX);
        }
        let master = self.known.is_empty() || self.known.contains(&address);
        self.good = master.then_some(address);
    }
}

impl Routing {
    /// Pings the last good master until the client stops; when it does not answer, the others in parallel.
    pub(super) async fn ping(self: Arc<Self>) {
        let context = self.setup.context.clone();
        loop {
            let (good, others) = {
                let masters = self.masters();
                (masters.good(), masters.others())
            };
            let mut answer = None;
            for round in [good.into_iter().collect(), others] {
                let asked =
                    ask_all(round, Duration::from_millis(PING_TIMEOUT_MS), |address| self.ping_one(address));
                let Some(answered) = self.until_stopped(asked).await else { return };
                if answered.is_some() {
                    answer = answered;
                    break;
                }
            }
            match answer {
                Some((address, reply)) => {
                    let snapshot = self.load();
                    let ours = (snapshot.table.version(), snapshot.table.route_revisions());
                    if reply.table_version > ours.0 || reply.route_revisions > ours.1 {
                        self.want_refresh();
                    }
                    drop(snapshot);
                    self.masters().answered(address, reply.masters);
                }
                None => {
                    self.masters().good = None;
                    count(&context.counters.pings_failed);
                    tracing::debug!("no master answers");
                }
            }
            self.look_for_quiet();
            if self.until_stopped(sleep(self.setup.ping)).await.is_none() {
                return;
            }
        }
    }

    async fn ping_one(&self, address: String) -> Option<v1::PingReply> {
        let context = &self.setup.context;
        let request = {
            let table = &self.load().table;
            v1::PingRequest {
                version_min: handshake::VERSION_MIN,
                version_max: handshake::VERSION_MAX,
                cluster_id: context.cluster_id.clone(),
                client_id: context.client_id.clone(),
                client_name: context.client_name.clone(),
                table_version: table.version(),
                route_revisions: table.route_revisions(),
                ..Default::default()
            }
        };
        let refusal = match context.transport.ping(&address, request).await {
            Ok(reply) if handshake::agree(reply.version, reply.version).is_none() => {
                count(&context.counters.wrong_version);
                tracing::debug!("{address} is ignored: it answers in protocol version {}", reply.version);
                return None;
            }
            Ok(reply) if reply.cluster_id == context.cluster_id => return Some(reply),
            Ok(reply) => format!("it belongs to cluster {:?}", reply.cluster_id),
            Err(error) if error.code == Code::WrongCluster => error.message,
            Err(error) => {
                tracing::debug!("{address} does not answer the ping: {error}");
                return None;
            }
        };
        count(&context.counters.wrong_cluster);
        tracing::debug!("{address} is ignored: {refusal}");
        None
    }
}

/// Asks everybody in parallel, [`ASKED_AT_ONCE_MAX`] at a time; the first good answer and who gave it.
pub(super) async fn ask_all<T, F: Future<Output = Option<T>>>(
    addresses: Vec<String>,
    patience: Duration,
    ask: impl Fn(String) -> F,
) -> Option<(String, T)> {
    for addresses in addresses.chunks(ASKED_AT_ONCE_MAX) {
        let mut asked: FuturesUnordered<_> = addresses
            .iter()
            .map(|address| {
                let answer = timeout(patience, ask(address.clone()));
                async { answer.await.ok().flatten().map(|answer| (address.clone(), answer)) }
            })
            .collect();
        while let Some(answer) = asked.next().await {
            if answer.is_some() {
                return answer;
            }
        }
    }
    None
}

/// Asks one, and if it does not answer soon two more, then four, and so on, without giving up on those asked before; the
/// first good answer and who gave it.
pub(super) async fn ask_widening<T, F: Future<Output = Option<T>>>(
    addresses: Vec<String>,
    patience: Duration,
    ask: impl Fn(String) -> F,
) -> Option<(String, T)> {
    let mut left = addresses.into_iter().peekable();
    let mut asked = FuturesUnordered::new();
    let mut wave = 1;
    loop {
        let room = ASKED_AT_ONCE_MAX - asked.len();
        asked.extend(left.by_ref().take(wave.min(room)).map(|address| {
            let answer = timeout(patience, ask(address.clone()));
            async { answer.await.ok().flatten().map(|answer| (address, answer)) }
        }));
        wave = (2 * wave).min(ASKED_AT_ONCE_MAX);
        let widen = Instant::now() + Duration::from_millis(WIDEN_MS);
        loop {
            let next = match left.peek() {
                Some(_) => timeout_at(widen, asked.next()).await,
                None => Ok(asked.next().await),
            };
            match next {
                Ok(Some(Some(answer))) => return Some(answer),
                Ok(Some(None)) => {}
                Ok(None) if left.peek().is_none() => return None,
                Ok(None) | Err(_) => break,
            }
        }
    }
}

/// The first table, of whichever host tells it first. Its cluster is the client's from then on.
pub(crate) async fn connect(hosts: &[String], options: &Options, hello: v1::Hello) -> Result<SlotTable> {
    let request = &v1::SlotTableRequest { hello: Some(hello), ..Default::default() };
    let end = Instant::now() + options.connect_timeout;
    let mut errors = vec![String::from("no answer"); hosts.len()];
    loop {
        let mut asked: FuturesUnordered<_> = hosts
            .iter()
            .enumerate()
            .map(|(index, host)| async move {
                let answer = options.transport.slot_table(host, request.clone()).await;
                let table = answer
                    .map_err(|error| error.message)
                    .and_then(|delta| SlotTable::from_delta(&delta).map_err(|error| error.to_string()));
                (index, table)
            })
            .collect();
        loop {
            match timeout_at(end, asked.next()).await {
                Ok(Some((_, Ok(table)))) => return Ok(table),
                Ok(Some((index, Err(error)))) => errors[index] = error,
                Ok(None) => break,
                Err(_) => return Err(no_master(hosts, &errors, options.connect_timeout)),
            }
        }
        drop(asked);
        let pause = CONNECT_PAUSE_MS / 2 + options.chance.below(CONNECT_PAUSE_MS);
        if timeout_at(end, sleep(Duration::from_millis(pause))).await.is_err() {
            return Err(no_master(hosts, &errors, options.connect_timeout));
        }
    }
}

fn no_master(hosts: &[String], errors: &[String], waited: Duration) -> Error {
    let each: Vec<String> =
        hosts.iter().zip(errors).map(|(host, error)| format!("{host}: {error}")).collect();
    let message = format!(
        "none of the named members told the slot table within {} ms: {}",
        waited.as_millis(),
        each.join("; ")
    );
    Error::new(Code::NoMaster, message)
}
