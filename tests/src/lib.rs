//! Whole-cluster tests. This library holds what they share: [`simulation`], a cluster of real masters, workers and
//! clients in one thread, in virtual time, on a network and on disks that one seed makes fail.

pub mod simulation;
