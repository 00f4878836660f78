//! What C has handles of. A thing is looked up for each call and lives until the last call on it has ended.

use std::any::Any;
use std::sync::Arc;

use slotkv_facade::error::FacadeError;
use slotkv_facade::handle::{Handle, Table};
use slotkv_facade::lock::Mutex;

/// Things of one kind.
pub(crate) struct Shelf<T> {
    kind: u8,
    count_max: usize,
    table: Mutex<Option<Table<Arc<T>>>>,
}

impl<T> Shelf<T> {
    /// A shelf for up to `count_max` things of a kind of their own.
    pub(crate) const fn new(kind: u8, count_max: usize) -> Self {
        Self { kind, count_max, table: Mutex::new(None) }
    }

    /// Locks until what is returned is dropped.
    pub(crate) fn hold(&'static self) -> Box<dyn Any>
    where
        T: 'static,
    {
        Box::new(self.table.lock())
    }

    /// Puts a thing up and gives its handle.
    pub(crate) fn put(&self, thing: Arc<T>) -> Result<u64, FacadeError> {
        let mut table = self.table.lock();
        let table = table.get_or_insert_with(|| Table::new(self.kind, self.count_max));
        Ok(table.insert(thing)?.number())
    }

    /// The thing of a handle.
    pub(crate) fn get(&self, handle: u64) -> Result<Arc<T>, FacadeError> {
        let table = self.table.lock();
        let table = table.as_ref().ok_or_else(|| crate::export::invalid("not a handle of this kind"))?;
        Ok(table.get(Handle::from_number(handle))?.clone())
    }

    /// Takes the thing of a handle down and closes the handle.
    pub(crate) fn take(&self, handle: u64) -> Result<Arc<T>, FacadeError> {
        let mut table = self.table.lock();
        let table = table.as_mut().ok_or_else(|| crate::export::invalid("not a handle of this kind"))?;
        Ok(table.remove(Handle::from_number(handle))?)
    }
}
