//! The master of a slotkv cluster. Several run; one leads, all serve the slot table.
//!
//! A [`Master`] keeps a session with the coordinator and a view of the cluster. It stands in the queue of masters; the
//! first of the queue takes office by incrementing the master epoch, and everything it writes is bound to that epoch,
//! so that a leader which has been replaced without knowing it changes nothing. The leader founds the cluster and gives
//! the slots out, once, when as many shards as were announced have registered. Afterwards it moves them to where the
//! shards' weights have them, by hand-overs.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use std::sync::Arc;
//! use slotkv_coordination::Embedded;
//! use slotkv_master::{Master, MasterOptions};
//! use slotkv_proto::seam::SystemChance;
//!
//! let options = MasterOptions::new("127.0.0.1:7700", 3);
//! let master = Master::start(options, Arc::new(Embedded::new()), Arc::new(SystemChance)).unwrap();
//! master.standing().wait_for(|standing| standing.leads()).await.unwrap();
//! let mut views = master.view();
//! let view = views.wait_for(|view| view.table.is_some()).await.unwrap().clone();
//! assert_eq!(view.table.as_ref().unwrap().slots().get(), 1024);
//! master.shutdown().await;
//! # }
//! ```
//!
//! Layout: [`master`] one master from start to end · `lock` the queue · `office` what a leader does and what fences it ·
//! [`placement`] which shard gets which slot, [`plan`] what that means now · `mover` how it comes about, `told` what shards say of it,
//! [`movement`] how far it is · [`service`] and [`admin`] what it serves · `replicas` how shards stand · [`wish`] and [`order`] what operators may
//! change, [`operator`] the way there · [`standing`] what it is now · [`options`] what it is told.

pub mod admin;
mod lock;
pub mod master;
pub mod movement;
mod mover;
mod office;
pub mod operator;
pub mod options;
pub mod order;
pub mod placement;
pub mod plan;
mod replicas;
pub mod service;
pub mod standing;
mod told;
pub mod wish;

pub use admin::AdminService;
pub use master::Master;
pub use movement::Movement;
pub use operator::Operator;
pub use options::{MasterOptions, OptionsError};
pub use replicas::SHARD_STATES;
pub use service::MasterService;
pub use standing::{Duty, Standing};
