//! The surface that every language has, written down once in `specification.toml`, and what the languages really declare,
//! compared: an operation, an option, a field or an error that one of them lacks, has alone or calls otherwise is a
//! difference, and so is a comment that does not begin with the sentence of the file.
//!
//! # Layout
//!
//! [`specification`] the file · [`sources`] the texts that declare the surfaces · [`declared`] what they declare, read by
//! the modules of [`read`] · [`compare`] the differences · [`pages`] the reference pages, made of both. `tests/surfaces.rs`
//! and `tests/reference.rs` are the checks.

pub mod compare;
pub mod declared;
pub mod pages;
pub mod read;
pub mod sources;
pub mod specification;
