//! What C gives to a call, made of bytes. Whatever is pointed to lies in a block of exactly as many bytes as C says, so
//! that reading past its end is seen, and is gone when the call has returned.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::{dangling, null, null_mut, without_provenance_mut};

use crate::bytes::slotkv_bytes;
use crate::operation::{slotkv_operation, slotkv_operation_kind, slotkv_pair};
use crate::options::{Growing, slotkv_call_options, slotkv_connect_options, slotkv_range};

/// Longest time of a call: nobody answers for keys that are held.
const DEADLINE_MS_MAX: u32 = 20;
/// What a call may be told of at most, of one kind.
const COUNT_MAX: u8 = 5;
/// Past it, structures are refused before they are read.
const STRUCTURE_BYTES_MAX: usize = 4096;
/// Past it, bytes are.
const BYTES_MAX: usize = 20 << 20;
const TEXTS: [&[u8]; 6] =
    [b"", b"space", b"zone", b"\xff", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", b"a/b"];
const KEYS: [&[u8]; 8] = [b"", b"a", b"b", b"n", b"{tag}a", b"hold", b"hold b", b"\0"];

/// Bytes to make everything of; behind their end there are zeros.
pub struct Feed<'a>(pub &'a [u8]);

impl Feed<'_> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    /// Any number; small ones more often.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            254 => i64::MAX as u64,
            253 => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
            number => number.into(),
        }
    }

    fn count(&mut self) -> usize {
        (self.byte() % (COUNT_MAX + 1)).into()
    }

    fn some(&mut self) -> Vec<u8> {
        let count = usize::from(self.byte() % 64).min(self.0.len());
        let (some, rest) = self.0.split_at(count);
        self.0 = rest;
        some.to_vec()
    }
}

/// So many bytes and no more, aligned for everything.
struct Block {
    place: *mut u8,
    layout: Layout,
}

impl Block {
    fn new(size: usize) -> Self {
        // None would be no block.
        let layout = Layout::from_size_align(size.max(1), align_of::<u64>()).expect("it is not that large");
        // SAFETY: of one byte at least.
        let place = unsafe { alloc_zeroed(layout) };
        assert!(!place.is_null());
        Self { place, layout }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated so.
        unsafe { dealloc(self.place, self.layout) };
    }
}

/// A structure whose fields are all at their defaults.
pub fn defaults<T: Growing>() -> T {
    // SAFETY: what the trait says.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Not 0 ends the call.
unsafe extern "C" fn interrupt(context: *mut c_void) -> c_int {
    context.is_null().into()
}

/// What one call is given.
#[derive(Default)]
pub struct Given {
    blocks: Vec<Block>,
}

impl Given {
    fn block(&mut self, size: usize) -> *mut u8 {
        let block = Block::new(size);
        let place = block.place;
        self.blocks.push(block);
        place
    }

    fn copy(&mut self, bytes: &[u8]) -> *mut u8 {
        let place = self.block(bytes.len());
        // SAFETY: a block of so many.
        unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        place
    }

    fn shown(&mut self, bytes: &[u8]) -> slotkv_bytes {
        slotkv_bytes { data: self.copy(bytes).cast(), size: bytes.len() }
    }

    /// Bytes of any kind; `known` are those that the library gave before.
    pub fn bytes(&mut self, feed: &mut Feed, known: &[Vec<u8>]) -> slotkv_bytes {
        match feed.byte() {
            0 => slotkv_bytes::NONE,
            1 => slotkv_bytes { data: null(), size: feed.byte().into() },
            2 => slotkv_bytes { data: dangling::<u8>().cast(), size: usize::MAX },
            3 => slotkv_bytes { data: dangling::<u8>().cast(), size: BYTES_MAX + 1 },
            how @ 4..=31 if !known.is_empty() => {
                let mut bytes = known[usize::from(how) % known.len()].clone();
                if feed.byte() == 1 && !bytes.is_empty() {
                    let at = usize::from(feed.byte()) % bytes.len();
                    bytes[at] ^= feed.byte();
                }
                self.shown(&bytes)
            }
            32..=63 => {
                let bytes = feed.some();
                self.shown(&bytes)
            }
            how => self.shown(KEYS[usize::from(how) % KEYS.len()]),
        }
    }

    /// The same, several times in a row; how many.
    pub fn several(&mut self, feed: &mut Feed, known: &[Vec<u8>]) -> (*const slotkv_bytes, usize) {
        self.array(feed, |given, feed| given.bytes(feed, known))
    }

    pub fn pairs(&mut self, feed: &mut Feed, known: &[Vec<u8>]) -> (*const slotkv_pair, usize) {
        let pair = |given: &mut Self, feed: &mut Feed| slotkv_pair {
            key: given.bytes(feed, known),
            value: given.bytes(feed, known),
        };
        self.array(feed, pair)
    }

    fn array<T: Copy>(
        &mut self,
        feed: &mut Feed,
        mut one: impl FnMut(&mut Self, &mut Feed) -> T,
    ) -> (*const T, usize) {
        match feed.count() {
            0 => (null(), feed.count()),
            count => {
                let place = self.block(count * size_of::<T>()).cast::<T>();
                for at in 0..count {
                    let value = one(self, feed);
                    // SAFETY: a block of so many.
                    unsafe { place.add(at).write(value) };
                }
                (place, count)
            }
        }
    }

    /// A text, or NULL.
    pub fn text(&mut self, feed: &mut Feed) -> *const c_char {
        let text = match feed.byte() {
            how @ 0..=15 => TEXTS[usize::from(how) % TEXTS.len()].to_vec(),
            16..=31 => feed.some().into_iter().take_while(|&byte| byte != 0).collect(),
            _ => return null(),
        };
        self.copy(&[&text[..], b"\0"].concat()).cast()
    }

    /// Where a cluster is, or is not.
    pub fn uri(&mut self, feed: &mut Feed) -> *const c_char {
        match feed.byte() {
            how @ 0..=239 if how % 16 != 0 => self.copy(b"slotkv://fake:1\0").cast(),
            0 => self.copy(b"slotkv://fake:1/space?deadline=10ms\0").cast(),
            16 => self.copy(b"slotkvs://fake:1\0").cast(),
            _ => self.text(feed),
        }
    }

    pub fn connect_options(&mut self, feed: &mut Feed) -> *const slotkv_connect_options {
        let options = slotkv_connect_options {
            namespace_name: self.text(feed),
            client_name: self.text(feed),
            zone: self.text(feed),
            // The client's own would be too long.
            deadline_ms: 1 + u32::from(feed.byte()) % DEADLINE_MS_MAX,
            connect_timeout_ms: feed.number() as u32,
            ping_interval_ms: feed.number() as u32,
            streams_per_member: feed.byte() as u32 % 20,
            inflight_max: feed.number() as u32,
            is_lazy: feed.byte() % 2,
            ..defaults()
        };
        let size = match feed.byte() {
            // Behind the deadline.
            how @ 1..=7 => {
                std::mem::offset_of!(slotkv_connect_options, ping_interval_ms) + 8 * usize::from(how)
            }
            8 => 0,
            _ => size_of::<slotkv_connect_options>(),
        };
        self.structure(&options, size, feed)
    }

    /// What a call says differently; NULL most of the time.
    pub fn call_options(&mut self, feed: &mut Feed, known: &[Vec<u8>]) -> *const slotkv_call_options {
        if feed.byte() < 160 {
            return null();
        }
        let how = feed.byte();
        let options = slotkv_call_options {
            deadline_ms: u32::from(feed.byte()) % (DEADLINE_MS_MAX + 1),
            namespace_name: self.text(feed),
            traceparent: self.text(feed),
            interrupt: (how & 1 != 0).then_some(interrupt),
            // It outlives its scan's options: not a place.
            interrupt_context: if how & 2 != 0 { null_mut() } else { without_provenance_mut(1) },
            read_level: u32::from(how >> 2) % 6,
            staleness_ms: feed.number() as u32,
            session_token: if how & 64 != 0 { self.bytes(feed, known) } else { slotkv_bytes::NONE },
            ttl_ms: if how & 128 != 0 { feed.number() } else { 0 },
            ..defaults()
        };
        let size = sizes::<slotkv_call_options>(feed);
        self.structure(&options, size, feed)
    }

    /// Which keys; NULL for all.
    pub fn range(&mut self, feed: &mut Feed, known: &[Vec<u8>]) -> *const slotkv_range {
        if feed.byte() < 64 {
            return null();
        }
        let range = slotkv_range {
            prefix: self.bytes(feed, known),
            start: self.bytes(feed, known),
            end: self.bytes(feed, known),
            page_items: feed.number() as u32,
            is_ordered: feed.byte() % 3,
            keys_only: feed.byte() % 3,
            ..defaults()
        };
        let size = sizes::<slotkv_range>(feed);
        self.structure(&range, size, feed)
    }

    /// Operations one behind the other, and how many; each is told by its context, from `context` on.
    pub fn operations(
        &mut self,
        feed: &mut Feed,
        known: &[Vec<u8>],
        context: usize,
    ) -> (*const slotkv_operation, usize) {
        self.operations_within(feed, known, context, 0)
    }

    fn operations_within(
        &mut self,
        feed: &mut Feed,
        known: &[Vec<u8>],
        context: usize,
        depth: u32,
    ) -> (*const slotkv_operation, usize) {
        let count = feed.count();
        if count == 0 {
            return (null(), feed.count());
        }
        let size = sizes::<slotkv_operation>(feed);
        let is_read = (size_of::<usize>()..=STRUCTURE_BYTES_MAX).contains(&size);
        let stride = if is_read { size } else { size_of::<usize>() };
        let first = self.block(stride * count);
        for at in 0..count {
            let operation = self.operation(feed, known, context + at, depth);
            // SAFETY: a block of so many.
            let place = unsafe { first.add(stride * at) };
            // One that has another size than the first is refused.
            let own = if at > 0 && feed.byte() == 255 { feed.number() as usize } else { size };
            fill(place, stride, &operation, own);
        }
        (first.cast(), count)
    }

    fn operation(
        &mut self,
        feed: &mut Feed,
        known: &[Vec<u8>],
        context: usize,
        depth: u32,
    ) -> slotkv_operation {
        let kind = u32::from(feed.byte()) % 14;
        let mut operation = slotkv_operation {
            kind,
            condition: u32::from(feed.byte()) % 5,
            key: self.bytes(feed, known),
            value: self.bytes(feed, known),
            version: feed.number(),
            delta: feed.number() as i64,
            range: self.range(feed, known),
            cursor: self.bytes(feed, known),
            options: self.call_options(feed, known),
            context: without_provenance_mut(context),
            token: self.bytes(feed, known),
            ..defaults()
        };
        // One level more than is allowed.
        if kind == slotkv_operation_kind::Many as u32 && depth < 2 {
            (operation.operations, operation.operations_count) =
                self.operations_within(feed, known, context, depth + 1);
        }
        operation
    }

    /// A structure that says that it has `size` bytes, and has them where they may be read.
    fn structure<T: Growing>(&mut self, value: &T, size: usize, feed: &mut Feed) -> *const T {
        let is_read = (size_of::<usize>()..=STRUCTURE_BYTES_MAX).contains(&size);
        let place = self.block(if is_read { size } else { size_of::<usize>() });
        fill(place, if is_read { size } else { size_of::<usize>() }, value, size);
        if is_read && size > size_of::<T>() {
            // An option that the library does not know, or zeros.
            // SAFETY: the last byte of the block.
            unsafe { place.add(size - 1).write(u8::from(feed.byte() == 1)) };
        }
        place.cast()
    }
}

/// Writes as much of a structure as there is room for, and that it has `size` bytes.
fn fill<T: Growing>(place: *mut u8, room: usize, value: &T, size: usize) {
    // SAFETY: there is room, for a size at least.
    unsafe {
        place.copy_from_nonoverlapping((&raw const *value).cast(), room.min(size_of::<T>()));
        place.cast::<usize>().write(size);
    }
}

/// A size as an older, a newer, this or no program has it.
fn sizes<T>(feed: &mut Feed) -> usize {
    match feed.byte() {
        0 => 0,
        1 => usize::MAX,
        2 => STRUCTURE_BYTES_MAX + 8,
        3 => feed.byte().into(),
        how @ 4..=31 => 8 * usize::from(how),
        how @ 32..=39 => size_of::<T>() + 8 * usize::from(how - 31),
        _ => size_of::<T>(),
    }
}
