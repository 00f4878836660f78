//! What a call asks, as a structure: for calls that go to a queue, several at once.

use std::ffi::c_void;
use std::time::Duration;

use slotkv_facade::core::{CallOptions, Command, Condition, Range};
use slotkv_facade::error::FacadeError;

use crate::bytes::{array, slotkv_bytes};
use crate::export::invalid;
use crate::options::{self, slotkv_call_options, slotkv_range};

/// Operations in operations: of many, which cannot be of many themselves.
const DEPTH_MAX: u32 = 1;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum slotkv_operation_kind {
    /// The value of key.
    Get = 1,
    /// Whether key exists.
    Has = 2,
    /// Stores value under key if condition holds.
    Put = 3,
    /// Removes key if condition holds.
    Delete = 4,
    /// Adds delta to the decimal number under key; an absent key counts as 0.
    Increment = 5,
    /// How many keys range has.
    Count = 6,
    /// A page of a scan of range, from cursor on. It may be empty although there are more.
    Page = 7,
    /// Every item of range, in key order. For debugging: it has to fit into memory.
    Dump = 8,
    /// What a master says of the cluster.
    Status = 9,
    /// Those of operations, in any order, each with its own result.
    Many = 10,
    /// What came of the write that token stands for.
    Outcome = 11,
    /// Gives key, which has to exist, the lifetime ttl_ms of its options from now on; 0: it lives for ever.
    Expire = 12,
}

/// What must hold for a write to take place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum slotkv_condition {
    /// Nothing.
    Always = 0,
    /// The key is absent. Not for a delete.
    Absent = 1,
    /// The key exists.
    Present = 2,
    /// The key exists in this version.
    Version = 3,
}

/// An operation. Start from slotkv_operation(kind); what its kind does not name is not looked at. It is read and copied
/// before the call that takes it returns.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_operation {
    /// sizeof(slotkv_operation_t)
    pub size: usize,
    /// A slotkv_operation_kind_t.
    pub kind: u32,
    /// A slotkv_condition_t.
    pub condition: u32,
    /// The key.
    pub key: slotkv_bytes,
    /// The value to store.
    pub value: slotkv_bytes,
    /// For SLOTKV_CONDITION_VERSION.
    pub version: u64,
    /// What to add.
    pub delta: i64,
    /// Which keys; NULL for all.
    pub range: *const slotkv_range,
    /// Where a scan goes on; NULL data for its beginning.
    pub cursor: slotkv_bytes,
    /// Operations of many keys; their options and contexts are not looked at.
    pub operations: *const slotkv_operation,
    /// How many they are.
    pub operations_count: usize,
    /// What this operation says differently from its client; NULL for nothing.
    pub options: *const slotkv_call_options,
    /// The caller's; comes back in the completion.
    pub context: *mut c_void,
    /// Of an error whose outcome is unknown.
    pub token: slotkv_bytes,
}

// SAFETY: numbers and pointers; the size is the first.
unsafe impl options::Growing for slotkv_operation {}

/// What the facade is to do.
pub(crate) enum Work {
    Call(Command),
    Dump(Range),
    Status,
}

/// An operation, read.
pub(crate) struct Order {
    pub work: Work,
    pub call: slotkv_call_options,
    pub options: CallOptions,
    pub context: *mut c_void,
}

/// Reads one operation.
///
/// # Safety
/// What it points to is there.
pub(crate) unsafe fn read(operation: *const slotkv_operation) -> Result<Order, FacadeError> {
    if operation.is_null() {
        return Err(invalid("the operation is NULL"));
    }
    // SAFETY: the caller's promise.
    unsafe {
        let operation = options::read(operation, "the operation")?;
        let call = options::read(operation.options, "the call's options")?;
        let options = call.core()?;
        let work = lasting(work(&operation, 0)?, call.ttl_ms)?;
        Ok(Order { work, call, options, context: operation.context })
    }
}

/// Reads several operations, which follow one another at the distance that the first says is its size.
///
/// # Safety
/// What they point to is there.
pub(crate) unsafe fn read_all(
    first: *const slotkv_operation,
    count: usize,
) -> Result<Vec<Order>, FacadeError> {
    // SAFETY: the caller's promise.
    unsafe { each(first, count) }?.map(|operation| unsafe { read(operation?) }).collect()
}

/// Gives what is stored a lifetime.
pub(crate) fn lasting(work: Work, ttl_ms: u64) -> Result<Work, FacadeError> {
    match work {
        work if ttl_ms == 0 => Ok(work),
        Work::Call(command) => Ok(Work::Call(with_ttl(command, Duration::from_millis(ttl_ms))?)),
        Work::Dump(_) | Work::Status => Err(stores_nothing()),
    }
}

fn with_ttl(command: Command, ttl: Duration) -> Result<Command, FacadeError> {
    match command {
        Command::Put { key, value, condition, .. } => {
            Ok(Command::Put { key, value, condition, ttl: Some(ttl) })
        }
        Command::Expire { key, ttl: None } => Ok(Command::Expire { key, ttl: Some(ttl) }),
        Command::Many { commands } => {
            let commands = commands.into_iter().map(|command| with_ttl(command, ttl));
            Ok(Command::Many { commands: commands.collect::<Result<_, _>>()? })
        }
        _ => Err(stores_nothing()),
    }
}

fn stores_nothing() -> FacadeError {
    invalid("ttl_ms among the options of a call that stores nothing")
}

type Place = Result<*const slotkv_operation, FacadeError>;

/// Where several operations are.
///
/// # Safety
/// There are so many.
unsafe fn each(
    first: *const slotkv_operation,
    count: usize,
) -> Result<impl Iterator<Item = Place>, FacadeError> {
    let size = match count {
        0 => 0,
        _ if first.is_null() || !first.is_aligned() => return Err(invalid("the operations are NULL")),
        // SAFETY: the first field of the first.
        _ => unsafe { first.cast::<usize>().read() },
    };
    if !size.is_multiple_of(align_of::<slotkv_operation>()) || size.checked_mul(count).is_none() {
        return Err(invalid(format!("an operation of {size} bytes; set size to sizeof(slotkv_operation_t)")));
    }
    Ok((0..count).map(move |number| {
        let operation = first.wrapping_byte_add(number * size);
        // SAFETY: there are so many; the size was checked by whoever read the one before.
        if unsafe { operation.cast::<usize>().read() } != size {
            return Err(invalid(format!("operation {number} has another size than the first")));
        }
        Ok(operation)
    }))
}

/// # Safety
/// What it points to is there.
unsafe fn work(operation: &slotkv_operation, depth: u32) -> Result<Work, FacadeError> {
    // SAFETY: the caller's promise.
    let range = || unsafe { options::read(operation.range, "the range")?.core() };
    // SAFETY: as above.
    let key = || unsafe { operation.key.copy("the key") };
    let kinds = [
        slotkv_operation_kind::Get,
        slotkv_operation_kind::Has,
        slotkv_operation_kind::Put,
        slotkv_operation_kind::Delete,
        slotkv_operation_kind::Increment,
        slotkv_operation_kind::Count,
        slotkv_operation_kind::Page,
        slotkv_operation_kind::Dump,
        slotkv_operation_kind::Status,
        slotkv_operation_kind::Many,
        slotkv_operation_kind::Outcome,
        slotkv_operation_kind::Expire,
    ];
    let known = kinds.into_iter().find(|&kind| kind as u32 == operation.kind);
    let kind = known.ok_or_else(|| invalid(format!("{} is no kind of operation", operation.kind)))?;
    Ok(Work::Call(match kind {
        slotkv_operation_kind::Get => Command::Get { key: key()? },
        slotkv_operation_kind::Has => Command::Has { key: key()? },
        slotkv_operation_kind::Put => {
            // SAFETY: as above.
            let value = unsafe { operation.value.copy("the value")? };
            Command::Put { key: key()?, value, condition: condition(operation)?, ttl: None }
        }
        slotkv_operation_kind::Delete => Command::Delete { key: key()?, condition: condition(operation)? },
        slotkv_operation_kind::Increment => Command::Increment { key: key()?, delta: operation.delta },
        slotkv_operation_kind::Expire => Command::Expire { key: key()?, ttl: None },
        slotkv_operation_kind::Count => Command::Count { range: range()? },
        slotkv_operation_kind::Page => {
            // SAFETY: as above.
            let cursor = unsafe { operation.cursor.copy_if_given("the cursor")? };
            Command::ScanPage { range: range()?, cursor }
        }
        slotkv_operation_kind::Outcome => {
            // SAFETY: as above.
            Command::Outcome { token: unsafe { operation.token.copy("the token")? } }
        }
        slotkv_operation_kind::Dump => return Ok(Work::Dump(range()?)),
        slotkv_operation_kind::Status => return Ok(Work::Status),
        slotkv_operation_kind::Many if depth >= DEPTH_MAX => {
            return Err(invalid("an operation of many keys inside another"));
        }
        slotkv_operation_kind::Many => {
            // SAFETY: as above.
            let places = unsafe { each(operation.operations, operation.operations_count)? };
            let command = |place: Place| {
                // SAFETY: as above.
                let (inner, work) = unsafe {
                    let inner = options::read(place?, "an operation")?;
                    (inner.kind, work(&inner, depth + 1)?)
                };
                match work {
                    Work::Call(command) if is_of_one_key(&command) => Ok(command),
                    _ => Err(invalid(format!("an operation of kind {inner} among those of many keys"))),
                }
            };
            Command::Many { commands: places.map(command).collect::<Result<_, FacadeError>>()? }
        }
    }))
}

fn is_of_one_key(command: &Command) -> bool {
    match command {
        Command::Get { .. }
        | Command::Has { .. }
        | Command::Put { .. }
        | Command::Expire { .. }
        | Command::Delete { .. }
        | Command::Increment { .. } => true,
        Command::Outcome { .. } | Command::Count { .. } | Command::ScanPage { .. } | Command::Many { .. } => {
            false
        }
    }
}

fn condition(operation: &slotkv_operation) -> Result<Condition, FacadeError> {
    match operation.condition {
        number if number == slotkv_condition::Always as u32 => Ok(Condition::Always),
        number if number == slotkv_condition::Absent as u32 => Ok(Condition::Absent),
        number if number == slotkv_condition::Present as u32 => Ok(Condition::Present),
        number if number == slotkv_condition::Version as u32 => Ok(Condition::Version(operation.version)),
        number => Err(invalid(format!("{number} is no condition"))),
    }
}

/// A key and the value to store under it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct slotkv_pair {
    /// The key.
    pub key: slotkv_bytes,
    /// The value.
    pub value: slotkv_bytes,
}

/// One command for each of many keys.
///
/// # Safety
/// `first` points to `count` values, and those to what they say.
pub(crate) unsafe fn many<T: Copy>(
    first: *const T,
    count: usize,
    command: impl Fn(T) -> Result<Command, FacadeError>,
) -> Result<Command, FacadeError> {
    // SAFETY: the caller's promise.
    let things = unsafe { array(first, count, "the keys")? };
    Ok(Command::Many { commands: things.iter().copied().map(command).collect::<Result<_, _>>()? })
}
