//! In place of [`hosted`](crate::hosted) where there is no such thing.

use std::os::raw::c_int;

/// Never made.
pub(crate) enum Hosted {}

impl Hosted {
    pub(crate) fn start() -> Option<Self> {
        None
    }

    pub(crate) fn fd(&self) -> c_int {
        match *self {}
    }

    pub(crate) fn handle(&self) -> &tokio::runtime::Handle {
        match *self {}
    }

    pub(crate) fn clear(&self) {
        match *self {}
    }

    pub(crate) fn turn(&self, _first: impl FnOnce()) -> bool {
        match *self {}
    }

    pub(crate) fn balance(&self, _open: usize) {
        match *self {}
    }

    pub(crate) fn wake(&self) {
        match *self {}
    }

    pub(crate) fn stop(&self) {
        match *self {}
    }
}
