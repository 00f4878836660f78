//! What may be passed as a key or a value: anything that is bytes. Owned bytes are moved, borrowed ones copied.

use bytes::Bytes;

/// Bytes, or what can become them.
pub trait IntoBytes {
    /// The bytes; moved if `self` owns them, copied else.
    fn into_bytes(self) -> Bytes;
}

macro_rules! moved {
    ($($type:ty)*) => {$(
        impl IntoBytes for $type {
            fn into_bytes(self) -> Bytes {
                Bytes::from(self)
            }
        }
    )*};
}

macro_rules! copied {
    ($($type:ty)*) => {$(
        impl IntoBytes for $type {
            fn into_bytes(self) -> Bytes {
                Bytes::copy_from_slice(self.as_ref())
            }
        }
    )*};
}

moved!(Bytes Vec<u8> String Box<[u8]>);
copied!(&[u8] &str &Vec<u8> &String);

impl IntoBytes for &Bytes {
    fn into_bytes(self) -> Bytes {
        self.clone()
    }
}

impl<const N: usize> IntoBytes for [u8; N] {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self)
    }
}

impl<const N: usize> IntoBytes for &[u8; N] {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}
