//! The `slotkv` binary as a library: the servers composed from their parts, a whole cluster in one process, and the
//! commands.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use slotkv_daemon::dev::{Dev, DevOptions};
//!
//! let dev = Dev::start(DevOptions::default()).await?;
//! let client = slotkv::Client::connect(&dev.uri()).await?;
//! client.put("answer", "42").await?;
//! dev.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! Layout: [`serve`] a master or a worker with its gRPC server · [`dev`] a cluster in this process · `cli` flags, their
//! layers, exit codes · `client` the commands that ask · `members` calls to members, for commands and servers · `shell` the prompt · `lines` import and export · `bench` loads
//! and measures · `drill` loads, kills and checks · [`metrics`] for Prometheus · `text` any bytes as text · `signals` SIGINT and SIGTERM.

mod bench;
mod cli;
mod client;
pub mod dev;
mod drill;
mod lines;
mod members;
pub mod metrics;
pub mod serve;
mod shell;
mod signals;
mod text;

pub use cli::main;
