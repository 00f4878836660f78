//! How far a file is done when its lines finish in any order: up to the first line that has not.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// A place between two lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Lines before it.
    pub line: u64,
    /// Bytes before it.
    pub offset: u64,
}

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// Its key is new.
    Created,
    /// Its key existed.
    Updated,
    /// It was not taken.
    Refused,
    /// It held no record.
    Empty,
}

/// How many lines ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub created: u64,
    pub updated: u64,
    pub refused: u64,
}

impl Counts {
    /// Counts one more line.
    pub fn add(&mut self, finish: Finish) {
        match finish {
            Finish::Created => self.created += 1,
            Finish::Updated => self.updated += 1,
            Finish::Refused => self.refused += 1,
            Finish::Empty => {}
        }
    }
}

/// The lines that were begun and not yet passed, in the order of the file.
#[derive(Debug)]
pub(crate) struct Window {
    done: Place,
    counts: Counts,
    /// Of each line behind `done`: where it ends, and how, once it is finished.
    lines: VecDeque<(u64, Option<Finish>)>,
}

impl Window {
    /// Everything before `done` is done, with these counts.
    pub fn new(done: Place, counts: Counts) -> Self {
        Self { done, counts, lines: VecDeque::new() }
    }

    /// The next line of the file is begun; it ends at `offset`. Returns its number, from 1.
    pub fn begin(&mut self, offset: u64) -> u64 {
        self.lines.push_back((offset, None));
        self.done.line + self.lines.len() as u64
    }

    /// A line that was begun is finished.
    pub fn finish(&mut self, line: u64, finish: Finish) {
        let place = (line - self.done.line - 1) as usize;
        self.lines[place].1 = Some(finish);
        while let Some(&(offset, Some(finish))) = self.lines.front() {
            self.lines.pop_front();
            self.counts.add(finish);
            self.done = Place { line: self.done.line + 1, offset };
        }
    }

    /// Up to where every line is finished.
    pub fn done(&self) -> Place {
        self.done
    }

    /// Of the lines before [`Window::done`].
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Lines begun and not passed.
    pub fn len(&self) -> usize {
        self.lines.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unbroken_run_of_finished_lines_is_done() {
        let mut window = Window::new(Place { line: 10, offset: 100 }, Counts::default());
        let lines: Vec<u64> = [120, 130, 150].map(|offset| window.begin(offset)).to_vec();
        assert_eq!(lines, [11, 12, 13]);
        window.finish(12, Finish::Created);
        assert_eq!(window.done(), Place { line: 10, offset: 100 });
        assert_eq!(window.counts(), Counts::default());
        window.finish(11, Finish::Refused);
        assert_eq!(window.done(), Place { line: 12, offset: 130 });
        assert_eq!(window.counts(), Counts { created: 1, updated: 0, refused: 1 });
        window.finish(13, Finish::Empty);
        assert_eq!((window.done(), window.len()), (Place { line: 13, offset: 150 }, 0));
    }
}
