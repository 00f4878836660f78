//! Reads a file line by line on a thread of its own, parses, and hands over batches.

use std::io::{self, BufRead};

use tokio::sync::mpsc;

use super::{
    record::{self, Line, LineError},
    window::Place,
};

/// Longest line: the largest value with every byte as a JSON escape, and room for the key.
pub(crate) const LINE_BYTES_MAX: usize = 128 << 20;
/// A batch is handed over when it holds so many lines or bytes.
const BATCH_LINES: usize = 256;
const BATCH_BYTES: usize = 1 << 20;
/// Batches read ahead.
const BATCHES_MAX: usize = 8;

/// A line with where it ends.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// Bytes of the file up to the line's end.
    pub end: u64,
    /// What it holds.
    pub line: Result<Line, Refused>,
}

/// Why a line cannot be imported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
}

/// Some lines, or the error that ended the file early.
pub(crate) type Batch = io::Result<Vec<Parsed>>;

/// Reads `source`, which stands at `start`, to its end or until nobody takes batches any more.
pub(crate) fn spawn(
    source: impl BufRead + Send + 'static,
    start: Place,
) -> io::Result<mpsc::Receiver<Batch>> {
    let (to, batches) = mpsc::channel(BATCHES_MAX);
    std::thread::Builder::new().name("slotkv-lines".into()).spawn(move || {
        let mut reader = Reader { source, offset: start.offset, line: Vec::new() };
        loop {
            let batch = reader.batch();
            let last = !matches!(&batch, Ok(lines) if !lines.is_empty());
            if matches!(&batch, Ok(lines) if lines.is_empty()) || to.blocking_send(batch).is_err() || last {
                return;
            }
        }
    })?;
    Ok(batches)
}

struct Reader<R> {
    source: R,
    offset: u64,
    line: Vec<u8>,
}

impl<R: BufRead> Reader<R> {
    /// The next lines; none at the end.
    fn batch(&mut self) -> Batch {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH_LINES && bytes < BATCH_BYTES {
            let before = self.offset;
            match self.next()? {
                Some(line) => batch.push(Parsed { end: self.offset, line }),
                None => break,
            }
            bytes += (self.offset - before) as usize;
        }
        Ok(batch)
    }

    fn next(&mut self) -> io::Result<Option<Result<Line, Refused>>> {
        self.line.clear();
        let mut fits = true;
        loop {
            let chunk = match self.source.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let taken = end.map_or(chunk.len(), |end| end + 1);
            fits = fits && self.line.len() + taken <= LINE_BYTES_MAX;
            if fits {
                self.line.extend_from_slice(&chunk[..taken]);
            }
            let at_end = chunk.is_empty();
            self.source.consume(taken);
            self.offset += taken as u64;
            if at_end && self.line.is_empty() && fits {
                return Ok(None);
            }
            if end.is_some() || at_end {
                break;
            }
        }
        Ok(Some(if fits { record::parse(&self.line).map_err(Refused::Line) } else { Err(Refused::TooLong) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<Parsed> {
        Reader { source: text, offset: 0, line: Vec::new() }.batch().unwrap()
    }

    #[test]
    fn lines_end_where_the_file_says() {
        let text = b"{\"slotkv_export\":1}\n{\"key\":\"a\",\"value\":\"b\"}\r\n\nnonsense";
        let lines = read(text);
        let ends: Vec<u64> = lines.iter().map(|line| line.end).collect();
        assert_eq!(ends, [20, 45, 46, text.len() as u64]);
        assert!(matches!(lines[0].line, Ok(Line::Header)));
        assert!(matches!(&lines[1].line, Ok(Line::Record(record)) if record.key == b"a"));
        assert!(matches!(lines[2].line, Ok(Line::Blank)));
        assert!(matches!(lines[3].line, Err(Refused::Line(_))));
        assert!(read(b"").is_empty());
    }

    #[test]
    fn a_line_past_the_limit_is_passed_over_whole() {
        let mut text = vec![b'x'; LINE_BYTES_MAX + 5];
        text.extend_from_slice(b"\n{\"key\":\"a\",\"value\":\"b\"}\n");
        let mut reader = Reader { source: &text[..], offset: 0, line: Vec::new() };
        assert!(matches!(reader.next(), Ok(Some(Err(Refused::TooLong)))));
        assert!(matches!(reader.next(), Ok(Some(Ok(Line::Record(_))))));
        assert!(matches!(reader.next(), Ok(None)));
    }

    #[tokio::test]
    async fn a_long_file_comes_in_batches_and_in_order() {
        let text: String = (0..2000).map(|i| format!("{{\"key\":\"{i}\",\"value\":\"\"}}\n")).collect();
        let mut batches = spawn(io::Cursor::new(text.clone()), Place::default()).unwrap();
        let mut keys = Vec::new();
        let mut end = 0;
        while let Some(batch) = batches.recv().await {
            for parsed in batch.unwrap() {
                end = parsed.end;
                match parsed.line {
                    Ok(Line::Record(record)) => keys.push(String::from_utf8(record.key).unwrap()),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(keys, (0..2000).map(|i| i.to_string()).collect::<Vec<_>>());
        assert_eq!(end, text.len() as u64);
    }
}
