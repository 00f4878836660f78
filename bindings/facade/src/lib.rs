//! What every binding of slotkv shares.
pub mod blocking;
pub mod completion;
pub mod driver;
pub mod error;
pub mod fork;
pub mod guard;
pub mod handle;
pub mod lock;
pub mod log;
pub mod port;
pub mod runtime;
pub mod scan;
pub mod signal;

/// The core's values, which hosts translate.
pub mod core {
    pub use slotkv::*;
    pub use slotkv_proto::v1;
}
