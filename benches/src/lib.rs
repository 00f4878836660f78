//! Micro benchmarks, and the loads that `cargo xtask bench` runs in Rust beside `slotkv bench`.
//!
//! Layout: [`stopwatch`] of the micro benchmarks · [`etcd`] and [`redis`] the peers' clients, no more of them than a load
//! needs · [`store`] slotkv and Redis
//! Cluster by clients that programs use · [`measure`] what a load took, [`histogram`] how long each operation did · [`clock`] the clock that programs of every language share.

pub mod clock;
pub mod etcd;
pub mod histogram;
pub mod measure;
pub mod redis;
pub mod stopwatch;
pub mod store;
