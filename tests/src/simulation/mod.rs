//! A cluster in one thread, in virtual time, that one seed decides.
//!
//! Real are: the masters, the workers with their log, the embedded coordinator, the clients. Simulated are what they get
//! as arguments: the network ([`net`]), the [`machine`]s with their disks, clocks and the engine's durability, the [`process`]es that can be stopped, chance. A
//! [`world`] runs clients ([`calls`]) and faults (`nemesis`) side by side, then heals everything; [`history`] says what
//! every call came to, and whether that can be so. Operators change what shards weigh (`operator`), so slots move all the time,
//! and in the end everything has to be where it belongs (`settled`), as [`moves`] counts it. A [`Sabotage`] breaks a promise on
//! purpose, to show that it would be noticed. Where mistakes are planted, who serves what is looked at all the time ([`serving`]). Instead of faults by chance a run may have one, at one step of one hand-over: a [`cell`], whose step
//! a [`gate`] waits for (`strike`).

pub mod calls;
pub mod cell;
pub mod gate;
pub mod history;
pub mod machine;
pub mod moves;
mod nemesis;
pub mod net;
mod operator;
pub mod process;
pub mod serving;
mod settled;
mod strike;
pub mod world;

pub use cell::{Actor, Cell, Fault};
pub use history::History;
pub use machine::Sabotage;
pub use world::{Plan, Report, run};
