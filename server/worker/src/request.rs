//! From a request on the wire to what it asks for: every argument is checked here, before anything is allocated for it.

use std::sync::Arc;

use bytes::Bytes;
use slotkv_proto::{
    Code,
    keys::Keys,
    limits::{
        CLIENT_ID_BYTES, GET_MANY_KEYS_MAX, KEY_BYTES_MAX, NAMESPACE_BYTES_MAX, PAGE_BYTES_MAX,
        PAGE_ITEMS_MAX, TTL_MS_MAX, VALUE_BYTES_MAX,
    },
    v1::{self, Operation, Reply, Request},
};

use crate::{
    decide::{Change, Condition},
    retry::{ClientId, Ticket},
};

/// Why a request was refused: the code and a sentence.
pub type Refusal = (Code, String);

/// Who sends: what the stream's hello said.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The client of writes that name none.
    pub client: ClientId,
    /// The namespace of requests that name none.
    pub namespace: Arc<str>,
}

/// What a request asks for.
#[derive(Clone, Debug)]
pub enum Asked {
    /// The value of a key; without it if only its presence is asked for.
    Read {
        /// Whether the reply carries the value.
        value: bool,
    },
    /// The values of many keys.
    ReadMany,
    /// A write.
    Write(Change, Ticket),
    /// A page of keys.
    Page(Page),
}

/// A page of a scan, or of a count.
#[derive(Clone, Debug)]
pub struct Page {
    /// First and last slot to look at.
    pub slots: (u16, u16),
    /// Only keys with this prefix.
    pub prefix: Bytes,
    /// Only keys from this one on.
    pub start: Bytes,
    /// Only keys before this one; empty means no end.
    pub end: Bytes,
    /// Go on behind this slot and key.
    pub after: Option<(u16, Bytes)>,
    /// How many records the page may hold.
    pub items_max: usize,
    /// How many bytes it may hold; one record always fits.
    pub bytes_max: usize,
    /// Leave the values out.
    pub keys_only: bool,
    /// Merge the slots in key order.
    pub ordered: bool,
    /// Only tell how many there are.
    pub count_only: bool,
}

/// Checks a request and says what it asks for.
pub fn check(request: &Request, sender: &Sender, slot_count: u16) -> Result<Asked, Refusal> {
    let operation = Operation::try_from(request.operation).unwrap_or(Operation::Unspecified);
    check_limits(request, sender)?;
    check_ttl(operation, request.ttl_ms)?;
    if v1::ReadLevel::try_from(request.read_level).is_err() {
        return Err((Code::Unsupported, format!("read level {} is not known", request.read_level)));
    }
    match operation {
        Operation::Get | Operation::Has => {
            check_key(request)?;
            Ok(Asked::Read { value: operation == Operation::Get })
        }
        Operation::GetMany => {
            check_keys(request, sender)?;
            Ok(Asked::ReadMany)
        }
        Operation::Put | Operation::Delete | Operation::Increment | Operation::Expire => {
            check_key(request)?;
            let condition = condition(request)?;
            let change = match operation {
                Operation::Put => Change::Put(request.value.clone(), condition, request.ttl_ms),
                Operation::Expire if condition != Condition::Absent => {
                    Change::Expire(condition, request.ttl_ms)
                }
                Operation::Expire => {
                    return Err((Code::InvalidArgument, "an expire of an absent key makes no sense".into()));
                }
                Operation::Delete => Change::Delete(condition),
                _ if condition == Condition::Always => Change::Increment(request.delta),
                _ => return Err((Code::InvalidArgument, "an increment takes no condition".into())),
            };
            Ok(Asked::Write(change, ticket(request, sender)?))
        }
        Operation::Outcome => {
            check_key(request)?;
            Ok(Asked::Write(Change::Outcome, outcome_ticket(request, sender)?))
        }
        Operation::Count | Operation::Scan => {
            page(request, slot_count, operation == Operation::Count).map(Asked::Page)
        }
        Operation::Unspecified => {
            Err((Code::Unsupported, format!("operation {} is not known", request.operation)))
        }
    }
}

/// The namespace a request is in.
pub fn namespace(request: &Request, sender: &Sender) -> Arc<str> {
    match &request.namespace {
        Some(name) => Arc::from(name.as_str()),
        None => sender.namespace.clone(),
    }
}

/// A reply that refuses.
pub fn refuse(id: u64, (code, message): Refusal) -> Reply {
    Reply { id, code: code.number(), message, ..Reply::default() }
}

fn check_limits(request: &Request, sender: &Sender) -> Result<(), Refusal> {
    let namespace = namespace_bytes(request, sender);
    if namespace > NAMESPACE_BYTES_MAX {
        return Err((
            Code::TooLarge,
            format!("a namespace of {namespace} bytes; the limit is {NAMESPACE_BYTES_MAX}"),
        ));
    }
    check_key_bytes(request.key.len() + namespace)?;
    if request.value.len() > VALUE_BYTES_MAX {
        return Err((
            Code::TooLarge,
            format!("a value of {} bytes; the limit is {VALUE_BYTES_MAX}", request.value.len()),
        ));
    }
    Ok(())
}

fn check_ttl(operation: Operation, ttl_ms: u64) -> Result<(), Refusal> {
    if ttl_ms > TTL_MS_MAX {
        let text = format!("a lifetime of {ttl_ms} ms; the limit is {TTL_MS_MAX}");
        return Err((Code::InvalidArgument, text));
    }
    if ttl_ms != 0 && !matches!(operation, Operation::Put | Operation::Expire) {
        return Err((Code::InvalidArgument, "only a put and an expire take a lifetime".into()));
    }
    Ok(())
}

fn namespace_bytes(request: &Request, sender: &Sender) -> usize {
    request.namespace.as_deref().unwrap_or(&sender.namespace).len()
}

fn check_key_bytes(bytes: usize) -> Result<(), Refusal> {
    if bytes > KEY_BYTES_MAX {
        return Err((
            Code::TooLarge,
            format!("a key of {bytes} bytes with its namespace; the limit is {KEY_BYTES_MAX}"),
        ));
    }
    Ok(())
}

fn check_key(request: &Request) -> Result<(), Refusal> {
    if request.key.is_empty() { Err(empty_key()) } else { Ok(()) }
}

fn empty_key() -> Refusal {
    (Code::InvalidArgument, "an empty key; the shortest is one byte".into())
}

fn check_keys(request: &Request, sender: &Sender) -> Result<(), Refusal> {
    let namespace = namespace_bytes(request, sender);
    let mut count = 0;
    for key in Keys::of(&request.keys) {
        let key = key.map_err(|malformed| (Code::InvalidArgument, malformed.to_string()))?;
        if key.is_empty() {
            return Err(empty_key());
        }
        check_key_bytes(key.len() + namespace)?;
        count += 1;
        if count > GET_MANY_KEYS_MAX {
            return Err((Code::TooLarge, format!("more than {GET_MANY_KEYS_MAX} keys in one request")));
        }
    }
    if count == 0 {
        Err((Code::InvalidArgument, "a request for many keys names none".into()))
    } else {
        Ok(())
    }
}

fn condition(request: &Request) -> Result<Condition, Refusal> {
    match v1::Condition::try_from(request.condition) {
        Ok(v1::Condition::Always) => Ok(Condition::Always),
        Ok(v1::Condition::Absent) => Ok(Condition::Absent),
        Ok(v1::Condition::Present) => Ok(Condition::Present),
        Ok(v1::Condition::Version) => Ok(Condition::Version(request.version)),
        Err(_) => Err((Code::Unsupported, format!("condition {} is not known", request.condition))),
    }
}

fn ticket(request: &Request, sender: &Sender) -> Result<Ticket, Refusal> {
    let client = if request.client_id.is_empty() {
        sender.client
    } else {
        ClientId::try_from(&request.client_id[..]).map_err(|_| {
            (
                Code::InvalidArgument,
                format!("a client id of {} bytes; it has {CLIENT_ID_BYTES}", request.client_id.len()),
            )
        })?
    };
    if request.oldest_open > request.sequence {
        return Err((
            Code::InvalidArgument,
            format!("oldest open sequence {} above sequence {}", request.oldest_open, request.sequence),
        ));
    }
    Ok(Ticket {
        client,
        sequence: request.sequence,
        oldest_open: request.oldest_open,
        fence_index: request.fence_index,
        repeated: request.repeated,
    })
}

/// The ticket of the write that is asked for. What is settled by asking is kept, as a repetition's answer is, and the asker says
/// nothing of the client's other writes.
fn outcome_ticket(request: &Request, sender: &Sender) -> Result<Ticket, Refusal> {
    if request.sequence == 0 {
        return Err((Code::InvalidArgument, "an outcome is asked for by the write's sequence".into()));
    }
    Ok(Ticket { oldest_open: 0, repeated: true, ..ticket(request, sender)? })
}

fn page(request: &Request, slot_count: u16, count_only: bool) -> Result<Page, Refusal> {
    let range = request.range.clone().unwrap_or_default();
    let slot = |number: u32| {
        u16::try_from(number).ok().filter(|&slot| slot < slot_count).ok_or_else(|| {
            (Code::InvalidArgument, format!("slot {number} of a cluster with {slot_count} slots"))
        })
    };
    let slots = (slot(range.slot_first)?, slot(range.slot_last)?);
    for (name, bytes) in
        [("prefix", &range.prefix), ("start", &range.start), ("end", &range.end), ("after", &range.after_key)]
    {
        if bytes.len() > KEY_BYTES_MAX {
            return Err((
                Code::TooLarge,
                format!("a {name} of {} bytes; the limit is {KEY_BYTES_MAX}", bytes.len()),
            ));
        }
    }
    let after =
        range.resumed.then(|| slot(range.after_slot).map(|slot| (slot, range.after_key))).transpose()?;
    let bound = |asked: u32, limit: u32| if asked == 0 { limit } else { asked.min(limit) } as usize;
    Ok(Page {
        slots,
        prefix: range.prefix,
        start: range.start,
        end: range.end,
        after,
        items_max: bound(range.items_max, PAGE_ITEMS_MAX),
        bytes_max: bound(range.bytes_max, PAGE_BYTES_MAX),
        keys_only: range.keys_only,
        ordered: range.ordered,
        count_only,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender() -> Sender {
        Sender { client: [1; 16], namespace: Arc::from("") }
    }

    fn request(operation: Operation) -> Request {
        Request { operation: operation as i32, key: Bytes::from_static(b"k"), ..Request::default() }
    }

    fn code(request: &Request) -> Code {
        check(request, &sender(), 16).unwrap_err().0
    }

    #[test]
    fn what_this_build_does_not_know_is_unsupported() {
        assert_eq!(code(&Request { operation: 99, ..request(Operation::Get) }), Code::Unsupported);
        assert_eq!(code(&Request { condition: 9, ..request(Operation::Put) }), Code::Unsupported);
        assert_eq!(code(&Request { read_level: 9, ..request(Operation::Get) }), Code::Unsupported);
        assert_eq!(code(&request(Operation::Unspecified)), Code::Unsupported);
        assert_eq!(code(&request(Operation::Outcome)), Code::InvalidArgument);
    }

    #[test]
    fn a_lifetime_has_a_limit_and_belongs_to_puts_and_expires() {
        for operation in [Operation::Put, Operation::Expire] {
            let with = |ttl_ms| Request { ttl_ms, ..request(operation) };
            assert!(check(&with(TTL_MS_MAX), &sender(), 16).is_ok());
            assert_eq!(code(&with(TTL_MS_MAX + 1)), Code::InvalidArgument);
        }
        assert_eq!(code(&Request { ttl_ms: 1, ..request(Operation::Get) }), Code::InvalidArgument);
        assert_eq!(code(&Request { ttl_ms: 1, ..request(Operation::Increment) }), Code::InvalidArgument);
        let absent = v1::Condition::Absent as i32;
        assert_eq!(code(&Request { condition: absent, ..request(Operation::Expire) }), Code::InvalidArgument);
    }

    #[test]
    fn a_key_at_the_limit_passes_and_one_byte_more_names_the_limit() {
        let mut at_limit = request(Operation::Get);
        at_limit.namespace = Some("ns".into());
        at_limit.key = Bytes::from(vec![0; KEY_BYTES_MAX - 2]);
        assert!(check(&at_limit, &sender(), 16).is_ok());
        at_limit.key = Bytes::from(vec![0; KEY_BYTES_MAX - 1]);
        let (code, text) = check(&at_limit, &sender(), 16).unwrap_err();
        assert_eq!(code, Code::TooLarge);
        assert!(text.contains("32769") && text.contains("32768"), "{text}");
    }

    #[test]
    fn values_namespaces_and_ids_past_their_limits_are_refused() {
        let mut put = request(Operation::Put);
        put.value = Bytes::from(vec![0; VALUE_BYTES_MAX]);
        assert!(check(&put, &sender(), 16).is_ok());
        put.value = Bytes::from(vec![0; VALUE_BYTES_MAX + 1]);
        assert_eq!(code(&put), Code::TooLarge);
        let long = "n".repeat(NAMESPACE_BYTES_MAX + 1);
        assert_eq!(code(&Request { namespace: Some(long), ..request(Operation::Get) }), Code::TooLarge);
        let short = Bytes::from_static(b"short");
        assert_eq!(code(&Request { client_id: short, ..request(Operation::Put) }), Code::InvalidArgument);
        assert_eq!(code(&Request { key: Bytes::new(), ..request(Operation::Get) }), Code::InvalidArgument);
        assert_eq!(
            code(&Request { oldest_open: 2, sequence: 1, ..request(Operation::Put) }),
            Code::InvalidArgument
        );
    }

    #[test]
    fn keys_of_many_have_the_limits_of_one_and_a_limit_of_their_number() {
        let many = |keys: &[&[u8]]| {
            let mut bytes = bytes::BytesMut::new();
            keys.iter().for_each(|key| slotkv_proto::keys::append(key, &mut bytes));
            Request { keys: bytes.freeze(), key: Bytes::new(), ..request(Operation::GetMany) }
        };
        assert!(check(&many(&[&b"k"[..]; GET_MANY_KEYS_MAX]), &sender(), 16).is_ok());
        assert_eq!(code(&many(&[&b"k"[..]; GET_MANY_KEYS_MAX + 1])), Code::TooLarge);
        assert_eq!(code(&many(&[])), Code::InvalidArgument);
        assert_eq!(code(&many(&[b"k", b""])), Code::InvalidArgument);
        assert_eq!(code(&many(&[b"k", &[0; KEY_BYTES_MAX + 1]])), Code::TooLarge);
        let cut = Bytes::from_static(&[1, b'k', 2, b'k']);
        assert_eq!(code(&Request { keys: cut, ..request(Operation::GetMany) }), Code::InvalidArgument);
    }

    #[test]
    fn a_page_outside_the_clusters_slots_is_refused() {
        let mut scan = request(Operation::Scan);
        scan.range = Some(v1::Range { slot_last: 16, ..v1::Range::default() });
        assert_eq!(code(&scan), Code::InvalidArgument);
    }
}
