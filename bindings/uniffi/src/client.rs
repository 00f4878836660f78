//! The client.

use std::sync::Arc;
use std::time::Duration;

use slotkv_facade::core::{self, Answer, Command, Condition};
use slotkv_facade::error::FacadeError;
use slotkv_facade::guard::guard;
use slotkv_facade::handle::Handle;
use slotkv_facade::nonblocking::AsyncClient;
use slotkv_facade::port::{Port, Reply};

use crate::arguments::{ConnectOptions, Pair, Range, ReadLevel, call_options, default_settings};
use crate::bridge::{Bridge, Slot};
use crate::errors::SlotkvError;
use crate::results::{
    Delete, DeleteResult, Deletes, Entry, Item, Put, PutResult, Puts, ValueResult, Values, WriteOutcome,
    many, strange,
};
use crate::scan::Scan;
use crate::view::{ClusterStatus, Explain, Stats};

/// Connects to a cluster: `slotkv://host:port[,host:port...][/namespace][?option=value]`, with masters or any members of
/// it.
#[uniffi::export(default(options = None))]
pub async fn connect(uri: String, options: Option<ConnectOptions>) -> Result<Arc<Client>, SlotkvError> {
    let settings = options.map_or_else(default_settings, Into::into);
    let reply = begun(|port, slot| AsyncClient::connect(port, uri, settings, slot)).await?;
    match reply {
        Reply::Client(client) => Ok(Arc::new(Client(*client))),
        other => Err(strange(other).into()),
    }
}

/// A connection to a cluster, or a view of one, for any number of threads. Any number of calls may be open at once.
#[derive(uniffi::Object)]
pub struct Client(AsyncClient);

#[uniffi::export]
impl Client {
    /// The value of a key, if it exists.
    #[uniffi::method(default(deadline = None))]
    pub async fn get(
        &self,
        key: Vec<u8>,
        deadline: Option<Duration>,
    ) -> Result<Option<Vec<u8>>, SlotkvError> {
        match self.call(Command::Get { key: key.into() }, deadline).await? {
            Answer::Entry(entry) => Ok(entry.map(|entry| entry.value.into())),
            other => Err(strange(other).into()),
        }
    }

    /// The value of a key with its version, if it exists.
    #[uniffi::method(default(deadline = None))]
    pub async fn get_entry(
        &self,
        key: Vec<u8>,
        deadline: Option<Duration>,
    ) -> Result<Option<Entry>, SlotkvError> {
        match self.call(Command::Get { key: key.into() }, deadline).await? {
            Answer::Entry(entry) => Ok(entry.map(Entry::from)),
            other => Err(strange(other).into()),
        }
    }

    /// Whether a key exists.
    #[uniffi::method(default(deadline = None))]
    pub async fn has(&self, key: Vec<u8>, deadline: Option<Duration>) -> Result<bool, SlotkvError> {
        match self.call(Command::Has { key: key.into() }, deadline).await? {
            Answer::Has(has) => Ok(has),
            other => Err(strange(other).into()),
        }
    }

    /// Stores a value. The key lives for ever, or for `ttl`.
    #[uniffi::method(default(ttl = None, deadline = None))]
    pub async fn put(
        &self,
        key: Vec<u8>,
        value: Vec<u8>,
        ttl: Option<Duration>,
        deadline: Option<Duration>,
    ) -> Result<Put, SlotkvError> {
        self.put_if(key, value, Condition::Always, ttl, deadline).await
    }

    /// Stores a value if the key is absent; otherwise the result is `Unmet` with the key's version.
    #[uniffi::method(default(ttl = None, deadline = None))]
    pub async fn put_if_absent(
        &self,
        key: Vec<u8>,
        value: Vec<u8>,
        ttl: Option<Duration>,
        deadline: Option<Duration>,
    ) -> Result<Put, SlotkvError> {
        self.put_if(key, value, Condition::Absent, ttl, deadline).await
    }

    /// Stores a value if the key exists; otherwise the result is `Unmet`.
    #[uniffi::method(default(ttl = None, deadline = None))]
    pub async fn update_if_present(
        &self,
        key: Vec<u8>,
        value: Vec<u8>,
        ttl: Option<Duration>,
        deadline: Option<Duration>,
    ) -> Result<Put, SlotkvError> {
        self.put_if(key, value, Condition::Present, ttl, deadline).await
    }

    /// Stores a value if the key exists in `version`; otherwise the result is `Unmet` with the key's version.
    #[uniffi::method(default(ttl = None, deadline = None))]
    pub async fn compare_and_set(
        &self,
        key: Vec<u8>,
        value: Vec<u8>,
        version: u64,
        ttl: Option<Duration>,
        deadline: Option<Duration>,
    ) -> Result<Put, SlotkvError> {
        self.put_if(key, value, Condition::Version(version), ttl, deadline).await
    }

    /// Gives a key that exists a new lifetime, from now on; its value stays, its version grows. If there is no such key, the
    /// result is `Unmet`.
    #[uniffi::method(default(deadline = None))]
    pub async fn expire(
        &self,
        key: Vec<u8>,
        ttl: Duration,
        deadline: Option<Duration>,
    ) -> Result<Put, SlotkvError> {
        self.stored(Command::Expire { key: key.into(), ttl: Some(ttl) }, deadline).await
    }

    /// Lets a key that exists live for ever; its value stays, its version grows. If there is no such key, the result is
    /// `Unmet`.
    #[uniffi::method(default(deadline = None))]
    pub async fn persist(&self, key: Vec<u8>, deadline: Option<Duration>) -> Result<Put, SlotkvError> {
        self.stored(Command::Expire { key: key.into(), ttl: None }, deadline).await
    }

    /// Removes a key.
    #[uniffi::method(default(deadline = None))]
    pub async fn delete(&self, key: Vec<u8>, deadline: Option<Duration>) -> Result<Delete, SlotkvError> {
        self.delete_if(key, Condition::Always, deadline).await
    }

    /// Removes a key if it exists in `version`; otherwise the result is `Unmet` with the key's version.
    #[uniffi::method(default(deadline = None))]
    pub async fn delete_if_version(
        &self,
        key: Vec<u8>,
        version: u64,
        deadline: Option<Duration>,
    ) -> Result<Delete, SlotkvError> {
        self.delete_if(key, Condition::Version(version), deadline).await
    }

    /// Adds to a decimal number of 64 bits; the result is the sum. An absent key counts as 0.
    #[uniffi::method(default(delta = 1, deadline = None))]
    pub async fn increment(
        &self,
        key: Vec<u8>,
        delta: i64,
        deadline: Option<Duration>,
    ) -> Result<i64, SlotkvError> {
        match self.call(Command::Increment { key: key.into(), delta }, deadline).await? {
            Answer::Number(number) => Ok(number),
            other => Err(strange(other).into()),
        }
    }

    /// What came of a write whose outcome is unknown, by the token of its error. If it was not applied, it never will be.
    #[uniffi::method(default(deadline = None))]
    pub async fn outcome(
        &self,
        token: Vec<u8>,
        deadline: Option<Duration>,
    ) -> Result<WriteOutcome, SlotkvError> {
        match self.call(Command::Outcome { token: token.into() }, deadline).await? {
            Answer::Outcome(outcome) => Ok(outcome.into()),
            other => Err(strange(other).into()),
        }
    }

    /// The values of many keys, in their order.
    #[uniffi::method(default(deadline = None))]
    pub async fn get_many(
        &self,
        keys: Vec<Vec<u8>>,
        deadline: Option<Duration>,
    ) -> Result<Values, SlotkvError> {
        let commands = keys.into_iter().map(|key| Command::Get { key: key.into() });
        let one = |answer| match answer {
            Answer::Entry(entry) => Ok(ValueResult::Value { value: entry.map(|entry| entry.value.into()) }),
            other => Err(strange(other)),
        };
        let answers = self.many(commands, deadline).await?;
        let (results, failure) = many(answers, one, |failure| ValueResult::Failed { failure })?;
        Ok(Values { results, failure })
    }

    /// Stores many values; each key has its own result, in their order.
    #[uniffi::method(default(ttl = None, deadline = None))]
    pub async fn put_many(
        &self,
        pairs: Vec<Pair>,
        ttl: Option<Duration>,
        deadline: Option<Duration>,
    ) -> Result<Puts, SlotkvError> {
        let commands = pairs.into_iter().map(|Pair { key, value }| Command::Put {
            key: key.into(),
            value: value.into(),
            condition: Condition::Always,
            ttl,
        });
        let one = |answer| match answer {
            Answer::Put(put) => Ok(PutResult::Done { put: put.into() }),
            other => Err(strange(other)),
        };
        let answers = self.many(commands, deadline).await?;
        let (results, failure) = many(answers, one, |failure| PutResult::Failed { failure })?;
        Ok(Puts { results, failure })
    }

    /// Removes many keys; each has its own result, in their order.
    #[uniffi::method(default(deadline = None))]
    pub async fn delete_many(
        &self,
        keys: Vec<Vec<u8>>,
        deadline: Option<Duration>,
    ) -> Result<Deletes, SlotkvError> {
        let commands =
            keys.into_iter().map(|key| Command::Delete { key: key.into(), condition: Condition::Always });
        let one = |answer| match answer {
            Answer::Delete(delete) => Ok(DeleteResult::Done { delete: delete.into() }),
            other => Err(strange(other)),
        };
        let answers = self.many(commands, deadline).await?;
        let (results, failure) = many(answers, one, |failure| DeleteResult::Failed { failure })?;
        Ok(Deletes { results, failure })
    }

    /// How many keys there are.
    #[uniffi::method(default(deadline = None))]
    pub async fn count(&self, range: Range, deadline: Option<Duration>) -> Result<u64, SlotkvError> {
        match self.call(Command::Count { range: range.into() }, deadline).await? {
            Answer::Count(count) => Ok(count),
            other => Err(strange(other).into()),
        }
    }

    /// Goes over keys with their values: in slot order, or `ordered`; from the place of a cursor, and to its end or for so
    /// many items. `deadline` is for each page.
    #[uniffi::method(default(cursor = None, limit = None, deadline = None))]
    pub fn scan(
        &self,
        range: Range,
        cursor: Option<Vec<u8>>,
        limit: Option<u64>,
        deadline: Option<Duration>,
    ) -> Result<Arc<Scan>, SlotkvError> {
        let scan = guard(|| {
            let cursor = cursor.map(Into::into);
            Ok(self.0.scan(range.into(), cursor, limit, call_options(deadline)))
        })?;
        Ok(Arc::new(Scan::new(scan)))
    }

    /// Every item, in key order. For debugging: it has to fit into memory.
    #[uniffi::method(default(deadline = None))]
    pub async fn dump(&self, range: Range, deadline: Option<Duration>) -> Result<Vec<Item>, SlotkvError> {
        let options = call_options(deadline);
        match begun(|port, slot| self.0.dump(port, range.into(), options, slot)).await? {
            Reply::Items(items) => Ok(items.into_iter().map(Item::from).collect()),
            other => Err(strange(other).into()),
        }
    }

    /// The slot of a key.
    pub fn slot(&self, key: Vec<u8>) -> Result<u16, SlotkvError> {
        Ok(guard(|| Ok(self.0.core()?.slot(&key)))?)
    }

    /// Where calls for a key go, and why.
    pub fn explain(&self, key: Vec<u8>) -> Result<Explain, SlotkvError> {
        Ok(guard(|| Ok(self.0.core()?.explain(&key).into()))?)
    }

    /// What this client has done so far, and its state now.
    pub fn stats(&self) -> Result<Stats, SlotkvError> {
        Ok(guard(|| Ok(self.0.core()?.stats().into()))?)
    }

    /// What a master says of the whole cluster.
    pub async fn status(&self) -> Result<ClusterStatus, SlotkvError> {
        match begun(|port, slot| self.0.status(port, slot)).await? {
            Reply::Status(status) => Ok((*status).into()),
            other => Err(strange(other).into()),
        }
    }

    /// The same connections, for the keys of another namespace; an empty name is the one without a name.
    pub fn namespace(&self, name: String) -> Result<Arc<Self>, SlotkvError> {
        Ok(guard(|| Ok(Arc::new(Self(self.0.namespace(&name)?))))?)
    }

    /// The same connections, with another deadline for calls that name none.
    pub fn with_deadline(&self, deadline: Duration) -> Arc<Self> {
        Arc::new(Self(self.0.with_deadline(deadline)))
    }

    /// The same connections, for calls that are part of a trace: a W3C traceparent travels with each of them.
    pub fn with_traceparent(&self, traceparent: String) -> Arc<Self> {
        Arc::new(Self(self.0.with_traceparent(traceparent)))
    }

    /// The same connections, with another freshness of reads that name none.
    pub fn with_read_level(&self, level: ReadLevel) -> Arc<Self> {
        Arc::new(Self(self.0.with_read_level(level.into())))
    }

    /// The same connections, for reads that may be older by so much, and are answered by any replica that is fresh enough.
    pub fn with_staleness(&self, staleness: Duration) -> Arc<Self> {
        Arc::new(Self(self.0.with_read_level(core::ReadLevel::Bounded(staleness))))
    }

    /// What the session has seen, as opaque bytes for another process or language.
    pub fn session_token(&self) -> Result<Vec<u8>, SlotkvError> {
        Ok(guard(|| Ok(self.0.session_token()?.into()))?)
    }

    /// The same connections, for a session that goes on where a token stands; of no bytes, one that has seen nothing.
    pub fn with_session_token(&self, token: Vec<u8>) -> Result<Arc<Self>, SlotkvError> {
        Ok(guard(|| Ok(Arc::new(Self(self.0.with_session_token(&token)?))))?)
    }

    /// Ends the client and whatever shares its connections, in bounded time. Closing again does nothing.
    pub async fn close(&self) -> Result<(), SlotkvError> {
        match begun(|port, slot| self.0.close(port, slot)).await? {
            Reply::Closed => Ok(()),
            other => Err(strange(other).into()),
        }
    }
}

impl Client {
    async fn put_if(
        &self,
        key: Vec<u8>,
        value: Vec<u8>,
        condition: Condition,
        ttl: Option<Duration>,
        deadline: Option<Duration>,
    ) -> Result<Put, SlotkvError> {
        self.stored(Command::Put { key: key.into(), value: value.into(), condition, ttl }, deadline).await
    }

    async fn stored(&self, command: Command, deadline: Option<Duration>) -> Result<Put, SlotkvError> {
        match self.call(command, deadline).await? {
            Answer::Put(put) => Ok(put.into()),
            other => Err(strange(other).into()),
        }
    }

    async fn delete_if(
        &self,
        key: Vec<u8>,
        condition: Condition,
        deadline: Option<Duration>,
    ) -> Result<Delete, SlotkvError> {
        match self.call(Command::Delete { key: key.into(), condition }, deadline).await? {
            Answer::Delete(delete) => Ok(delete.into()),
            other => Err(strange(other).into()),
        }
    }

    async fn many(
        &self,
        commands: impl Iterator<Item = Command>,
        deadline: Option<Duration>,
    ) -> Result<Vec<slotkv_facade::core::Result<Answer>>, FacadeError> {
        match self.call(Command::Many { commands: commands.collect() }, deadline).await? {
            Answer::Many(answers) => Ok(answers),
            other => Err(strange(other)),
        }
    }

    async fn call(&self, command: Command, deadline: Option<Duration>) -> Result<Answer, FacadeError> {
        let options = call_options(deadline);
        // The port rings by itself: it is one for any number of threads.
        let begin = |port: &Port<Arc<Slot>>, slot| Ok(self.0.submit(port, command, options, slot)?.0);
        match begun(begin).await? {
            Reply::Answer(answer) => Ok(answer),
            other => Err(strange(other)),
        }
    }
}

/// Begins a call, and awaits its end.
pub async fn begun(
    begin: impl FnOnce(&Port<Arc<Slot>>, Arc<Slot>) -> Result<Handle, FacadeError>,
) -> Result<Reply, FacadeError> {
    Bridge::get()?.begin(begin)?.await
}
