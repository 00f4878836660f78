//! Import and export: many records as JSON Lines.

pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod progress;
mod reader;
pub(crate) mod record;
mod state;
mod window;
