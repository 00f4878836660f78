//! The coordinator of a slotkv cluster: a small tree of registers that masters and workers share, with compare-and-set,
//! ephemeral nodes and watches. One trait, two implementations: a real ZooKeeper, and an embedded one that lives in the
//! process (`slotkv dev`, tests, the simulator) and can misbehave in every way the real one does.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), slotkv_coordination::Error> {
//! use slotkv_coordination::{Coordinator, Embedded, Expect, Mode, Session};
//! use std::time::Duration;
//!
//! let coordinator = Embedded::new();
//! let session = coordinator.open(Duration::from_secs(5)).await?;
//! session.create("/shards/0", "first".into(), Mode::Persistent).await?;
//! let node = session.get("/shards/0").await?.expect("just created");
//! session.set("/shards/0", "second".into(), Expect::Version(node.version)).await?;
//! session.close().await;
//! # Ok(()) }
//! ```
//!
//! Layout: [`coordinator`] the trait · [`error`] what can go wrong and whether a write may have been applied ·
//! [`watch`] hints of changes · [`zookeeper`] and [`embedded`] the implementations · [`uri`] which one a text names ·
//! [`paths`] and [`registers`] what the nodes are called and hold · [`handover`] who owns which slot, and what moves ·
//! [`report`] what shards tell of that · [`membership`] joining and leaving ·
//! [`view`] a fresh copy of all of it that never goes back · `ensemble` real ZooKeeper servers for tests.

pub mod coordinator;
pub mod embedded;
#[cfg(feature = "ensemble")]
pub mod ensemble;
pub mod error;
pub mod handover;
pub mod membership;
pub mod paths;
pub mod registers;
pub mod report;
pub mod uri;
pub mod view;
pub mod watch;
pub mod zookeeper;

pub use coordinator::{Coordinator, Expect, Mode, Node, Op, OpResult, Session, SessionId, SessionState};
pub use embedded::Embedded;
pub use error::Error;
pub use view::{ClusterView, View};
pub use watch::{Hint, Watch};
pub use zookeeper::ZooKeeper;
