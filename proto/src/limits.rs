//! Bounds with names. A request past one of them is refused before anything is allocated for it.

/// Longest key with its namespace, in bytes; the shortest key is one byte.
pub const KEY_BYTES_MAX: usize = 32 << 10;
/// Longest namespace name, in bytes.
pub const NAMESPACE_BYTES_MAX: usize = 128;
/// Largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 16 << 20;
/// Largest frame on a stream, in bytes.
pub const FRAME_BYTES_MAX: usize = 20 << 20;
/// Requests that may be in flight on one stream; past it the worker answers OVERLOADED, the client waits before.
pub const INFLIGHT_COUNT_MAX: usize = 4096;
/// Keys of one GET_MANY.
pub const GET_MANY_KEYS_MAX: usize = 128;
/// Bytes of keys and values that may be in flight on one stream.
pub const INFLIGHT_BYTES_MAX: usize = 32 << 20;
/// Connections that one server process accepts.
pub const CONNECTIONS_MAX: usize = 10_000;
/// How long a new stream may take to say hello, in milliseconds.
pub const HANDSHAKE_MS_MAX: u64 = 5_000;
/// A reply frame is closed when it holds this many bytes.
pub const REPLY_BYTES_SOFT: usize = 1 << 20;
/// Most records in one page of a scan.
pub const PAGE_ITEMS_MAX: u32 = 10_000;
/// Most bytes in one page of a scan; one record larger than that still makes a page.
pub const PAGE_BYTES_MAX: u32 = 4 << 20;
/// Keys that one count or scan request looks at before it answers with what it has.
pub const PAGE_LOOKS_MAX: u32 = 100_000;
/// Longest deadline a server accepts, in milliseconds; longer ones are cut to it.
pub const DEADLINE_MS_MAX: u32 = 300_000;
/// Most shards in one cluster; their ids are below it.
pub const SHARDS_MAX: usize = 4096;
/// Longest lifetime of a key, in milliseconds: ten years; the shortest is one.
pub const TTL_MS_MAX: u64 = 10 * 365 * 24 * 3600 * 1000;
/// Longest client name in a hello, in bytes.
pub const CLIENT_NAME_BYTES_MAX: usize = 256;
/// Length of a client id, in bytes.
pub const CLIENT_ID_BYTES: usize = 16;
