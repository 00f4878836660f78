//! Scenario files: what to do, and what must come of it, for people to read.
//!
//! ```text
//! # a remark
//! == put_creates_then_updates
//! put "k" "one" -> created $first
//! put "k" "two" -> updated $second>$first
//! get "k" namespace="other" -> none
//! put "k" "x"*16777217 -> error TOO_LARGE
//! ```
//!
//! Strings are UTF-8 with the escapes `\n \t \0 \\ \" \xNN`; `"ab"*3` is `"ababab"`. In what is expected, strings stand for
//! the bytes of [`crate::text`], `$name` for a number: the first time it takes whatever comes, later it must be the same, and
//! `$b>$a` must be greater. `!none` is something of a wrong type. A file that begins with `@ strange` talks to the member of [`crate::strange`]. `error NAME [OUTCOME [RETRY]]` is completed from the table of codes; its outcome is `failed` unless said. Of `error NAME or OTHER`
//! either may come, for a call that ends at its deadline: whether an attempt was under way then is chance.

use std::collections::HashMap;

use slotkv::{Code, Retry};

use crate::{
    step::{Argument, Step},
    text,
};

/// What may be repeated if it was provably not applied.
const UNANSWERED: [Code; 3] = [Code::Timeout, Code::ConnectionLost, Code::SteppedDown];

/// A scenario: steps in order, on keys that no other scenario uses.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Unique in its file.
    pub name: String,
    /// What is done and expected.
    pub lines: Vec<Line>,
}

/// A step with what is expected of it.
#[derive(Clone, Debug)]
pub struct Line {
    /// Where it stands in its file.
    pub number: usize,
    operation: String,
    arguments: Vec<Word>,
    options: Vec<(String, Word)>,
    expected: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Word {
    Argument(Argument),
    Variable(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// A number, by the name it has; greater than that of the second name.
    Number(String, Option<String>),
    /// One of some texts; which one is chance, and the first stands for all.
    Either(Vec<String>),
}

/// The numbers that have names, in one scenario.
pub type Names = HashMap<String, i128>;

/// A file of scenarios.
#[derive(Clone, Debug)]
pub struct File {
    /// Whether it talks to the member of [`crate::strange`].
    pub is_strange: bool,
    /// In order.
    pub scenarios: Vec<Scenario>,
}

/// Reads a scenario file. An error names the line.
pub fn parse(file: &str) -> Result<File, String> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    let is_strange = file.starts_with("@ strange\n");
    for (at, line) in file.lines().enumerate().skip(usize::from(is_strange)) {
        let number = at + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("== ") {
            if scenarios.iter().any(|scenario| scenario.name == name) {
                return Err(format!("line {number}: {name:?} is there twice"));
            }
            scenarios.push(Scenario { name: name.to_owned(), lines: Vec::new() });
            continue;
        }
        let scenario =
            scenarios.last_mut().ok_or(format!("line {number}: a step before the first ==, name"))?;
        scenario.lines.push(parse_line(number, line).map_err(|why| format!("line {number}: {why}"))?);
    }
    match scenarios.iter().find(|scenario| scenario.lines.is_empty()) {
        Some(empty) => Err(format!("{:?} has no steps", empty.name)),
        None => Ok(File { is_strange, scenarios }),
    }
}

fn parse_line(number: usize, line: &str) -> Result<Line, String> {
    let (step, expected) = line.rsplit_once(" -> ").ok_or("no ` -> ` with what is expected")?;
    let mut words = words(step)?.into_iter();
    let operation = words.next().ok_or("no operation")?;
    let (mut arguments, mut options) = (Vec::new(), Vec::new());
    for word in words {
        match word
            .split_once('=')
            .filter(|(name, _)| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
        {
            Some((name, value)) => options.push((name.to_owned(), parse_word(value)?)),
            None => arguments.push(parse_word(&word)?),
        }
    }
    Ok(Line { number, operation, arguments, options, expected: pieces(expected)? })
}

/// Splits at blanks outside of strings.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = vec![String::new()];
    let (mut is_string, mut is_escaped) = (false, false);
    for char in text.chars() {
        match char {
            ' ' if !is_string => words.push(String::new()),
            _ => {
                if char == '"' && !is_escaped {
                    is_string = !is_string;
                }
                is_escaped = char == '\\' && !is_escaped;
                words.last_mut().ok_or("no word")?.push(char);
            }
        }
    }
    words.retain(|word| !word.is_empty());
    if is_string { Err("a string without end".into()) } else { Ok(words) }
}

fn parse_word(word: &str) -> Result<Word, String> {
    if let Some(name) = word.strip_prefix('$') {
        return Ok(Word::Variable(name.to_owned()));
    }
    if let Some(name) = word.strip_prefix('!').filter(|name| !name.is_empty()) {
        return Ok(Word::Argument(Argument::Odd(name.to_owned())));
    }
    if word.starts_with('"') {
        return string(word).map(Word::Argument);
    }
    let number = word.parse().map_err(|_| format!("{word:?} is no string, number, $name or !name"))?;
    Ok(Word::Argument(Argument::Number(number)))
}

/// `"..."` or `"..."*N`.
fn string(word: &str) -> Result<Argument, String> {
    let wrong = || format!("{word:?} is no string");
    let (quoted, count) = match word.rsplit_once("\"*") {
        Some((quoted, count)) => (format!("{quoted}\""), count.parse().map_err(|_| wrong())?),
        None => (word.to_owned(), 1),
    };
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(wrong)?;
    let mut bytes = Vec::new();
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            bytes.extend(char.encode_utf8(&mut [0; 4]).bytes());
            continue;
        }
        bytes.push(match chars.next().ok_or_else(wrong)? {
            'n' => b'\n',
            't' => b'\t',
            '0' => 0,
            char @ ('\\' | '"') => char as u8,
            'x' => {
                let digits: String = chars.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).map_err(|_| wrong())?
            }
            _ => return Err(wrong()),
        });
    }
    Ok(match bytes[..] {
        [byte] if count > 1 => Argument::Fill(byte, count),
        _ => Argument::Bytes(bytes.repeat(count).into()),
    })
}

/// What is expected: texts and numbers that have names.
fn pieces(expected: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = expected;
    while let Some(char) = rest.chars().next() {
        if char == '"' {
            let end = string_end(rest).ok_or("a string without end")?;
            let bytes = string(&rest[..end])?.bytes().ok_or("not bytes")?;
            text.push_str(&text::bytes(&bytes));
            rest = &rest[end..];
        } else if char == '$' {
            let end = rest[1..].find(|char: char| !(char.is_alphanumeric() || "_>$".contains(char)));
            let end = end.map_or(rest.len(), |end| end + 1);
            let (name, least) = match rest[1..end].split_once(">$") {
                Some((name, least)) => (name, Some(least.to_owned())),
                None => (&rest[1..end], None),
            };
            pieces.push(Piece::Text(std::mem::take(&mut text)));
            pieces.push(Piece::Number(name.to_owned(), least));
            rest = &rest[end..];
        } else if let Some(error) = rest.strip_prefix("error ") {
            let end = error.find([';', ']']).unwrap_or(error.len());
            let mut texts = error_texts(&error[..end])?;
            if texts.len() == 1 {
                text.push_str(&texts.remove(0));
            } else {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
                pieces.push(Piece::Either(texts));
            }
            rest = &error[end..];
        } else {
            text.push(char);
            rest = &rest[char.len_utf8()..];
        }
    }
    pieces.push(Piece::Text(text));
    Ok(pieces)
}

/// Where a string at the beginning of `text` ends, its `*N` included.
fn string_end(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    let close = text.char_indices().skip(1).find_map(|(at, char)| {
        let is_close = char == '"' && !is_escaped;
        is_escaped = char == '\\' && !is_escaped;
        is_close.then_some(at + 1)
    })?;
    let Some(count) = text[close..].strip_prefix('*') else { return Some(close) };
    let digits = count.find(|char: char| !char.is_ascii_digit()).unwrap_or(count.len());
    Some(close + 1 + digits)
}

/// `TOO_LARGE`, `TIMEOUT unknown`, `TIMEOUT failed backoff`, or several of these with `or` between them, completed.
fn error_texts(short: &str) -> Result<Vec<String>, String> {
    short.split(" or ").map(error_text).collect()
}

fn error_text(short: &str) -> Result<String, String> {
    let mut words = short.split(' ');
    let (name, outcome) = (words.next().unwrap_or_default(), words.next().unwrap_or("failed"));
    let code = Code::ALL.iter().find(|code| code.name() == name);
    let code = code.ok_or_else(|| format!("no code is named {name:?}"))?;
    let is_safe = outcome == "failed" && UNANSWERED.contains(code);
    let own = if is_safe { Retry::Backoff } else { code.retry() };
    Ok(format!("error {} {name} {outcome} {}", code.number(), words.next().unwrap_or(own.name())))
}

impl Line {
    /// The step for a driver.
    pub fn step(&self, names: &Names) -> Result<Step, String> {
        let argument = |word: &Word| match word {
            Word::Argument(argument) => Ok(argument.clone()),
            Word::Variable(name) => names
                .get(name)
                .map(|&number| Argument::Number(number))
                .ok_or(format!("${name} is not known yet")),
        };
        Ok(Step {
            operation: self.operation.clone(),
            arguments: self.arguments.iter().map(argument).collect::<Result<_, _>>()?,
            options: self
                .options
                .iter()
                .map(|(name, word)| Ok((name.clone(), argument(word)?)))
                .collect::<Result<_, String>>()?,
        })
    }

    /// Takes the numbers that have names from an answer, if it is what is expected, and gives it with everything that is
    /// chance in its first form. Else: what was expected.
    pub fn check(&self, answer: &str, names: &mut Names) -> Result<String, String> {
        let (mut rest, mut form) = (answer, String::new());
        for piece in &self.expected {
            let before = rest;
            let matched = match piece {
                Piece::Text(text) => rest.strip_prefix(text.as_str()),
                Piece::Either(texts) => texts.iter().find_map(|text| rest.strip_prefix(text.as_str())),
                Piece::Number(name, least) => {
                    let end =
                        rest.find(|char: char| !(char.is_ascii_digit() || char == '-')).unwrap_or(rest.len());
                    let is_right = |number: &i128| {
                        let least = least.as_ref().map_or(Some(&i128::MIN), |least| names.get(least));
                        least.is_some_and(|least| number > least)
                            && names.get(name).is_none_or(|known| known == number)
                    };
                    rest[..end].parse().ok().filter(is_right).map(|number| {
                        names.insert(name.clone(), number);
                        &rest[end..]
                    })
                }
            };
            rest = matched.ok_or_else(|| self.expectation(names))?;
            match piece {
                Piece::Either(texts) => form.push_str(&texts[0]),
                _ => form.push_str(&before[..before.len() - rest.len()]),
            }
        }
        if rest.is_empty() { Ok(form) } else { Err(self.expectation(names)) }
    }

    fn expectation(&self, names: &Names) -> String {
        let shown = self.expected.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Either(texts) => texts.join(" or "),
            Piece::Number(name, least) => match (names.get(name), least) {
                (Some(number), _) => number.to_string(),
                (None, Some(least)) => format!("${name}>${least}"),
                (None, None) => format!("${name}"),
            },
        });
        shown.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only_line(line: &str) -> Line {
        parse(&format!("== s\n{line}\n")).unwrap().scenarios.remove(0).lines.remove(0)
    }

    #[test]
    fn a_line_becomes_a_step() {
        let line = only_line(r#"put "a \x00\"b" "x"*20 $v -3 !none deadline_ms=250 namespace="n n" -> done"#);
        let names = Names::from([("v".to_owned(), 7)]);
        let step = line.step(&names).unwrap();
        assert_eq!(step.line(), "put =6120002262 *78*20 #7 #-3 !none deadline_ms:#250 namespace:=6e206e");
        assert_eq!(line.step(&Names::new()).unwrap_err(), "$v is not known yet");
    }

    #[test]
    fn numbers_have_names_that_later_answers_are_held_to() {
        let mut names = Names::new();
        only_line("a -> created $v").check("created 7", &mut names).unwrap();
        only_line("a -> entry $v \"v\"").check("entry 7 =76", &mut names).unwrap();
        assert_eq!(only_line("a -> updated $v").check("updated 8", &mut names).unwrap_err(), "updated 7");
        assert!(only_line("a -> updated $w>$v").check("updated 7", &mut names).is_err());
        only_line("a -> many[updated $w>$v;none]").check("many[updated 8;none]", &mut names).unwrap();
        assert_eq!(names["w"], 8);
    }

    #[test]
    fn errors_are_completed_from_the_table_of_codes() {
        let mut names = Names::new();
        only_line("a -> error TOO_LARGE").check("error 2 TOO_LARGE failed never", &mut names).unwrap();
        only_line("a -> many[error TIMEOUT unknown;done]")
            .check("many[error 20 TIMEOUT unknown ask;done]", &mut names)
            .unwrap();
        assert!(parse("== s\na -> error NONESUCH").is_err());
    }

    #[test]
    fn of_two_errors_either_may_come_and_the_first_stands_for_both() {
        let mut names = Names::new();
        let line = only_line("a -> many[error UNAVAILABLE or TIMEOUT unknown;none]");
        let (first, second) = ("error 15 UNAVAILABLE failed backoff", "error 20 TIMEOUT unknown ask");
        for come in [first, second] {
            let form = line.check(&format!("many[{come};none]"), &mut names).unwrap();
            assert_eq!(form, format!("many[{first};none]"));
        }
        assert!(line.check("many[error 20 TIMEOUT failed backoff;none]", &mut names).is_err());
        assert!(line.check("many[error 16 NO_MASTER failed backoff;none]", &mut names).is_err());
    }

    #[test]
    fn an_answer_with_more_or_less_than_expected_is_refused() {
        let mut names = Names::new();
        for answer in ["", "value =7", "value =76 ", "value =7676", "none"] {
            assert!(only_line("a -> value \"v\"").check(answer, &mut names).is_err(), "{answer:?}");
        }
    }

    #[test]
    fn what_is_wrong_in_a_file_is_named() {
        for (file, why) in [
            ("get \"k\" -> none", "line 1: a step before"),
            ("== s\nget \"k\"", "line 2: no ` -> `"),
            ("== s\nget \"k -> none", "line 2: a string without end"),
            ("== s\nget k -> none", "line 2: \"k\" is no string"),
            ("== s\na -> done\n== s\na -> done", "line 3: \"s\" is there twice"),
            ("== s", "\"s\" has no steps"),
        ] {
            let error = parse(file).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }
}
