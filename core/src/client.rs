//! The client: one object per cluster, cheap to clone, safe to share between threads and tasks.

use std::time::Duration;

use bytes::Bytes;
use slotkv_proto::{SlotTable, v1};

use crate::{
    Answer, CallOptions, Command, Delete, Entry, Explain, IntoBytes, Options, Put, Range, Result, Scan, Stats,
};

/// A connection to a cluster.
#[derive(Clone, Debug)]
pub struct Client {}

/// Cancels a call that was submitted. Dropping it does nothing.
#[derive(Debug)]
pub struct CancelHandle {}

impl CancelHandle {
    /// Ends the call: its callback gets `CANCELLED`, unless it has been called already, and the worker is told.
    pub fn cancel(&self) {
        todo!()
    }
}

#[allow(clippy::unused_async)]
impl Client {
    /// Connects to the cluster of `uri`. Must be called within a tokio runtime, on which the client's tasks run.
    pub async fn connect(_uri: &str) -> Result<Client> {
        todo!()
    }

    /// Connects with options; what the URI says of the same thing wins.
    pub async fn connect_with(_uri: &str, _options: Options) -> Result<Client> {
        todo!()
    }

    /// The same client, in another namespace; empty for the one without a name.
    pub fn namespace(&self, _name: &str) -> Result<Client> {
        todo!()
    }

    /// The same client, with another deadline for each call.
    pub fn with_deadline(&self, _deadline: Duration) -> Client {
        todo!()
    }

    /// The value of a key.
    pub async fn get(&self, _key: impl IntoBytes) -> Result<Option<Bytes>> {
        todo!()
    }

    /// The value of a key with its version.
    pub async fn get_entry(&self, _key: impl IntoBytes) -> Result<Option<Entry>> {
        todo!()
    }

    /// Whether a key exists.
    pub async fn has(&self, _key: impl IntoBytes) -> Result<bool> {
        todo!()
    }

    /// Stores a value.
    pub async fn put(&self, _key: impl IntoBytes, _value: impl IntoBytes) -> Result<Put> {
        todo!()
    }

    /// Stores a value if the key is absent.
    pub async fn put_if_absent(&self, _key: impl IntoBytes, _value: impl IntoBytes) -> Result<Put> {
        todo!()
    }

    /// Stores a value if the key exists.
    pub async fn update_if_present(&self, _key: impl IntoBytes, _value: impl IntoBytes) -> Result<Put> {
        todo!()
    }

    /// Stores a value if the key exists in `version`.
    pub async fn compare_and_set(
        &self,
        _key: impl IntoBytes,
        _value: impl IntoBytes,
        _version: u64,
    ) -> Result<Put> {
        todo!()
    }

    /// Removes a key.
    pub async fn delete(&self, _key: impl IntoBytes) -> Result<Delete> {
        todo!()
    }

    /// Removes a key if it exists in `version`.
    pub async fn delete_if_version(&self, _key: impl IntoBytes, _version: u64) -> Result<Delete> {
        todo!()
    }

    /// Adds `delta` to a decimal i64; an absent key counts as 0. The new number.
    pub async fn increment(&self, _key: impl IntoBytes, _delta: i64) -> Result<i64> {
        todo!()
    }

    /// The values of many keys, in their order.
    pub async fn get_many<K: IntoBytes>(
        &self,
        _keys: impl IntoIterator<Item = K>,
    ) -> Vec<Result<Option<Bytes>>> {
        todo!()
    }

    /// Stores many values; results in their order.
    pub async fn put_many<K: IntoBytes, V: IntoBytes>(
        &self,
        _pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Vec<Result<Put>> {
        todo!()
    }

    /// Removes many keys; results in their order.
    pub async fn delete_many<K: IntoBytes>(&self, _keys: impl IntoIterator<Item = K>) -> Vec<Result<Delete>> {
        todo!()
    }

    /// How many keys a range has.
    pub async fn count(&self, _range: Range) -> Result<u64> {
        todo!()
    }

    /// Begins a scan.
    pub fn scan(&self, _range: Range) -> Result<Scan> {
        todo!()
    }

    /// Goes on with a scan of the same range from where its cursor stands.
    pub fn scan_from(&self, _range: Range, _cursor: &[u8]) -> Result<Scan> {
        todo!()
    }

    /// The cursor of a scan of `range` that stands behind `item`, for those who take pages apart.
    pub fn cursor_behind(&self, _range: &Range, _item: &crate::Item, _options: &CallOptions) -> Bytes {
        todo!()
    }

    /// Carries out an operation.
    pub async fn call(&self, _command: Command, _options: &CallOptions) -> Result<Answer> {
        todo!()
    }

    /// Begins an operation; `callback` is called exactly once, on another thread or on this one, also before this
    /// function returns. It must be short and must not block.
    pub fn submit(
        &self,
        _command: Command,
        _options: CallOptions,
        _callback: impl FnOnce(Result<Answer>) + Send + 'static,
    ) -> CancelHandle {
        todo!()
    }

    /// The slot of a key.
    pub fn slot(&self, _key: &[u8]) -> u16 {
        todo!()
    }

    /// Where calls for a key go, and why.
    pub fn explain(&self, _key: &[u8]) -> Explain {
        todo!()
    }

    /// Counts since the client was made, and its state now.
    pub fn stats(&self) -> Stats {
        todo!()
    }

    /// The slot table as the client knows it.
    pub fn slot_table(&self) -> SlotTable {
        todo!()
    }

    /// Which cluster.
    pub fn cluster_id(&self) -> &str {
        todo!()
    }

    /// What a master says of the whole cluster.
    pub async fn status(&self) -> Result<v1::StatusReply> {
        todo!()
    }

    /// Waits for open calls for a bounded time, ends the rest with `CLOSED`, and joins the client's tasks.
    pub async fn close(&self) {
        todo!()
    }
}
