//! What operations on keys answer.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use slotkv_facade::core;

use crate::record::record;

/// What a write did, as Python sees it: a lower-case word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Created,
    Updated,
    Deleted,
    NotFound,
    Unmet,
    NotApplied,
    Forgotten,
}

impl<'py> IntoPyObject<'py> for &Status {
    type Target = PyString;
    type Output = Bound<'py, PyString>;
    type Error = std::convert::Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        let word = match self {
            Status::Created => intern!(py, "created"),
            Status::Updated => intern!(py, "updated"),
            Status::Deleted => intern!(py, "deleted"),
            Status::NotFound => intern!(py, "not_found"),
            Status::Unmet => intern!(py, "unmet"),
            Status::NotApplied => intern!(py, "not_applied"),
            Status::Forgotten => intern!(py, "forgotten"),
        };
        Ok(word.clone())
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Status {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match object.extract::<&str>()? {
            "created" => Ok(Status::Created),
            "updated" => Ok(Status::Updated),
            "deleted" => Ok(Status::Deleted),
            "not_found" => Ok(Status::NotFound),
            "unmet" => Ok(Status::Unmet),
            "not_applied" => Ok(Status::NotApplied),
            "forgotten" => Ok(Status::Forgotten),
            other => Err(PyValueError::new_err(format!("{other:?} is no status of a write"))),
        }
    }
}

record! {
    /// What a put did. True if the value was stored.
    Put {
        /// "created", "updated", or "unmet" if the condition did not hold and nothing was changed.
        status: Status,
        /// The key's version after the operation; 0 if the key is absent.
        version: u64,
    }
    methods {
        /// Whether the value was stored.
        #[getter]
        fn done(&self) -> bool {
            self.status != Status::Unmet
        }

        fn __bool__(&self) -> bool {
            self.done()
        }
    }
}

record! {
    /// What a delete did. True if the key was removed.
    Delete {
        /// "deleted", "not_found", or "unmet" if the condition did not hold and nothing was changed.
        status: Status,
        /// The version of the deletion; with "unmet" the key's version as it stands; else 0.
        version: u64,
    }
    methods {
        /// Whether the key was removed.
        #[getter]
        fn done(&self) -> bool {
            self.status == Status::Deleted
        }

        fn __bool__(&self) -> bool {
            self.done()
        }
    }
}

record! {
    /// What came of a write whose outcome was unknown. True if it was applied.
    WriteOutcome {
        /// "created", "updated" or "deleted" if it was applied; "not_found" or "unmet" if it was carried out and changed
        /// nothing; "not_applied" if it was not and never will be; "forgotten" if nobody knows any more.
        status: Status,
        /// The key's version as the write told it; 0 if it told none.
        version: u64,
        /// The sum, if it was an increment.
        number: i64,
    }
    methods {
        /// Whether the write changed something.
        #[getter]
        fn applied(&self) -> bool {
            matches!(self.status, Status::Created | Status::Updated | Status::Deleted)
        }

        fn __bool__(&self) -> bool {
            self.applied()
        }
    }
}

record! {
    /// A value with its version.
    Entry {
        /// The value.
        value: Py<PyBytes>,
        /// Grows with every write of the key, also over a deletion.
        version: u64,
        /// What is left of its lifetime, in seconds; None if it lives for ever.
        ttl: Option<f64> = None,
    }
}

record! {
    /// A key of a scan.
    Item {
        /// The key.
        key: Py<PyBytes>,
        /// Its value; empty with `keys_only`.
        value: Py<PyBytes>,
        /// Its version.
        version: u64,
        /// Its slot.
        slot: u16,
        /// What is left of its lifetime, in seconds; None if it lives for ever.
        ttl: Option<f64> = None,
    }
}

impl From<core::Put> for Put {
    fn from(put: core::Put) -> Self {
        let status = match put {
            core::Put::Created { .. } => Status::Created,
            core::Put::Updated { .. } => Status::Updated,
            core::Put::Unmet { .. } => Status::Unmet,
        };
        Self { status, version: put.version() }
    }
}

impl From<core::Delete> for Delete {
    fn from(delete: core::Delete) -> Self {
        let (status, version) = match delete {
            core::Delete::Deleted { version } => (Status::Deleted, version),
            core::Delete::NotFound => (Status::NotFound, 0),
            core::Delete::Unmet { version } => (Status::Unmet, version),
        };
        Self { status, version }
    }
}

impl From<core::WriteOutcome> for WriteOutcome {
    fn from(outcome: core::WriteOutcome) -> Self {
        let status = match outcome.status {
            core::WriteStatus::Created => Status::Created,
            core::WriteStatus::Updated => Status::Updated,
            core::WriteStatus::Deleted => Status::Deleted,
            core::WriteStatus::NotFound => Status::NotFound,
            core::WriteStatus::Unmet => Status::Unmet,
            core::WriteStatus::NotApplied => Status::NotApplied,
            core::WriteStatus::Forgotten => Status::Forgotten,
        };
        Self { status, version: outcome.version, number: outcome.number }
    }
}

impl Entry {
    pub(crate) fn new(py: Python<'_>, entry: &core::Entry) -> Self {
        Self {
            value: PyBytes::new(py, &entry.value).unbind(),
            version: entry.version,
            ttl: entry.ttl.as_ref().map(Duration::as_secs_f64),
        }
    }
}

impl Item {
    pub(crate) fn new(py: Python<'_>, item: &core::Item) -> Self {
        Self {
            key: PyBytes::new(py, &item.key).unbind(),
            value: PyBytes::new(py, &item.value).unbind(),
            version: item.version,
            slot: item.slot,
            ttl: item.ttl.as_ref().map(Duration::as_secs_f64),
        }
    }
}
