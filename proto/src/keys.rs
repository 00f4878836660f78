//! The keys of a GET_MANY as the bytes of one field: each with its length before it, as a varint.

use bytes::BytesMut;
use prost::encoding::{decode_varint, encode_varint};

/// Appends a key.
pub fn append(key: &[u8], keys: &mut BytesMut) {
    encode_varint(key.len() as u64, keys);
    keys.extend_from_slice(key);
}

/// Bytes that are no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keys that end within one of them")]
pub struct Malformed;

/// The keys, in their order. Behind [`Malformed`] there is nothing.
#[derive(Clone, Debug)]
pub struct Keys<'a>(&'a [u8]);

impl<'a> Keys<'a> {
    /// Those of a field.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn split(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(decode_varint(&mut self.0).ok()?).ok()?;
        let (key, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(key)
    }
}

impl<'a> Iterator for Keys<'a> {
    type Item = Result<&'a [u8], Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let key = self.split();
        if key.is_none() {
            self.0 = &[];
        }
        Some(key.ok_or(Malformed))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_appended_comes_back(
            keys in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20),
        ) {
            let mut bytes = BytesMut::new();
            keys.iter().for_each(|key| append(key, &mut bytes));
            let back: Vec<_> = Keys::of(&bytes).map(|key| key.unwrap().to_vec()).collect();
            prop_assert_eq!(back, keys);
        }

        #[test]
        fn any_bytes_end_in_keys_or_in_one_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let read: Vec<_> = Keys::of(&bytes).collect();
            let errors = read.iter().filter(|key| key.is_err()).count();
            prop_assert!(errors == 0 || errors == 1 && read.last() == Some(&Err(Malformed)));
        }
    }

    #[test]
    fn a_key_longer_than_the_bytes_is_malformed() {
        for bytes in [&[2, b'k'][..], &[0x80], &[0xff; 11], &[1, b'k', 1]] {
            assert_eq!(Keys::of(bytes).last(), Some(Err(Malformed)), "{bytes:?}");
        }
    }
}
