//! The slotkv binary.
mod bench;
mod cli;
mod client;
mod lines;
pub mod serve;
mod shell;
mod signals;
mod text;
