//! The shell's commands: what they are called, what they take, and how a line becomes one.
//!
//! Keys and values are words of `text.rs`, so any bytes. Only a word that is neither quoted nor escaped can be a flag:
//! `get "--ordered"` asks for a key.

use std::time::Duration;

use crate::{
    cli::sizes,
    text::{self, TextError, Word},
};

/// Most keys that `scan` and `dump` list unless told otherwise.
pub(crate) const LISTED_MAX: u64 = 100;

/// When a put takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// In any case.
    Always,
    /// The key does not exist.
    Absent,
    /// The key exists.
    Present,
    /// The key has this version.
    Version(u64),
}

/// Which keys to list or count.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Listing {
    pub prefix: Vec<u8>,
    pub start: Vec<u8>,
    pub end: Vec<u8>,
    pub ordered: bool,
    pub keys_only: bool,
    pub limit: Option<u64>,
    pub cursor: Option<String>,
}

/// One line's meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ShellCommand {
    Get { key: Vec<u8> },
    Put { key: Vec<u8>, value: Vec<u8>, when: When, ttl: Option<Duration> },
    Expire { key: Vec<u8>, ttl: Option<Duration> },
    Del { key: Vec<u8>, version: Option<u64> },
    Has { key: Vec<u8> },
    Incr { key: Vec<u8>, by: i64 },
    Scan(Listing),
    Dump(Listing),
    Count(Listing),
    Slot { key: Vec<u8> },
    Status,
    Namespace(Option<Vec<u8>>),
    Help(Option<String>),
    Exit,
}

impl ShellCommand {
    /// Whether it may change the cluster.
    pub fn writes(&self) -> bool {
        matches!(
            self,
            ShellCommand::Put { .. }
                | ShellCommand::Expire { .. }
                | ShellCommand::Del { .. }
                | ShellCommand::Incr { .. }
        )
    }
}

/// What `help` says about a command.
pub(crate) struct Usage {
    /// The first word.
    pub name: &'static str,
    /// What follows it.
    pub takes: &'static str,
    /// One sentence.
    pub does: &'static str,
}

const fn usage(name: &'static str, takes: &'static str, does: &'static str) -> Usage {
    Usage { name, takes, does }
}

/// Every command.
pub(crate) const USAGES: &[Usage] = &[
    usage("get", "KEY", "print the value and the version of a key, and what is left of its time"),
    usage(
        "put",
        "KEY VALUE [--if-absent | --if-present | --if-version N] [--ttl DURATION]",
        "write a key, for ever or for a time as 500ms, 30s, 15m, 12h or 30d; says created or updated",
    ),
    usage("expire", "KEY DURATION", "let a key end after a time; its value stays"),
    usage("persist", "KEY", "let a key live for ever; its value stays"),
    usage("del", "KEY [--if-version N]", "delete a key; says deleted or not found"),
    usage("has", "KEY", "tell whether a key exists"),
    usage("incr", "KEY [BY]", "add to a decimal number; an absent key counts as 0"),
    usage("cas", "KEY VERSION VALUE", "write a key if it has this version; 0: if it does not exist"),
    usage(
        "scan",
        "[PREFIX] [--start KEY] [--end KEY] [--ordered] [--keys-only] [--limit N] [--cursor C]",
        "list keys and values",
    ),
    usage(
        "dump",
        "[PREFIX] [--start KEY] [--end KEY] [--ordered] [--limit N] [--cursor C]",
        "list keys and values with slots and versions",
    ),
    usage("count", "[PREFIX] [--start KEY] [--end KEY]", "count keys"),
    usage("slot", "KEY", "tell the slot of a key, and who serves it"),
    usage("status", "", "show masters, shards and members"),
    usage("ns", "[NAMESPACE]", "show the namespace, or go to another; \"\" is the one without a name"),
    usage("help", "[COMMAND]", "show this"),
    usage("exit", "", "leave; so does quit, or the end of input"),
];

/// Why a line means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineError {
    #[error(transparent)]
    Text(#[from] TextError),
    #[error("unknown command {0}; `help` lists the commands")]
    UnknownCommand(String),
    #[error("unknown flag {flag}; usage: {usage}")]
    UnknownFlag { flag: String, usage: String },
    #[error("{flag} wants {wants}")]
    BadFlag { flag: String, wants: &'static str },
    #[error("a duration is a number with its unit, as 500ms, 30s, 15m, 12h or 30d")]
    NoDuration,
    #[error("{0} wants a whole number")]
    NoNumber(&'static str),
    #[error("usage: {0}")]
    Usage(String),
}

/// How a command is written, as `get KEY`.
pub(crate) fn usage_of(name: &str) -> Option<String> {
    let usage = USAGES.iter().find(|usage| usage.name == name)?;
    Some(format!("{} {}", usage.name, usage.takes).trim_end().to_owned())
}

/// The command of a line; `None` for an empty one and for a comment (`# ...`).
pub(crate) fn parse(line: &[u8]) -> Result<Option<ShellCommand>, LineError> {
    if line.trim_ascii_start().starts_with(b"#") {
        return Ok(None);
    }
    let words = text::words(line)?;
    let Some((first, rest)) = words.split_first() else {
        return Ok(None);
    };
    let name = String::from_utf8_lossy(&first.bytes).to_lowercase();
    let name = if name == "quit" { "exit" } else { &name };
    let Some(usage) = usage_of(name) else {
        return Err(LineError::UnknownCommand(text::quote(&first.bytes)));
    };
    let mut args = Args { usage, rest: rest.iter(), places: Vec::new() };
    let command = match name {
        "get" => {
            let [key] = args.exactly()?;
            ShellCommand::Get { key }
        }
        "put" => put(&mut args)?,
        "expire" => {
            let [key, ttl] = args.exactly()?;
            ShellCommand::Expire { key, ttl: Some(duration(&ttl).ok_or(LineError::NoDuration)?) }
        }
        "persist" => {
            let [key] = args.exactly()?;
            ShellCommand::Expire { key, ttl: None }
        }
        "del" => del(&mut args)?,
        "has" => {
            let [key] = args.exactly()?;
            ShellCommand::Has { key }
        }
        "incr" => incr(&mut args)?,
        "cas" => {
            let [key, version, value] = args.exactly()?;
            let version: u64 = number(&version).ok_or(LineError::NoNumber("VERSION"))?;
            let when = if version == 0 { When::Absent } else { When::Version(version) };
            ShellCommand::Put { key, value, when, ttl: None }
        }
        "scan" => {
            ShellCommand::Scan(listing(&mut args, &["--ordered", "--keys-only", "--limit", "--cursor"])?)
        }
        "dump" => ShellCommand::Dump(listing(&mut args, &["--ordered", "--limit", "--cursor"])?),
        "count" => ShellCommand::Count(listing(&mut args, &[])?),
        "slot" => {
            let [key] = args.exactly()?;
            ShellCommand::Slot { key }
        }
        "status" => {
            let [] = args.exactly()?;
            ShellCommand::Status
        }
        "ns" => ShellCommand::Namespace(args.at_most_one()?),
        "help" => {
            ShellCommand::Help(args.at_most_one()?.map(|name| String::from_utf8_lossy(&name).to_lowercase()))
        }
        _ => {
            let [] = args.exactly()?;
            ShellCommand::Exit
        }
    };
    Ok(Some(command))
}

fn put(args: &mut Args<'_>) -> Result<ShellCommand, LineError> {
    let (mut when, mut ttl) = (When::Always, None);
    while let Some(flag) = args.flag() {
        if flag == "--ttl" {
            ttl = Some(duration(&args.value(flag)?).ok_or(LineError::NoDuration)?);
            continue;
        }
        if when != When::Always {
            return Err(args.wrong());
        }
        when = match &*flag {
            "--if-absent" => When::Absent,
            "--if-present" => When::Present,
            "--if-version" => When::Version(args.number(flag)?),
            _ => return Err(args.unknown(flag)),
        };
    }
    let [key, value] = args.exactly()?;
    Ok(ShellCommand::Put { key, value, when, ttl })
}

fn del(args: &mut Args<'_>) -> Result<ShellCommand, LineError> {
    let mut version = None;
    while let Some(flag) = args.flag() {
        match &*flag {
            "--if-version" => version = Some(args.number(flag)?),
            _ => return Err(args.unknown(flag)),
        }
    }
    let [key] = args.exactly()?;
    Ok(ShellCommand::Del { key, version })
}

/// `incr n -5`: a negative number is no flag.
fn incr(args: &mut Args<'_>) -> Result<ShellCommand, LineError> {
    let words: Vec<&Word> = args.rest.by_ref().collect();
    match words[..] {
        [key] => Ok(ShellCommand::Incr { key: key.bytes.clone(), by: 1 }),
        [key, by] => {
            let by = number(&by.bytes).ok_or(LineError::NoNumber("BY"))?;
            Ok(ShellCommand::Incr { key: key.bytes.clone(), by })
        }
        _ => Err(args.wrong()),
    }
}

fn listing(args: &mut Args<'_>, known: &[&str]) -> Result<Listing, LineError> {
    let mut listing = Listing::default();
    while let Some(flag) = args.flag() {
        if !matches!(&*flag, "--start" | "--end" | "--prefix") && !known.contains(&&*flag) {
            return Err(args.unknown(flag));
        }
        match &*flag {
            "--prefix" => listing.prefix = args.value(flag)?,
            "--start" => listing.start = args.value(flag)?,
            "--end" => listing.end = args.value(flag)?,
            "--ordered" => listing.ordered = true,
            "--keys-only" => listing.keys_only = true,
            "--limit" => listing.limit = Some(args.number(flag)?),
            _ => listing.cursor = Some(String::from_utf8_lossy(&args.value(flag)?).into_owned()),
        }
    }
    if let Some(prefix) = args.at_most_one()? {
        listing.prefix = prefix;
    }
    Ok(listing)
}

/// The words behind the command.
struct Args<'a> {
    usage: String,
    rest: std::slice::Iter<'a, Word>,
    places: Vec<Vec<u8>>,
}

impl Args<'_> {
    /// The next flag; the words before it are kept as positional.
    fn flag(&mut self) -> Option<String> {
        for word in self.rest.by_ref() {
            if word.plain && word.bytes.starts_with(b"--") && word.bytes.len() > 2 {
                return Some(String::from_utf8_lossy(&word.bytes).into_owned());
            }
            self.places.push(word.bytes.clone());
        }
        None
    }

    fn value(&mut self, flag: String) -> Result<Vec<u8>, LineError> {
        let value = self.rest.next().map(|word| word.bytes.clone());
        value.ok_or(LineError::BadFlag { flag, wants: "a value" })
    }

    fn number(&mut self, flag: String) -> Result<u64, LineError> {
        let value = self.rest.next().and_then(|word| number(&word.bytes));
        value.ok_or(LineError::BadFlag { flag, wants: "a whole number" })
    }

    /// All positional words; flags that are left are unknown.
    fn exactly<const N: usize>(&mut self) -> Result<[Vec<u8>; N], LineError> {
        if let Some(flag) = self.flag() {
            return Err(self.unknown(flag));
        }
        std::mem::take(&mut self.places).try_into().map_err(|_| self.wrong())
    }

    fn at_most_one(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        if let Some(flag) = self.flag() {
            return Err(self.unknown(flag));
        }
        let mut places = std::mem::take(&mut self.places);
        if places.len() > 1 { Err(self.wrong()) } else { Ok(places.pop()) }
    }

    fn unknown(&self, flag: String) -> LineError {
        LineError::UnknownFlag { flag, usage: self.usage.clone() }
    }

    fn wrong(&self) -> LineError {
        LineError::Usage(self.usage.clone())
    }
}

fn duration(bytes: &[u8]) -> Option<Duration> {
    sizes::duration(std::str::from_utf8(bytes).ok()?).ok()
}

fn number<N: std::str::FromStr>(bytes: &[u8]) -> Option<N> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(line: &str) -> ShellCommand {
        parse(line.as_bytes()).unwrap().unwrap()
    }

    fn refusal(line: &str) -> String {
        parse(line.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn keys_and_values_may_be_any_bytes() {
        assert_eq!(one(r#"get "a b\x00""#), ShellCommand::Get { key: b"a b\0".to_vec() });
        let put = ShellCommand::Put { key: b"k".to_vec(), value: Vec::new(), when: When::Always, ttl: None };
        assert_eq!(one(r#"put k """#), put);
    }

    #[test]
    fn conditions_may_stand_anywhere_behind_the_command() {
        let put = |when| ShellCommand::Put { key: b"k".to_vec(), value: b"v".to_vec(), when, ttl: None };
        assert_eq!(one("put --if-absent k v"), put(When::Absent));
        assert_eq!(one("put k --if-version 7 v"), put(When::Version(7)));
        assert_eq!(one("cas k 7 v"), put(When::Version(7)));
        assert_eq!(one("cas k 0 v"), put(When::Absent));
        assert_eq!(one("del k --if-version 7"), ShellCommand::Del { key: b"k".to_vec(), version: Some(7) });
        assert_eq!(one(r#"has "--if-absent""#), ShellCommand::Has { key: b"--if-absent".to_vec() });
    }

    #[test]
    fn lifetimes_have_units() {
        let minute = Some(Duration::from_secs(60));
        let put = |when| ShellCommand::Put { key: b"k".to_vec(), value: b"v".to_vec(), when, ttl: minute };
        assert_eq!(one("put k v --ttl 1m"), put(When::Always));
        assert_eq!(one("put --ttl 60s k --if-absent v"), put(When::Absent));
        assert_eq!(one("expire k 60000"), ShellCommand::Expire { key: b"k".to_vec(), ttl: minute });
        assert_eq!(one("persist k"), ShellCommand::Expire { key: b"k".to_vec(), ttl: None });
        assert_eq!(refusal("put k v --ttl"), "--ttl wants a value");
        assert!(refusal("put k v --ttl soon").contains("500ms") && refusal("expire k 1y").contains("500ms"));
    }

    #[test]
    fn listings_take_their_bounds() {
        let listing = Listing {
            prefix: b"user:".to_vec(),
            start: b"user:3".to_vec(),
            ordered: true,
            limit: Some(5),
            ..Listing::default()
        };
        assert_eq!(one("scan user: --start user:3 --ordered --limit 5"), ShellCommand::Scan(listing));
        assert_eq!(one("count"), ShellCommand::Count(Listing::default()));
    }

    #[test]
    fn numbers_may_be_negative() {
        assert_eq!(one("incr n -5"), ShellCommand::Incr { key: b"n".to_vec(), by: -5 });
        assert_eq!(one("INCR n"), ShellCommand::Incr { key: b"n".to_vec(), by: 1 });
    }

    #[test]
    fn bad_lines_are_refused_with_what_is_wrong() {
        assert_eq!(refusal("gett k"), "unknown command \"gett\"; `help` lists the commands");
        assert_eq!(refusal("get"), "usage: get KEY");
        assert_eq!(refusal("get a b"), "usage: get KEY");
        assert_eq!(refusal("get a --fast"), "unknown flag --fast; usage: get KEY");
        assert_eq!(refusal("scan --limit many"), "--limit wants a whole number");
        assert_eq!(refusal("scan --start"), "--start wants a value");
        assert_eq!(refusal("cas k x v"), "VERSION wants a whole number");
        assert_eq!(refusal("incr k 99999999999999999999"), "BY wants a whole number");
        assert_eq!(refusal("put k v --if-absent --if-present"), refusal("put k"));
        assert!(refusal("count --limit 5").starts_with("unknown flag --limit"));
        assert!(refusal("get \"a").contains("never closed"));
    }

    #[test]
    fn empty_lines_and_comments_mean_nothing() {
        assert_eq!(parse(b"  "), Ok(None));
        assert_eq!(parse(b" # get k"), Ok(None));
        assert_eq!(one("quit"), ShellCommand::Exit);
    }

    #[test]
    fn every_command_of_the_help_is_known() {
        for usage in USAGES {
            assert!(
                !matches!(parse(usage.name.as_bytes()), Err(LineError::UnknownCommand(_))),
                "{}",
                usage.name
            );
        }
    }

    proptest! {
        #[test]
        fn a_quoted_put_parses_back(key in proptest::collection::vec(any::<u8>(), 0..20), value in proptest::collection::vec(any::<u8>(), 0..20)) {
            let line = format!("put {} {}", text::quote(&key), text::quote(&value));
            prop_assert_eq!(parse(line.as_bytes()), Ok(Some(ShellCommand::Put { key, value, when: When::Always, ttl: None })));
        }

        #[test]
        fn no_line_is_past_the_parser(line in "(get|put|scan|cas|incr)? ?[ -~]{0,40}") {
            let _ = parse(line.as_bytes());
        }
    }
}
