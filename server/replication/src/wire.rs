//! Wire: messages as `slotkv.v1` has them. Everything that this crate says can be encoded; of what a peer says, whatever
//! it may not say is [`Malformed`], so that the state machine meets no number that it could not count on from.

use std::fmt;

use slotkv_proto::v1::{self, replica_message as wire};

use crate::{
    check::{Check, Health, Order},
    history::Position,
    member::{Inc, Member, Name},
    message::{Body, Holding, Message, Part, Record},
};

/// The largest message that is taken, in bytes as it is encoded: the largest record, and room for what goes around it.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// Longest name, incarnation or run, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// Most records in one message.
pub const RECORD_COUNT_MAX: usize = 65_536;
/// No index, epoch, instant or count is above it, so that adding to one never overflows.
pub const NUMBER_MAX: u64 = 1 << 62;
/// Longest lease, in microseconds: an hour.
pub const LEASE_US_MAX: u64 = 3_600_000_000;

/// What no replica says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message of a replica: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

impl From<Message> for v1::ReplicaMessage {
    fn from(message: Message) -> Self {
        let Message { from, to, epoch, body } = message;
        Self { from: Some(from.into()), to: to.to_string(), epoch, body: Some(body.into()) }
    }
}

impl From<Member> for v1::ReplicaMember {
    fn from(member: Member) -> Self {
        let Member { name, inc, run } = member;
        Self { name: name.to_string(), inc: inc.to_string(), run: run.to_string() }
    }
}

impl From<Position> for v1::LogPosition {
    fn from(position: Position) -> Self {
        Self { epoch: position.epoch, index: position.index }
    }
}

impl From<Body> for wire::Body {
    fn from(body: Body) -> Self {
        match body {
            Body::Heartbeat { sequence, sent_us, commit, counted, streaming, sync_index, echo, order } => {
                Self::Heartbeat(wire::Heartbeat {
                    sequence,
                    sent_us,
                    commit,
                    counted,
                    streaming,
                    sync_index,
                    echo,
                    read: order.read,
                    give_up: order.give_up.map_or_else(String::new, |inc| inc.to_string()),
                })
            }
            Body::Alive { sequence, sent_us, lease_us, synced, stamp, health } => {
                let Health { checked, read, rotten } = health;
                let checked = checked.map(|Check { at, hash }| wire::Check { at: Some(at.into()), hash });
                Self::Alive(wire::Alive { sequence, sent_us, lease_us, synced, stamp, checked, read, rotten })
            }
            Body::Join => Self::Join(wire::Join {}),
            Body::Match { nonce, of_epoch } => Self::Match(wire::Match { nonce, of_epoch }),
            Body::End { nonce, end, begin, loss_epoch } => Self::End(wire::End {
                nonce,
                end: end.map(Into::into),
                begin: Some(begin.into()),
                loss_epoch,
            }),
            Body::Matched { at } => Self::Matched(wire::Matched { at: Some(at.into()) }),
            Body::Append { before, records, commit } => {
                let record = |Record { position, payload }| wire::Record { epoch: position.epoch, payload };
                let records = records.into_iter().map(record).collect();
                Self::Append(wire::Append { before: Some(before.into()), records, commit })
            }
            Body::Committed { commit } => Self::Committed(wire::Committed { commit }),
            Body::Held { durable, synced } => Self::Held(wire::Held { durable, synced }),
            Body::Gap { last } => Self::Gap(wire::Gap { last }),
            Body::Part(Part { snapshot, at, number, is_last, bytes }) => {
                Self::Part(wire::Part { snapshot, at: Some(at.into()), number, is_last, bytes })
            }
            Body::Taken { snapshot, count } => Self::Taken(wire::Taken { snapshot, count }),
            Body::Refused => Self::Refused(wire::Refused {}),
            Body::Canvass { nonce, inc } => Self::Canvass(wire::Canvass { nonce, inc: inc.to_string() }),
            Body::Canvassed { nonce, wait_us, holds } => {
                let holds = match holds {
                    Holding::All => wire::Holding::All,
                    Holding::Remains => wire::Holding::Remains,
                    Holding::Nothing => wire::Holding::Nothing,
                };
                Self::Canvassed(wire::Canvassed { nonce, wait_us, holds: holds.into() })
            }
            Body::Yielded => Self::Yielded(wire::Yielded {}),
        }
    }
}

impl TryFrom<v1::ReplicaMessage> for Message {
    type Error = Malformed;

    fn try_from(message: v1::ReplicaMessage) -> Result<Self, Malformed> {
        let v1::ReplicaMessage { from, to, epoch, body } = message;
        let from = from.ok_or(Malformed("no sender"))?;
        let from = Member {
            name: name(from.name)?.into(),
            inc: name(from.inc)?.into(),
            run: name(from.run)?.into(),
        };
        let (to, epoch) = (Name::from(name(to)?), number(epoch)?);
        let body = body.ok_or(Malformed("it says nothing that is known here"))?;
        Ok(Self { from, to, epoch, body: said(body, epoch)? })
    }
}

fn said(body: wire::Body, epoch: u64) -> Result<Body, Malformed> {
    Ok(match body {
        wire::Body::Heartbeat(beat) => Body::Heartbeat {
            sequence: number(beat.sequence)?,
            sent_us: number(beat.sent_us)?,
            commit: number(beat.commit)?,
            counted: beat.counted,
            streaming: beat.streaming,
            sync_index: number(beat.sync_index)?,
            echo: beat.echo,
            order: Order { read: beat.read, give_up: given_up(beat.give_up)? },
        },
        wire::Body::Alive(alive) => {
            let wire::Alive { sequence, sent_us, lease_us, synced, stamp, checked, read, rotten } = alive;
            if lease_us > LEASE_US_MAX {
                return Err(Malformed("its lease is too long"));
            }
            let (sequence, sent_us, synced) = (number(sequence)?, number(sent_us)?, number(synced)?);
            let checked = match checked {
                Some(wire::Check { at, hash }) => Some(Check { at: position(at, epoch)?, hash }),
                None => None,
            };
            let health = Health { checked, read, rotten };
            Body::Alive { sequence, sent_us, lease_us, synced, stamp, health }
        }
        wire::Body::Join(wire::Join {}) => Body::Join,
        wire::Body::Match(wire::Match { nonce, of_epoch }) => {
            Body::Match { nonce, of_epoch: number(of_epoch)? }
        }
        wire::Body::End(wire::End { nonce, end, begin, loss_epoch }) => Body::End {
            nonce,
            end: end.map(|end| position(Some(end), epoch)).transpose()?,
            begin: position(begin, epoch)?,
            loss_epoch: number(loss_epoch)?,
        },
        wire::Body::Matched(wire::Matched { at }) => Body::Matched { at: position(at, epoch)? },
        wire::Body::Append(append) => self::append(append, epoch)?,
        wire::Body::Committed(wire::Committed { commit }) => Body::Committed { commit: number(commit)? },
        wire::Body::Held(wire::Held { durable, synced }) => {
            Body::Held { durable: number(durable)?, synced: number(synced)? }
        }
        wire::Body::Gap(wire::Gap { last }) => Body::Gap { last: number(last)? },
        wire::Body::Part(wire::Part { snapshot, at, number: part, is_last, bytes }) => Body::Part(Part {
            snapshot: number(snapshot)?,
            at: position(at, epoch)?,
            number: number(part)?,
            is_last,
            bytes,
        }),
        wire::Body::Taken(wire::Taken { snapshot, count }) => {
            Body::Taken { snapshot: number(snapshot)?, count: number(count)? }
        }
        wire::Body::Refused(wire::Refused {}) => Body::Refused,
        wire::Body::Canvass(wire::Canvass { nonce, inc }) => {
            Body::Canvass { nonce, inc: Inc::from(name(inc)?) }
        }
        wire::Body::Canvassed(wire::Canvassed { nonce, wait_us, holds }) => {
            let holds = match wire::Holding::try_from(holds) {
                Ok(wire::Holding::All) => Holding::All,
                Ok(wire::Holding::Remains) => Holding::Remains,
                Ok(wire::Holding::Nothing) => Holding::Nothing,
                Ok(wire::Holding::Unspecified) | Err(_) => {
                    return Err(Malformed("what it holds is not known here"));
                }
            };
            Body::Canvassed { nonce, wait_us: number(wait_us)?, holds }
        }
        wire::Body::Yielded(wire::Yielded {}) => Body::Yielded,
    })
}

/// Indexes follow from the record before, so they cannot leave a gap; epochs never go back, and none is above the sender's.
fn append(append: wire::Append, epoch: u64) -> Result<Body, Malformed> {
    let before = position(append.before, epoch)?;
    if append.records.is_empty() || append.records.len() > RECORD_COUNT_MAX {
        return Err(Malformed("no records, or too many"));
    }
    let mut last = before;
    let mut records = Vec::with_capacity(append.records.len());
    for record in append.records {
        if record.epoch < last.epoch || record.epoch > epoch {
            return Err(Malformed("epochs of records out of order"));
        }
        last = Position { epoch: record.epoch, index: number(last.index + 1)? };
        records.push(Record { position: last, payload: record.payload });
    }
    Ok(Body::Append { before, records, commit: number(append.commit)? })
}

fn given_up(inc: String) -> Result<Option<Inc>, Malformed> {
    if inc.is_empty() { Ok(None) } else { name(inc).map(|inc| Some(inc.into())) }
}

fn name(text: String) -> Result<String, Malformed> {
    match text.len() {
        1..=NAME_BYTES_MAX => Ok(text),
        _ => Err(Malformed("a name is empty or too long")),
    }
}

fn number(value: u64) -> Result<u64, Malformed> {
    if value > NUMBER_MAX { Err(Malformed("a number is too high")) } else { Ok(value) }
}

/// Of a log that the sender has matched with the log of `epoch`'s primary, or leads itself.
fn position(position: Option<v1::LogPosition>, epoch: u64) -> Result<Position, Malformed> {
    let v1::LogPosition { epoch: of, index } = position.ok_or(Malformed("a position is missing"))?;
    if of > epoch {
        return Err(Malformed("a record is of a later epoch than the message"));
    }
    Ok(Position { epoch: of, index: number(index)? })
}
