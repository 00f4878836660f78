//! Handles: plain numbers that hosts without references of their own hold instead of objects. A handle names a place in
//! a [`Table`] and the generation of what stands there, so that a handle used after it was closed, closed twice, of
//! another kind or made up is an error, and never another object.

use std::fmt;

/// What a host holds. Never 0.
///
/// Layout, from the high bits: kind (8), generation (24), place (32).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(u64);

const GENERATION_MAX: u32 = (1 << 24) - 1;

impl Handle {
    fn new(kind: u8, generation: u32, place: u32) -> Self {
        Self(u64::from(kind) << 56 | u64::from(generation) << 32 | u64::from(place))
    }

    /// The number for the host.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The handle of a number that the host gave; the table checks it.
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }

    fn kind(self) -> u8 {
        (self.0 >> 56) as u8
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & GENERATION_MAX
    }

    fn place(self) -> usize {
        self.0 as u32 as usize
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}.{}", self.kind(), self.place(), self.generation())
    }
}

/// Why a handle names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandleError {
    /// It was closed.
    Closed,
    /// It is of another kind, or no handle at all.
    Wrong,
    /// The table holds as many objects as it may.
    Full,
}

/// Objects by handle. Insert, get and remove take constant time and no allocation once the table has grown.
#[derive(Debug)]
pub struct Table<T> {
    kind: u8,
    places: Vec<Place<T>>,
    free: Vec<u32>,
    count_max: usize,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Table<T> {
    /// A table for objects of one kind (1 to 255, unlike every other table's) that holds up to `count_max` of them.
    pub fn new(kind: u8, count_max: usize) -> Self {
        assert!(kind != 0, "kind 0 would allow a handle of 0");
        Self { kind, places: Vec::new(), free: Vec::new(), count_max: count_max.min(u32::MAX as usize) }
    }

    /// Puts an object in. Full: [`HandleError::Full`], and `value` is dropped.
    pub fn insert(&mut self, value: T) -> Result<Handle, HandleError> {
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.places.len() < self.count_max => {
                self.places.push(Place { generation: 0, value: None });
                (self.places.len() - 1) as u32
            }
            None => return Err(HandleError::Full),
        };
        let slot = &mut self.places[place as usize];
        slot.generation += 1;
        slot.value = Some(value);
        Ok(Handle::new(self.kind, slot.generation, place))
    }

    /// The object of a handle.
    pub fn get(&self, handle: Handle) -> Result<&T, HandleError> {
        self.check(handle)?;
        self.places[handle.place()].value.as_ref().ok_or(HandleError::Closed)
    }

    /// The object of a handle, to change.
    pub fn get_mut(&mut self, handle: Handle) -> Result<&mut T, HandleError> {
        self.check(handle)?;
        self.places[handle.place()].value.as_mut().ok_or(HandleError::Closed)
    }

    /// Takes an object out and closes its handle.
    pub fn remove(&mut self, handle: Handle) -> Result<T, HandleError> {
        self.check(handle)?;
        let slot = &mut self.places[handle.place()];
        let value = slot.value.take().ok_or(HandleError::Closed)?;
        // A place whose generations are used up is never filled again.
        if slot.generation < GENERATION_MAX {
            self.free.push(handle.place() as u32);
        }
        Ok(value)
    }

    /// Takes every object out, in the order of their places.
    pub fn drain(&mut self) -> Vec<T> {
        let mut values = Vec::new();
        for (place, slot) in self.places.iter_mut().enumerate() {
            if let Some(value) = slot.value.take() {
                values.push(value);
                if slot.generation < GENERATION_MAX {
                    self.free.push(place as u32);
                }
            }
        }
        values
    }

    /// Every object, in the order of their places.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|place| place.value.as_ref())
    }

    /// Every object with its handle, in the order of their places, to change.
    pub fn entries_mut(&mut self) -> impl Iterator<Item = (Handle, &mut T)> {
        let kind = self.kind;
        self.places.iter_mut().enumerate().filter_map(move |(number, place)| {
            let handle = Handle::new(kind, place.generation, number as u32);
            place.value.as_mut().map(|value| (handle, value))
        })
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.values().count()
    }

    /// Whether nothing more goes in.
    pub fn is_full(&self) -> bool {
        self.free.is_empty() && self.places.len() >= self.count_max
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values().next().is_none()
    }

    fn check(&self, handle: Handle) -> Result<(), HandleError> {
        let known = self.places.get(handle.place()).filter(|_| handle.kind() == self.kind);
        match known {
            Some(slot) if slot.generation == handle.generation() => Ok(()),
            Some(slot) if slot.generation > handle.generation() && handle.generation() > 0 => {
                Err(HandleError::Closed)
            }
            _ => Err(HandleError::Wrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_used_after_close_or_closed_twice_is_refused() {
        let mut table = Table::new(1, 10);
        let first = table.insert("first").unwrap();
        assert_eq!(table.remove(first), Ok("first"));
        assert_eq!(table.get(first), Err(HandleError::Closed));
        assert_eq!(table.remove(first), Err(HandleError::Closed));
        let second = table.insert("second").unwrap();
        assert_eq!(second.place(), first.place(), "the place is used again");
        assert_eq!(table.get(first), Err(HandleError::Closed), "by another generation");
        assert_eq!(table.get(second), Ok(&"second"));
    }

    #[test]
    fn a_handle_of_another_kind_or_made_up_is_refused() {
        let mut clients = Table::new(1, 10);
        let mut scans = Table::new(2, 10);
        let client = clients.insert("client").unwrap();
        let scan = scans.insert("scan").unwrap();
        assert_eq!(clients.get(scan), Err(HandleError::Wrong));
        assert_eq!(scans.get(client), Err(HandleError::Wrong));
        for number in [0, 1, u64::MAX, client.number() + 1, client.number() + (1 << 32)] {
            assert_eq!(clients.get(Handle::from_number(number)), Err(HandleError::Wrong), "{number:#x}");
        }
        assert_ne!(client.number(), 0);
    }

    #[test]
    fn a_full_table_refuses_and_takes_again_after_a_close() {
        let mut table = Table::new(1, 2);
        let first = table.insert(1).unwrap();
        table.insert(2).unwrap();
        assert!(table.is_full());
        assert_eq!(table.insert(3), Err(HandleError::Full));
        table.remove(first).unwrap();
        assert!(table.insert(3).is_ok());
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_place_whose_generations_are_used_up_is_never_filled_again() {
        let mut table = Table::new(1, 10);
        let first = table.insert(1).unwrap();
        table.places[0].generation = GENERATION_MAX;
        let last = Handle::new(1, GENERATION_MAX, 0);
        table.remove(last).unwrap();
        assert_ne!(table.insert(2).unwrap().place(), first.place());
    }

    #[test]
    fn draining_closes_every_handle() {
        let mut table = Table::new(1, 10);
        let handles: Vec<_> = (0..3).map(|number| table.insert(number).unwrap()).collect();
        table.remove(handles[1]).unwrap();
        let entries: Vec<_> = table.entries_mut().map(|(handle, &mut value)| (handle, value)).collect();
        assert_eq!(entries, [(handles[0], 0), (handles[2], 2)]);
        assert_eq!(table.drain(), vec![0, 2]);
        assert!(table.is_empty());
        assert!(handles.iter().all(|&handle| table.get(handle) == Err(HandleError::Closed)));
        assert_eq!(table.insert(9).unwrap().place() as u32, 2);
    }
}
