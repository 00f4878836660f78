//! What libFuzzer has kept of the bytes that it made up, once more, without a nightly toolchain: `tests/fuzz` says what must
//! hold. Sequences of C calls are repeated where the C library's tests are.

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::path::Path;

fn repeat(target: &str, run: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let inputs: Vec<_> = corpus.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!inputs.is_empty());
    for input in inputs {
        let bytes = std::fs::read(&input).unwrap();
        assert!(std::panic::catch_unwind(|| run(&bytes)).is_ok(), "{}", input.display());
    }
}

#[test]
fn frames_that_were_made_up_before_are_refused_or_within_limits() {
    repeat("frame", fuzz::frame::run);
}

#[test]
fn log_records_that_were_made_up_before_are_refused_or_whole() {
    repeat("log_record", fuzz::log_record::run);
}

#[test]
fn log_files_that_were_made_up_before_are_refused_or_end_with_what_was_synced() {
    repeat("log_tail", fuzz::log_tail::run);
}

#[test]
fn slot_tables_that_were_made_up_before_are_refused_or_keep_their_invariants() {
    repeat("slot_table", fuzz::slot_table::run);
}

#[test]
fn snapshots_that_were_made_up_before_are_refused_or_fit_their_digests() {
    repeat("snapshot", fuzz::snapshot::run);
}
