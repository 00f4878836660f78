//! The cluster of the clients that tests make: in memory, one for each thread.

#[path = "../../facade/tests/fake/mod.rs"]
mod cluster;

use slotkv_facade::settings::Network;

use self::cluster::Fake;

/// Added to a handle: a generation that no place has reached.
pub(crate) const MUCH_LATER: u64 = 1 << 50;

thread_local! {
    pub(crate) static FAKE: Fake = Fake::default();
}

/// That of the clients which this thread makes.
pub(crate) fn network() -> Option<Network> {
    FAKE.with(|fake| fake.settings().network)
}
