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
//! | `!none` | something of a wrong type |
//! | `deadline_ms:#250` | an option |
//!
//! The answer is the text of [`text`]; bytes past [`text::SHOWN_BYTES_MAX`] appear as length and CRC-32. Two sorts of steps have
//! answers of their own:
//!
//! - `cancel:#1` begins the operation and cancels it at once: the answer is `cancelled`. A surface whose calls wait has nobody for
//!   it, and answers `unsupported`.
//! - With something of a wrong type the answer is `refused`, for whatever the language has for that (a `TypeError`, a `RangeError`)
//!   as for `INVALID_ARGUMENT`. A surface whose types do not let the thing be said, or to which it means
//!   something else, answers `unrepresentable`.
//!
//! `outcome` without an argument asks by the token of the last error that had one.
//!
//! What a surface cannot be asked is not compared there, but counted: the run tells how many scenarios each surface answered.
//!
//! | wrong type | stands for |
//! |---|---|
//! | `!none` | nothing: `None`, `null`; a `NULL` that says it has bytes |
//! | `!number` · `!fraction` · `!nan` · `!text` · `!flag` | 7 · 1.5 · not a number · the text `7` · true |
//! | `!zero` · `!negative` · `!huge` | 0 · -1 · 2^64 |
//! | `!list` · `!object` | a list of one key · an object of no use |
//! | `!broken_text` | a text that is no Unicode: a lone surrogate, or bytes that are no UTF-8 |
//!
//! The option `whole` stands for all arguments of a call on many keys; `unknown`, of `connect`, for an option that does not exist.
//!
//! # Layout
//!
//! [`step`] what a driver is told · [`text`] what it answers · [`scenario`] files in `tests/scenarios` · [`random`] seeded
//! programs · [`driver`] a driver as a child process · [`cluster`], [`proxy`] and [`strange`] what it talks to · [`record`] what
//! came of it all · `bin/slotkv-conformance.rs` asks every surface and compares · `bin/conform-rust.rs` the driver of the Rust
//! client · `bin/conform-facade.rs` that of the facade alone.

pub mod cluster;
pub mod driver;
pub mod proxy;
pub mod random;
pub mod record;
pub mod scenario;
pub mod step;
pub mod strange;
pub mod text;
