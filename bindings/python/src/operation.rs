//! Operations as both clients make them: what to ask of the core, and how its answer looks in Python.

use bytes::Bytes;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use slotkv_facade::core::{self, Answer, Code, Command, Condition, Range};
use slotkv_facade::error::FacadeError;
use slotkv_facade::many;

use crate::arguments::{Key, Seconds, Token, Value};
use crate::errors;
use crate::results::{Delete, Entry, Put, WriteOutcome};

/// An operation of the core, and the form of its answer.
pub(crate) struct Operation {
    pub command: Command,
    pub form: Form,
}

/// How an answer looks in Python.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// bytes or None
    Value,
    /// Entry or None
    Entry,
    /// bool
    Flag,
    Put,
    Delete,
    /// int
    Number,
    Outcome,
    /// A list of one of the others; errors are among the results, or raised together.
    Many {
        each: &'static Form,
        return_errors: bool,
    },
}

pub(crate) fn get(Key(key): Key) -> Operation {
    Operation { command: Command::Get { key }, form: Form::Value }
}

pub(crate) fn get_entry(Key(key): Key) -> Operation {
    Operation { command: Command::Get { key }, form: Form::Entry }
}

pub(crate) fn has(Key(key): Key) -> Operation {
    Operation { command: Command::Has { key }, form: Form::Flag }
}

pub(crate) fn put(
    Key(key): Key,
    Value(value): Value,
    condition: Condition,
    ttl: Option<Seconds>,
) -> Operation {
    let ttl = ttl.map(|Seconds(ttl)| ttl);
    Operation { command: Command::Put { key, value, condition, ttl }, form: Form::Put }
}

pub(crate) fn expire(Key(key): Key, ttl: Option<Seconds>) -> Operation {
    Operation { command: Command::Expire { key, ttl: ttl.map(|Seconds(ttl)| ttl) }, form: Form::Put }
}

pub(crate) fn delete(Key(key): Key, condition: Condition) -> Operation {
    Operation { command: Command::Delete { key, condition }, form: Form::Delete }
}

pub(crate) fn increment(Key(key): Key, delta: i64) -> Operation {
    Operation { command: Command::Increment { key, delta }, form: Form::Number }
}

pub(crate) fn outcome(Token(token): Token) -> Operation {
    Operation { command: Command::Outcome { token }, form: Form::Outcome }
}

pub(crate) fn count(range: Range) -> Operation {
    Operation { command: Command::Count { range }, form: Form::Number }
}

pub(crate) fn get_many(keys: &Bound<'_, PyAny>, return_errors: bool) -> PyResult<Operation> {
    many(keys, &Form::Value, return_errors, |key| Ok(get(key.extract()?)))
}

pub(crate) fn delete_many(keys: &Bound<'_, PyAny>, return_errors: bool) -> PyResult<Operation> {
    many(keys, &Form::Delete, return_errors, |key| Ok(delete(key.extract()?, Condition::Always)))
}

/// `pairs` is a mapping, or yields pairs.
pub(crate) fn put_many(
    pairs: &Bound<'_, PyAny>,
    ttl: Option<Seconds>,
    return_errors: bool,
) -> PyResult<Operation> {
    let items = match pairs.cast::<PyDict>() {
        Ok(pairs) => pairs.items().into_any(),
        Err(_) if pairs.hasattr("items")? => pairs.call_method0("items")?,
        Err(_) => pairs.clone(),
    };
    many(&items, &Form::Put, return_errors, |pair| {
        let (key, value) = pair.extract()?;
        Ok(put(key, value, Condition::Always, ttl))
    })
}

fn many(
    things: &Bound<'_, PyAny>,
    each: &'static Form,
    return_errors: bool,
    operation: impl Fn(&Bound<'_, PyAny>) -> PyResult<Operation>,
) -> PyResult<Operation> {
    // A string is iterable, and never what was meant.
    if things.is_instance_of::<PyBytes>() || things.is_instance_of::<pyo3::types::PyString>() {
        let name = things.get_type().name()?;
        return Err(PyTypeError::new_err(format!("many keys are an iterable of keys, not {name}")));
    }
    let mut commands = Vec::with_capacity(things.len().unwrap_or(0));
    for thing in things.try_iter()? {
        commands.push(operation(&thing?)?.command);
    }
    Ok(Operation { command: Command::Many { commands }, form: Form::Many { each, return_errors } })
}

impl Form {
    /// The answer as an object.
    pub(crate) fn render(self, py: Python<'_>, answer: Answer) -> PyResult<Py<PyAny>> {
        match (self, answer) {
            (Form::Value, Answer::Entry(None)) | (Form::Entry, Answer::Entry(None)) => Ok(py.None()),
            (Form::Value, Answer::Entry(Some(entry))) => Ok(bytes(py, &entry.value)),
            (Form::Entry, Answer::Entry(Some(entry))) => Entry::new(py, &entry).into_py_any(py),
            (Form::Flag, Answer::Has(has)) => has.into_py_any(py),
            (Form::Put, Answer::Put(put)) => Put::from(put).into_py_any(py),
            (Form::Delete, Answer::Delete(delete)) => Delete::from(delete).into_py_any(py),
            (Form::Number, Answer::Number(number)) => number.into_py_any(py),
            (Form::Outcome, Answer::Outcome(outcome)) => WriteOutcome::from(outcome).into_py_any(py),
            (Form::Number, Answer::Count(count)) => count.into_py_any(py),
            (Form::Many { each, return_errors }, Answer::Many(answers)) => {
                render_many(py, *each, return_errors, answers)
            }
            (form, answer) => Err(unexpected(py, &format!("{answer:?} as the answer for {form:?}"))),
        }
    }
}

fn render_many(
    py: Python<'_>,
    each: Form,
    return_errors: bool,
    answers: Vec<core::Result<Answer>>,
) -> PyResult<Py<PyAny>> {
    let failure = many::failure(&answers);
    let mut first = None;
    let mut results = Vec::with_capacity(answers.len());
    for answer in answers {
        results.push(match answer {
            Ok(answer) => each.render(py, answer)?,
            Err(error) => {
                let error = errors::instance(py, error.into())?.unbind();
                first.get_or_insert_with(|| error.clone_ref(py));
                error
            }
        });
    }
    match (failure, first) {
        (Some(failure), Some(first)) if !return_errors => Err(errors::many(py, failure, &first, results)),
        _ => Ok(PyList::new(py, results)?.into_any().unbind()),
    }
}

pub(crate) fn bytes(py: Python<'_>, bytes: &Bytes) -> Py<PyAny> {
    PyBytes::new(py, bytes).into_any().unbind()
}

pub(crate) fn unexpected(py: Python<'_>, what: &str) -> PyErr {
    errors::exception(py, FacadeError::new(Code::Unexpected, what))
}
