//! How result types are made: plain immutable values with their fields as attributes, compared, hashed and shown like
//! the tuple of their fields, and picklable.

/// Declares a struct that Python sees as a frozen class, with further methods behind `methods` if there are any. A field
/// may have a default.
macro_rules! record {
    (
        $(#[doc = $doc:literal])*
        $name:ident { $($(#[doc = $field_doc:literal])* $field:ident : $type:ty $(= $default:tt)?),* $(,)? }
        $(methods { $($methods:tt)* })?
    ) => {
        $(#[doc = $doc])*
        #[pyo3::pyclass(frozen, get_all, module = "slotkv")]
        pub struct $name {
            $($(#[doc = $field_doc])* pub $field: $type,)*
        }

        #[pyo3::pymethods]
        impl $name {
            #[new]
            #[pyo3(signature = ($($field $(= $default)?),*))]
            #[allow(clippy::too_many_arguments)]
            fn __new__($($field: $type),*) -> Self {
                Self { $($field),* }
            }

            #[classattr]
            fn __match_args__(py: pyo3::Python<'_>) -> pyo3::PyResult<pyo3::Py<pyo3::types::PyTuple>> {
                Ok(pyo3::types::PyTuple::new(py, [$(stringify!($field)),*])?.unbind())
            }

            fn __reduce__<'py>(
                slf: &pyo3::Bound<'py, Self>,
            ) -> pyo3::PyResult<(pyo3::Bound<'py, pyo3::types::PyType>, pyo3::Bound<'py, pyo3::types::PyTuple>)> {
                Ok((slf.get_type(), slf.get().fields(slf.py())?))
            }

            fn __repr__(&self, py: pyo3::Python<'_>) -> pyo3::PyResult<String> {
                $crate::record::show(stringify!($name), &[$(stringify!($field)),*], &self.fields(py)?)
            }

            fn __eq__(&self, py: pyo3::Python<'_>, other: &pyo3::Bound<'_, pyo3::PyAny>) -> pyo3::PyResult<bool> {
                use pyo3::prelude::*;
                match other.cast::<Self>() {
                    Ok(other) => self.fields(py)?.eq(other.get().fields(py)?),
                    Err(_) => Ok(false),
                }
            }

            fn __hash__(&self, py: pyo3::Python<'_>) -> pyo3::PyResult<isize> {
                use pyo3::prelude::*;
                self.fields(py)?.hash()
            }

            $($($methods)*)?
        }

        impl $name {
            fn fields<'py>(
                &self,
                py: pyo3::Python<'py>,
            ) -> pyo3::PyResult<pyo3::Bound<'py, pyo3::types::PyTuple>> {
                use pyo3::IntoPyObjectExt;
                pyo3::types::PyTuple::new(py, [$((&self.$field).into_py_any(py)?),*])
            }
        }
    };
}

pub(crate) use record;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// `Name(field=value, ...)`.
pub(crate) fn show(name: &str, fields: &[&str], values: &Bound<'_, PyTuple>) -> PyResult<String> {
    let shown: Vec<String> = fields
        .iter()
        .zip(values.iter())
        .map(|(field, value)| Ok(format!("{field}={}", value.repr()?)))
        .collect::<PyResult<_>>()?;
    Ok(format!("{name}({})", shown.join(", ")))
}
