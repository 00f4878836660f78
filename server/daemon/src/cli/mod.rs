//! The command line.
pub(crate) mod exit;
pub(crate) mod flags;
pub(crate) mod layers;
pub(crate) mod sizes;
