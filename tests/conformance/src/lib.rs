//! One conformance run for every surface: the same steps are given to a driver per language, and what the drivers answer
//! must be the same, byte for byte, and what the scenarios expect.
//!
//! # A driver
//!
//! A program that is started with the URI of a cluster as its only argument. It reads steps from its standard input, a
//! line each, carries each out through its surface, and writes one line per step to its standard output, in the same
//! order. At the end of its input it closes its client and ends with status 0. It decides nothing: drivers are
//! translations of each other, and everything clever is here.
//!
//! A step is `OPERATION [ARGUMENT...] [OPTION:VALUE...]`, separated by one blank each:
//!
//! | form | means |
//! |---|---|
//! | `=616263` | bytes, in hex; `=` alone is none |
//! | `*61*1048576` | one byte, so many times |
//! | `#-5` | a number |
//! | `deadline_ms:250` | an option |
//!
//! `cancel:#1` begins the operation and cancels it at once: the answer is `cancelled`. A surface whose calls wait has nobody for it,
//! answers `unsupported`, and is not compared there. Else the answer is the text of [`text`]; bytes past [`text::SHOWN_BYTES_MAX`] appear as length and CRC-32.
//!
//! # Layout
//!
//! [`step`] what a driver is told · [`text`] what it answers · [`scenario`] files in `tests/scenarios` · [`random`] seeded
//! programs · [`driver`] a driver as a child process, [`cluster`] and [`strange`] what it talks to · `bin/slotkv-conformance.rs` runs and
//! compares them · `bin/conform-rust.rs` the driver of the Rust client · `bin/conform-facade.rs` that
//! of the facade alone.

pub mod cluster;
pub mod driver;
pub mod random;
pub mod scenario;
pub mod step;
pub mod strange;
pub mod text;
