//! Report: what the two sides of a hand-over tell the leader, as nodes under `/migrations` that outlive who wrote them. They decide
//! nothing: what is true of a hand-over stands in `/slots` and in the shards' logs, and what a report says stays
//! true. The leader deletes them when the hand-over is closed.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use slotkv_migration::{Id, Report, Said};
use slotkv_proto::table::ShardId;

use crate::{
    Error, Expect, Mode, Session,
    membership::ATTEMPTS_MAX,
    paths,
    registers::{Register, check_format, decode_as, encode_as},
};

/// Longest reason that is told, in bytes.
pub const WHY_BYTES_MAX: usize = 512;

/// What the primary of one side tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandoverReport {
    /// Of which shard.
    pub shard: ShardId,
    /// Of the primary that tells it. One of a lower epoch never replaces one of a higher.
    pub epoch: u64,
    /// Its process.
    pub run: String,
    /// Which hand-over.
    pub id: u64,
    /// As its source; else as its target.
    pub is_source: bool,
    /// What.
    pub said: Said,
    /// Bytes that this primary has sent (source) or logged (target) in all, whatever it says now.
    pub sent_bytes: u64,
    /// Bytes that are missing at the target, as far as it knows.
    pub behind_bytes: u64,
    /// For how long the slots were served by nobody, as this side saw it; 0: not known.
    pub pause_us: u64,
}

/// The node's JSON.
#[derive(Serialize, Deserialize)]
struct Written {
    shard: ShardId,
    epoch: u64,
    run: String,
    id: u64,
    side: Side,
    said: Word,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    why: String,
    sent_bytes: u64,
    behind_bytes: u64,
    #[serde(default)]
    pause_us: u64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Source,
    Target,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Copying,
    Sealed,
    Imported,
    Failed,
    Done,
}

impl HandoverReport {
    /// As the leader takes it.
    pub fn report(&self) -> Report {
        Report { id: Id(self.id), is_source: self.is_source, said: self.said.clone() }
    }

    /// Where it is kept.
    pub fn path(&self) -> String {
        paths::report(self.id, self.is_source)
    }

    fn written(&self) -> Written {
        let (said, why) = match &self.said {
            Said::Copying { .. } => (Word::Copying, ""),
            Said::Sealed => (Word::Sealed, ""),
            Said::Imported => (Word::Imported, ""),
            Said::Failed(why) => (Word::Failed, cut(why)),
            Said::Done => (Word::Done, ""),
        };
        Written {
            shard: self.shard,
            epoch: self.epoch,
            run: self.run.clone(),
            id: self.id,
            side: if self.is_source { Side::Source } else { Side::Target },
            said,
            why: why.to_owned(),
            sent_bytes: self.sent_bytes,
            behind_bytes: self.behind_bytes,
            pause_us: self.pause_us,
        }
    }
}

impl From<Written> for HandoverReport {
    fn from(written: Written) -> Self {
        let Written { sent_bytes, behind_bytes, .. } = written;
        let said = match written.said {
            Word::Copying => Said::Copying { sent_bytes, behind_bytes },
            Word::Sealed => Said::Sealed,
            Word::Imported => Said::Imported,
            Word::Failed => Said::Failed(written.why),
            Word::Done => Said::Done,
        };
        Self {
            shard: written.shard,
            epoch: written.epoch,
            run: written.run,
            id: written.id,
            is_source: matches!(written.side, Side::Source),
            said,
            sent_bytes,
            behind_bytes,
            pause_us: written.pause_us,
        }
    }
}

impl Register for HandoverReport {
    const FORMAT: u32 = 1;

    fn encode(&self) -> Result<Bytes, Error> {
        encode_as(Self::FORMAT, &self.written())
    }

    fn decode(path: &str, data: &[u8]) -> Result<Self, Error> {
        check_format(path, data, Self::FORMAT)?;
        decode_as::<Written>(path, data).map(Self::from)
    }
}

/// Writes a report, unless one of a higher epoch is there; then it returns false. Safe to repeat.
pub async fn write(session: &dyn Session, report: &HandoverReport) -> Result<bool, Error> {
    let path = report.path();
    let data = report.encode()?;
    for _ in 0..ATTEMPTS_MAX {
        let written = match session.get(&path).await? {
            Some(node) if node.data == data => return Ok(true),
            Some(node) => {
                // One that cannot be read says nothing that would have to stay.
                let known = HandoverReport::decode(&path, &node.data);
                if known.is_ok_and(|known| known.epoch > report.epoch) {
                    return Ok(false);
                }
                session.set(&path, data.clone(), Expect::Version(node.version)).await.map(drop)
            }
            None => session.create(&path, data.clone(), Mode::Persistent).await.map(drop),
        };
        match written {
            Ok(()) => return Ok(true),
            Err(Error::NodeExists { .. } | Error::NoNode { .. } | Error::BadVersion { .. }) => {
                // What was read may have been old.
                session.sync(&path).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::Unexpected(format!("{path} changed {ATTEMPTS_MAX} times")))
}

/// Every report that can be read, as of now.
pub async fn read_all(session: &dyn Session) -> Result<Vec<HandoverReport>, Error> {
    session.sync(paths::MIGRATIONS).await?;
    let mut reports = Vec::new();
    for name in session.children(paths::MIGRATIONS).await? {
        let path = format!("{}/{name}", paths::MIGRATIONS);
        let Some(side) = paths::report_of(&path) else { continue };
        let Some(node) = session.get(&path).await? else { continue };
        match HandoverReport::decode(&path, &node.data) {
            Ok(report) if (report.id, report.is_source) == side => reports.push(report),
            Ok(_) => tracing::warn!(path, "a report on another hand-over"),
            Err(error) => tracing::warn!(path, %error, "a report cannot be used"),
        }
    }
    Ok(reports)
}

/// Deletes both reports on a hand-over that is closed.
pub async fn forget(session: &dyn Session, id: u64) -> Result<(), Error> {
    futures_util::try_join!(delete(session, id, true), delete(session, id, false)).map(drop)
}

async fn delete(session: &dyn Session, id: u64, is_source: bool) -> Result<(), Error> {
    let outcome = session.delete(&paths::report(id, is_source), Expect::Any).await;
    if matches!(outcome, Err(Error::NoNode { .. })) { Ok(()) } else { outcome }
}

/// No more of a text than is told.
fn cut(why: &str) -> &str {
    let end = (0..=why.len().min(WHY_BYTES_MAX)).rev().find(|&end| why.is_char_boundary(end));
    &why[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Coordinator, Embedded};

    fn report(epoch: u64, said: Said) -> HandoverReport {
        HandoverReport {
            shard: 2,
            epoch,
            run: "r1".into(),
            id: 7,
            is_source: true,
            said,
            sent_bytes: 100,
            behind_bytes: 30,
            pause_us: 0,
        }
    }

    fn copying() -> Said {
        Said::Copying { sent_bytes: 100, behind_bytes: 30 }
    }

    /// As written by this release. Never edit a line: a later build must still read it.
    #[test]
    fn reports_are_the_golden_ones_both_ways() {
        let golden: Vec<&str> = include_str!("../golden/report-1.jsonl").lines().collect();
        let target = |said| HandoverReport { is_source: false, ..report(4, said) };
        let reports = [
            report(3, copying()),
            HandoverReport { pause_us: 900, ..report(3, Said::Sealed) },
            target(Said::Imported),
            target(Said::Failed("the disk is full".into())),
            report(3, Said::Done),
        ];
        for (report, golden) in reports.into_iter().zip(golden) {
            assert_eq!(String::from_utf8_lossy(&report.encode().unwrap()), golden);
            assert_eq!(HandoverReport::decode("/x", golden.as_bytes()).unwrap(), report);
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let why = "ä".repeat(WHY_BYTES_MAX);
        assert_eq!(cut(&why).len(), WHY_BYTES_MAX);
        assert_eq!(cut(&format!("x{why}")).len(), WHY_BYTES_MAX - 1);
        assert_eq!(cut("short"), "short");
    }

    #[tokio::test]
    async fn what_a_later_primary_said_is_not_replaced_by_an_earlier_one() {
        let session = Embedded::new().open(Duration::from_secs(5)).await.unwrap();
        assert_eq!(read_all(&*session).await, Ok(vec![]));
        assert_eq!(write(&*session, &report(3, copying())).await, Ok(true));
        assert_eq!(write(&*session, &report(3, Said::Sealed)).await, Ok(true));
        assert_eq!(write(&*session, &report(4, copying())).await, Ok(true));
        assert_eq!(write(&*session, &report(3, Said::Done)).await, Ok(false));
        let target = HandoverReport { is_source: false, epoch: 1, ..report(1, Said::Imported) };
        assert_eq!(write(&*session, &target).await, Ok(true));
        assert_eq!(read_all(&*session).await, Ok(vec![report(4, copying()), target]));
        session.create("/migrations/7-both", "x".into(), Mode::Persistent).await.unwrap();
        session.create("/migrations/8-source", "x".into(), Mode::Persistent).await.unwrap();
        assert_eq!(read_all(&*session).await.unwrap().len(), 2);
        forget(&*session, 7).await.unwrap();
        assert_eq!(read_all(&*session).await, Ok(vec![]));
        assert_eq!(write(&*session, &report(1, Said::Done)).await, Ok(true));
    }
}
