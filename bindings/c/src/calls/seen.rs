//! What a program does with a result: it reads everything that is pointed to.

use std::ffi::{CStr, c_char};

use crate::bytes::slotkv_bytes;
use crate::code::slotkv_code;
use crate::result::slotkv_result;

/// Reads all of a result; adds what later calls may be given, as tokens and cursors, to `known`.
pub fn read(result: &slotkv_result, known: &mut Vec<Vec<u8>>) {
    keep(result.value, known);
    keep(result.cursor, known);
    for item in slice(result.items, result.items_count) {
        bytes(item.key);
        bytes(item.value);
    }
    for result in slice(result.results, result.results_count) {
        assert_eq!(result.memory, 0, "it is freed with the whole");
        read(result, known);
    }
    assert!(result.code != slotkv_code::Ok || result.error.is_null());
    for error in slice(result.error, usize::from(!result.error.is_null())) {
        assert_eq!(error.code, result.code);
        assert!(!text(error.kind).is_empty() && !text(error.message).is_empty());
        texts(&[error.member]);
        texts(slice(error.causes, error.causes_count));
        keep(error.token, known);
    }
    for told in slice(result.explanation, usize::from(!result.explanation.is_null())) {
        bytes(told.tag);
        texts(&[told.cluster_id, told.primary, told.address, told.last_error]);
        texts(slice(told.backups, told.backups_count));
    }
    for stats in slice(result.stats, usize::from(!result.stats.is_null())) {
        for member in slice(stats.members, stats.members_count) {
            texts(&[member.name, member.address, member.last_error]);
        }
    }
}

/// Keeps a few bytes of those that are not endless.
fn keep(shown: slotkv_bytes, known: &mut Vec<Vec<u8>>) {
    const KNOWN_MAX: usize = 16;
    let bytes = bytes(shown);
    if !bytes.is_empty() && bytes.len() < 256 && known.len() < KNOWN_MAX {
        known.push(bytes);
    }
}

fn bytes(shown: slotkv_bytes) -> Vec<u8> {
    slice(shown.data.cast::<u8>(), shown.size).to_vec()
}

fn texts(texts: &[*const c_char]) {
    texts.iter().filter(|text| !text.is_null()).for_each(|&shown| drop(text(shown)));
}

fn text(text: *const c_char) -> Vec<u8> {
    assert!(!text.is_null());
    // SAFETY: the library ends its texts with a 0.
    unsafe { CStr::from_ptr(text) }.to_bytes().to_vec()
}

fn slice<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if count == 0 {
        return &[];
    }
    assert!(first.is_aligned() && !first.is_null());
    // SAFETY: the library lends so many, and nobody keeps them here.
    unsafe { std::slice::from_raw_parts(first, count) }
}
