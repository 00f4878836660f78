//! Book: what a log amounts to. Whoever has the same log has the same book.
//!
//! A *tenure* is the time from one hand-over of the slot to the next; it is named by the version of the table that
//! planned the hand-over which began it (0: the first). So a migration's id, the version of its plan and the tenure that
//! it would begin are one number.
//!
//! What is copied has a *place*: the rows of the first `cursor` keys, as of the source's record `at` of this tenure.
//! Every step moves the place on by one row or one record, and depends on nothing but the source's committed records.

use super::mistake::Mistake;

/// Keys of the slot.
pub const KEYS: usize = 2;
/// Of the table.
pub type Version = u8;
/// Of a migration, and of the tenure that it begins.
pub type Id = u8;
/// A write's number is also what it writes; 0 is a key that never was. Whether a write puts or deletes makes no difference: an
/// older write that shows through is a lost one or a resurrected one.
pub type Write = u8;

/// How a shard stands to the slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mark {
    /// Has nothing of it.
    Free,
    /// Serves it where the table says so.
    Held,
    /// Has sealed it for this migration.
    Sealed(Id),
    /// Stages it for this migration.
    Staging {
        /// Of the migration.
        id: Id,
        /// Keys that are copied.
        cursor: u8,
        /// The source's records that are followed.
        at: u8,
    },
}

/// A record of the log, as far as it concerns the slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Record {
    /// A client's.
    Write(u8, Write),
    /// The source stops serving.
    Seal(Id, Version),
    /// The source serves again.
    Unseal(Version),
    /// The target begins to stage, behind a record of the source.
    Begin(Id, Version, u8),
    /// The row of the next key.
    Row(Write),
    /// The source's next record.
    Follow(u8, Write),
    /// The target has everything.
    Imported(Id, Version),
    /// What is there for this migration is deleted.
    Clean(Id, Version),
}

/// What a log says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Book {
    /// How it stands.
    pub mark: Mark,
    /// The last one of the slot here.
    pub tenure: Id,
    /// The table by which it was marked so. Who has this record takes no older one.
    pub version: Version,
    /// The rows, served or staged.
    pub rows: [Write; KEYS],
    /// The rows when the tenure began.
    pub base: [Write; KEYS],
    /// The writes since then.
    pub history: Vec<(u8, Write)>,
}

impl Book {
    /// Of the shard that has the slot at the start, or of the other.
    pub fn first(holds: bool) -> Book {
        let mark = if holds { Mark::Held } else { Mark::Free };
        Book { mark, tenure: 0, version: 0, rows: [0; KEYS], base: [0; KEYS], history: Vec::new() }
    }

    /// With one record more.
    pub fn apply(&mut self, record: Record, mistake: Option<Mistake>) {
        match record {
            Record::Write(key, write) => {
                self.rows[usize::from(key)] = write;
                self.history.push((key, write));
            }
            Record::Seal(id, version) => (self.mark, self.version) = (Mark::Sealed(id), version),
            Record::Unseal(version) => (self.mark, self.version) = (Mark::Held, version),
            Record::Begin(id, version, at) => {
                (self.mark, self.version) = (Mark::Staging { id, cursor: 0, at }, version);
            }
            Record::Row(write) => {
                if let Mark::Staging { cursor, .. } = &mut self.mark {
                    self.rows[usize::from(*cursor)] = write;
                    *cursor += 1;
                }
            }
            Record::Follow(key, write) => {
                if let Mark::Staging { cursor, at, .. } = &mut self.mark {
                    if key < *cursor {
                        self.rows[usize::from(key)] = write;
                    }
                    *at += 1;
                }
            }
            Record::Imported(id, version) => {
                (self.mark, self.tenure, self.version) = (Mark::Held, id, version);
                (self.base, self.history) = (self.rows, Vec::new());
            }
            Record::Clean(id, version) => {
                let is_sealed = matches!(self.mark, Mark::Sealed(_));
                let is_of = match self.mark {
                    Mark::Sealed(of) | Mark::Staging { id: of, .. } => of == id,
                    Mark::Held => self.tenure == id,
                    Mark::Free => true,
                };
                if is_of || mistake != Some(Mistake::PlansWhileOpen) {
                    (self.mark, self.version) = (Mark::Free, version);
                }
                if mistake == Some(Mistake::CleanErasesSeal) && is_sealed {
                    (self.mark, self.version) = (Mark::Held, 0);
                }
                (self.rows, self.base, self.history) = ([0; KEYS], [0; KEYS], Vec::new());
            }
        }
    }

    /// The row of a key as of a record of this tenure.
    pub fn row_at(&self, key: u8, at: u8) -> Write {
        let history = self.history.iter().take(usize::from(at)).rev();
        history.clone().find(|(of, _)| *of == key).map_or(self.base[usize::from(key)], |(_, write)| *write)
    }

    /// The last record of this tenure.
    pub fn end(&self) -> u8 {
        self.history.len() as u8
    }
}
