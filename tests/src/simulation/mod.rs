//! A cluster in one thread, in virtual time, that one seed decides.
//!
//! Real are: the masters, the workers with their log, the embedded coordinator, the clients. Simulated are what they get
//! as arguments: the network ([`net`]), the [`machine`]s with their disks, clocks and the engine's durability, the [`process`]es that can be stopped, chance. A
//! [`world`] runs clients ([`calls`]) and faults (`nemesis`) side by side, then heals everything; [`history`] says what
//! every call came to, and whether that can be so. Operators change what shards weigh (`operator`), so slots move all the time,
//! and in the end everything has to be where it belongs (`settled`), as [`moves`] counts it. A [`Sabotage`] breaks a promise on
//! purpose, to show that it would be noticed.

pub mod calls;
pub mod history;
pub mod machine;
pub mod moves;
mod nemesis;
pub mod net;
mod operator;
pub mod process;
mod settled;
pub mod world;

pub use history::History;
pub use machine::Sabotage;
pub use world::{Plan, Report, run};
