//! Serving
pub(crate) mod grpc;
pub(crate) mod incoming;
pub mod listen;
