//! Log, engines and disk of a slotkv worker. The worker decides, storage stores.
//!
//! One shard replica keeps one [`Log`] (what was decided, in order, synced before it is acknowledged) and one
//! [`Engine`] (what that amounts to, applied in batches that carry the applied position). The log makes things durable;
//! the engine may lose its latest batches and gets them back from the log.
//!
//! Layout: [`disk`] files as an argument, with [`RealDisk`] and [`SimDisk`] · [`log`] the replicated log · [`record`]
//! what a log record holds · [`engine`] the ordered map, with [`FjallEngine`] and [`MemoryEngine`] · [`keys`] how rows
//! lie in the engine · [`cache`] rows in memory in front of it · [`threads`] which ones come first · [`error`] what can go
//! wrong.

pub mod cache;
pub mod disk;
pub mod engine;
pub mod error;
pub mod fjall_engine;
pub mod keys;
pub mod log;
pub mod memory_engine;
pub mod real_disk;
pub mod record;
pub mod sim_disk;
pub mod threads;

pub use cache::RowCache;
pub use disk::{Disk, File, Lock, Open, write_atomic};
pub use engine::{Batch, Engine, Engines, Ingestion, Reader};
pub use error::Error;
pub use fjall_engine::{FjallEngine, FjallEngines};
pub use keys::{Position, Row, SlotRow};
pub use log::{Identity, Log, Recovery};
pub use memory_engine::{MemoryEngine, MemoryEngines};
pub use real_disk::RealDisk;
pub use record::{Effect, Kind, LogHead, LogRecord, Outcome};
pub use sim_disk::SimDisk;
