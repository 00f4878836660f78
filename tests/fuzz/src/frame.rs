//! A frame from a client: decoded as the worker does it, and every request in it checked. What passes is within its limits.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use slotkv_proto::{
    keys::Keys,
    limits::{GET_MANY_KEYS_MAX, KEY_BYTES_MAX, PAGE_BYTES_MAX, PAGE_ITEMS_MAX, VALUE_BYTES_MAX},
    v1::ClientFrame,
};
use slotkv_worker::{
    codec::{self, CANCELS_PER_FRAME_MAX, REQUESTS_PER_FRAME_MAX},
    request::{self, Asked, Sender},
};

const SLOTS: u16 = 16_384;

pub fn run(bytes: &[u8]) {
    let Ok(frame) = codec::decode(Bytes::copy_from_slice(bytes)) else { return };
    assert!(frame.requests.len() <= REQUESTS_PER_FRAME_MAX);
    assert!(frame.cancels.len() <= CANCELS_PER_FRAME_MAX);
    assert_eq!(ClientFrame::decode(&frame.encode_to_vec()[..]).as_ref(), Ok(&frame));
    let sender = Sender { client: [1; 16], namespace: Arc::from("namespace") };
    for request in &frame.requests {
        match request::check(request, &sender, SLOTS) {
            Ok(Asked::Read { .. } | Asked::Write(..)) => {
                assert!((1..=KEY_BYTES_MAX).contains(&request.key.len()));
                assert!(request.value.len() <= VALUE_BYTES_MAX);
            }
            Ok(Asked::ReadMany) => {
                assert!((1..=GET_MANY_KEYS_MAX).contains(&Keys::of(&request.keys).count()));
                for key in Keys::of(&request.keys) {
                    assert!((1..=KEY_BYTES_MAX).contains(&key.expect("they were checked").len()));
                }
            }
            Ok(Asked::Page(page)) => {
                assert!(page.slots.0 < SLOTS && page.slots.1 < SLOTS);
                assert!((1..=PAGE_ITEMS_MAX as usize).contains(&page.items_max));
                assert!((1..=PAGE_BYTES_MAX as usize).contains(&page.bytes_max));
            }
            Err((_, message)) => assert!(!message.is_empty()),
        }
    }
}
