//! What bytes from outside are made to do: each module's `run` takes bytes that anybody may have made up, has them read as
//! in earnest, and panics if what must hold then does not. libFuzzer makes bytes up (`targets`, `cargo xtask fuzz`); what it
//! kept is in `corpus`, which the ordinary tests repeat (`tests/tests/corpus.rs`). Sequences of C calls are in
//! `bindings/c/src/calls.rs`.

pub mod frame;
pub mod log_record;
pub mod log_tail;
pub mod slot_table;
pub mod snapshot;
