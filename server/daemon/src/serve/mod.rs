//! Servers: a role (master or worker) with its gRPC server, health and reflection, on a listener. The binary, `dev` and
//! tests compose them; coordinator and disk are arguments.
//!
//! Layout: [`listen`] addresses · `incoming` connections and their bounds · `grpc` one server · [`master`] and
//! [`worker`] the roles · [`process`] which process it is · `leave`
//! what a worker does before it ends.

pub(crate) mod grpc;
pub(crate) mod incoming;
pub(crate) mod leave;
pub mod listen;
pub mod master;
pub mod process;
pub mod worker;

pub use listen::{ListenError, Listening};
pub use master::MasterServer;
pub use process::Process;
pub use worker::WorkerServer;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It cannot listen there.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A master's options cannot be.
    #[error(transparent)]
    Master(#[from] slotkv_master::OptionsError),
    /// The worker does not start.
    #[error(transparent)]
    Worker(#[from] slotkv_worker::StartError),
    /// The system refuses something.
    #[error(transparent)]
    System(#[from] std::io::Error),
}
