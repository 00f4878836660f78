//! A cluster in one thread, in virtual time, that one seed decides.
//!
//! Real are: the masters, the workers with their log, the embedded coordinator, the clients. Simulated are what they get
//! as arguments: the network ([`net`]), the disks and the engine's durability (`slotkv-storage`), clock and chance. A
//! [`world`] runs clients and faults side by side, then heals everything; [`history`] says what every call came to, and
//! whether that can be so.

pub mod history;
pub mod net;
pub mod world;

pub use history::History;
pub use world::{Plan, Report, run};
