//! What a driver is told: one operation with its arguments and options, and its line.

use std::time::Duration;

use bytes::Bytes;
use slotkv::{Range, ReadLevel};

/// An argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Any bytes.
    Bytes(Bytes),
    /// One byte, so many times.
    Fill(u8, usize),
    /// A number.
    Number(i128),
    /// Something of a wrong type, by its name in the table of [`crate`].
    Odd(String),
}

impl Argument {
    /// The bytes, if it stands for some.
    pub fn bytes(&self) -> Option<Bytes> {
        match self {
            Argument::Bytes(bytes) => Some(bytes.clone()),
            Argument::Fill(byte, count) => Some(vec![*byte; *count].into()),
            Argument::Number(_) | Argument::Odd(_) => None,
        }
    }

    fn line(&self) -> String {
        match self {
            Argument::Bytes(bytes) => format!("={}", hex(bytes)),
            Argument::Fill(byte, count) => format!("*{byte:02x}*{count}"),
            Argument::Number(number) => format!("#{number}"),
            Argument::Odd(name) => format!("!{name}"),
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let (sort, rest) = word.split_at_checked(1)?;
        match sort {
            "=" => unhex(rest).map(|bytes| Argument::Bytes(bytes.into())),
            "*" => {
                let (byte, count) = rest.split_once('*')?;
                Some(Argument::Fill(u8::from_str_radix(byte, 16).ok()?, count.parse().ok()?))
            }
            "#" => rest.parse().ok().map(Argument::Number),
            "!" if !rest.is_empty() => Some(Argument::Odd(rest.to_owned())),
            _ => None,
        }
    }
}

/// One operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Its name, as in `put_if_absent`.
    pub operation: String,
    /// Its arguments, in order.
    pub arguments: Vec<Argument>,
    /// Its options, by name.
    pub options: Vec<(String, Argument)>,
}

impl Step {
    /// The line for a driver, without its end.
    pub fn line(&self) -> String {
        let mut line = self.operation.clone();
        for argument in &self.arguments {
            line.push(' ');
            line.push_str(&argument.line());
        }
        for (name, value) in &self.options {
            line.push_str(&format!(" {name}:{}", value.line()));
        }
        line
    }

    /// The step of a line; `None` if it is none.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let mut step = Step { operation: words.next()?.to_owned(), ..Step::default() };
        for word in words {
            match word.split_once(':') {
                Some((name, value)) => step.options.push((name.to_owned(), Argument::parse(value)?)),
                None => step.arguments.push(Argument::parse(word)?),
            }
        }
        (!step.operation.is_empty()).then_some(step)
    }

    /// Whether anything in it is of a wrong type.
    pub fn is_odd(&self) -> bool {
        let options = self.options.iter().map(|(_, value)| value);
        self.arguments.iter().chain(options).any(|argument| matches!(argument, Argument::Odd(_)))
    }

    /// An option's value.
    pub fn option(&self, name: &str) -> Option<&Argument> {
        self.options.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// An option's number, if it is one.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.option(name) {
            Some(&Argument::Number(number)) => Some(number as u64),
            _ => None,
        }
    }

    /// An option's bytes, if it is some.
    pub fn bytes(&self, name: &str) -> Option<Bytes> {
        self.option(name).and_then(Argument::bytes)
    }

    /// How fresh a read has to be, if it says so.
    pub fn read_level(&self) -> Option<ReadLevel> {
        if let Some(ms) = self.number("staleness_ms") {
            return Some(ReadLevel::Bounded(Duration::from_millis(ms)));
        }
        match self.bytes("read_level").as_deref()? {
            b"linearizable" => Some(ReadLevel::Linearizable),
            b"session" => Some(ReadLevel::Session),
            b"stale" => Some(ReadLevel::Stale),
            _ => None,
        }
    }

    /// An argument's bytes; none where it is not there.
    pub fn bytes_at(&self, at: usize) -> Bytes {
        self.arguments.get(at).and_then(Argument::bytes).unwrap_or_default()
    }

    /// An argument's number; 0 where it is not there.
    pub fn number_at(&self, at: usize) -> i128 {
        match self.arguments.get(at) {
            Some(&Argument::Number(number)) => number,
            _ => 0,
        }
    }

    /// All arguments that are bytes.
    pub fn all(&self) -> impl Iterator<Item = Bytes> {
        self.arguments.iter().filter_map(Argument::bytes)
    }

    /// The options that select keys.
    pub fn range(&self) -> Range {
        Range {
            prefix: self.bytes("prefix").unwrap_or_default(),
            start: self.bytes("start").unwrap_or_default(),
            end: self.bytes("end").unwrap_or_default(),
            ordered: self.number("ordered") == Some(1),
            keys_only: self.number("keys_only") == Some(1),
            items_max: self.number("page_items").unwrap_or(0) as u32,
        }
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || text.len() % 2 == 1 {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_survives_the_way_to_a_driver() {
        let step = Step {
            operation: "put".into(),
            arguments: vec![
                Argument::Bytes(Bytes::from_static(b"k\0 \n")),
                Argument::Fill(0x61, 16 << 20),
                Argument::Number(-5),
                Argument::Odd("none".into()),
            ],
            options: vec![
                ("deadline_ms".into(), Argument::Number(250)),
                ("namespace".into(), Argument::Bytes(Bytes::new())),
            ],
        };
        let line = step.line();
        assert_eq!(line, "put =6b00200a *61*16777216 #-5 !none deadline_ms:#250 namespace:=");
        assert!(step.is_odd());
        assert_eq!(Step::parse(&line), Some(step));
        assert!(!Step::parse("get =6b deadline_ms:#250").unwrap().is_odd());
    }

    #[test]
    fn what_is_no_step_is_none() {
        for line in ["", " ", "get k", "get =6", "get =zz", "get *61", "get #x", "get a:b", "get =é", "get !"]
        {
            assert_eq!(Step::parse(line), None, "{line:?}");
        }
    }
}
