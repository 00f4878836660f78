//! One way to write any bytes as text, the same in the shell's input, its output and the plain output of the commands.
//!
//! Printable UTF-8 stands for itself; everything else is an escape: `\n`, `\r`, `\t`, `\0`, `\\`, `\"` and `\xNN`.
//! A *word* is a run of characters without blanks; parts of it in double quotes may hold blanks, and `""` is the empty
//! word. [`quote`] and [`words`] are inverse to each other for every byte string.

use std::fmt::Write as _;

/// One word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// The bytes it stands for.
    pub bytes: Vec<u8>,
    /// Neither quoted nor escaped: only such a word can be a flag.
    pub plain: bool,
}

/// Why a text stands for no bytes. `column` counts bytes from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TextError {
    /// A backslash before something that is no escape.
    #[error("column {column}: unknown escape \\{found}; known are \\n \\r \\t \\0 \\\\ \\\" and \\xNN")]
    UnknownEscape {
        /// Where the backslash stands.
        column: usize,
        /// What follows it.
        found: String,
    },
    /// `\x` without two hexadecimal digits.
    #[error("column {column}: \\x wants two hexadecimal digits")]
    BadHex {
        /// Where the backslash stands.
        column: usize,
    },
    /// A backslash at the very end.
    #[error("column {column}: nothing follows the backslash")]
    NothingEscaped {
        /// Where the backslash stands.
        column: usize,
    },
    /// A double quote without its partner.
    #[error("column {column}: this double quote is never closed")]
    OpenQuote {
        /// Where the quote stands.
        column: usize,
    },
}

/// `bytes` in double quotes, with escapes where needed.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    push_escaped(&mut text, bytes, true);
    text.push('"');
    text
}

/// `bytes` with escapes where needed, without quotes; tabs and line ends are always escaped, so that fields may be
/// separated by tabs. [`unescape`] gives the bytes back.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    push_escaped(&mut text, bytes, false);
    text
}

fn push_escaped(text: &mut String, bytes: &[u8], quoted: bool) {
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\0' => text.push_str("\\0"),
                '\\' => text.push_str("\\\\"),
                '"' if quoted => text.push_str("\\\""),
                _ if is_printable(char) => text.push(char),
                _ => push_hex(text, char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        push_hex(text, chunk.invalid());
    }
}

/// Controls, and characters that change how a terminal shows the rest, are not.
fn is_printable(char: char) -> bool {
    !char.is_control()
        && !matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "\\x{byte:02x}").expect("a String takes any text");
    }
}

/// The bytes of a text with escapes; blanks and quotes stand for themselves.
pub(crate) fn unescape(text: &[u8]) -> Result<Vec<u8>, TextError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        at = if text[at] == b'\\' {
            take_escape(text, at, &mut bytes)?
        } else {
            take_plain(text, at, &mut bytes)
        };
    }
    Ok(bytes)
}

/// The words of a line.
pub(crate) fn words(line: &[u8]) -> Result<Vec<Word>, TextError> {
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while at < line.len() && is_blank(line[at]) {
            at += 1;
        }
        if at == line.len() {
            return Ok(words);
        }
        let (word, next) = take_word(line, at)?;
        words.push(word);
        at = next;
    }
}

/// The word at the end of a line that is still being typed, with where it begins; an open quote is as good as closed.
/// Behind a blank it is empty. `None` if the line means nothing.
pub(crate) fn last_word(line: &[u8]) -> Option<(usize, Word)> {
    let mut at = 0;
    loop {
        while at < line.len() && is_blank(line[at]) {
            at += 1;
        }
        let (word, next) = match take_word(line, at) {
            Ok(taken) => taken,
            Err(TextError::OpenQuote { .. }) => {
                (words(&[&line[at..], b"\""].concat()).ok()?.pop()?, line.len())
            }
            Err(_) => return None,
        };
        if next == line.len() {
            return Some((at, word));
        }
        at = next;
    }
}

/// `bytes` as a word: in quotes only where it needs them.
pub(crate) fn word(bytes: &[u8]) -> String {
    let text = escape(bytes);
    let plain =
        !text.is_empty() && !text.starts_with("--") && !text.starts_with('#') && !text.contains([' ', '"']);
    if plain { text } else { quote(bytes) }
}

fn take_word(line: &[u8], mut at: usize) -> Result<(Word, usize), TextError> {
    let mut word = Word { bytes: Vec::new(), plain: true };
    let mut opened = None;
    while at < line.len() {
        match line[at] {
            b'"' => {
                word.plain = false;
                opened = if opened.is_some() { None } else { Some(at) };
                at += 1;
            }
            b'\\' => {
                word.plain = false;
                at = take_escape(line, at, &mut word.bytes)?;
            }
            byte if opened.is_none() && is_blank(byte) => break,
            _ => at = take_plain(line, at, &mut word.bytes),
        }
    }
    match opened {
        Some(at) => Err(TextError::OpenQuote { column: at + 1 }),
        None => Ok((word, at)),
    }
}

fn take_plain(text: &[u8], at: usize, bytes: &mut Vec<u8>) -> usize {
    bytes.push(text[at]);
    at + 1
}

/// Takes the escape whose backslash stands at `at`; returns the place behind it.
fn take_escape(text: &[u8], at: usize, bytes: &mut Vec<u8>) -> Result<usize, TextError> {
    let column = at + 1;
    let byte = match text.get(at + 1) {
        None => return Err(TextError::NothingEscaped { column }),
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'0') => 0,
        Some(b'\\') => b'\\',
        Some(b'"') => b'"',
        Some(b'x') => {
            let digit = |at: usize| text.get(at).and_then(|&byte| char::from(byte).to_digit(16));
            let (Some(high), Some(low)) = (digit(at + 2), digit(at + 3)) else {
                return Err(TextError::BadHex { column });
            };
            bytes.push((high * 16 + low) as u8);
            return Ok(at + 4);
        }
        Some(_) => {
            let rest = &text[at + 1..];
            let found = String::from_utf8_lossy(&rest[..rest.len().min(4)]).chars().take(1).collect();
            return Err(TextError::UnknownEscape { column, found });
        }
    };
    bytes.push(byte);
    Ok(at + 2)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(line: &str) -> Vec<Vec<u8>> {
        words(line.as_bytes()).unwrap().into_iter().map(|word| word.bytes).collect()
    }

    #[test]
    fn blanks_part_words_and_quotes_keep_them_together() {
        assert_eq!(bytes_of("put  a\tb "), [b"put".to_vec(), b"a".to_vec(), b"b".to_vec()]);
        assert_eq!(bytes_of(r#"put "a b" """#), [b"put".to_vec(), b"a b".to_vec(), Vec::new()]);
        assert_eq!(bytes_of(r#"user:"a b":1"#), [b"user:a b:1".to_vec()]);
        assert_eq!(bytes_of("  "), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn escapes_stand_for_their_bytes_inside_and_outside_of_quotes() {
        assert_eq!(bytes_of(r#"\x00\xFF"\n\t" \"\\"#), [b"\x00\xff\n\t".to_vec(), b"\"\\".to_vec()]);
        assert_eq!(bytes_of("größe"), ["größe".as_bytes().to_vec()]);
    }

    #[test]
    fn only_a_word_without_quotes_and_escapes_is_plain() {
        let plain: Vec<bool> =
            words(br#"--limit "--limit" \x2d-limit"#).unwrap().iter().map(|w| w.plain).collect();
        assert_eq!(plain, [true, false, false]);
    }

    #[test]
    fn malformed_texts_are_refused_with_their_column() {
        assert_eq!(words(br"a \q"), Err(TextError::UnknownEscape { column: 3, found: "q".into() }));
        assert_eq!(words(br"\x0"), Err(TextError::BadHex { column: 1 }));
        assert_eq!(words(br"\x0g"), Err(TextError::BadHex { column: 1 }));
        assert_eq!(words(br"ab\"), Err(TextError::NothingEscaped { column: 3 }));
        assert_eq!(words(br#"get "ab"#), Err(TextError::OpenQuote { column: 5 }));
    }

    #[test]
    fn what_would_change_the_terminal_is_escaped() {
        assert_eq!(quote("\u{1b}[2J\u{202e}x".as_bytes()), r#""\x1b[2J\xe2\x80\xaex""#);
    }

    #[test]
    fn the_last_word_may_be_unfinished() {
        let last = |line: &str| last_word(line.as_bytes()).map(|(at, word)| (at, word.bytes));
        assert_eq!(last("get us"), Some((4, b"us".to_vec())));
        assert_eq!(last("get "), Some((4, Vec::new())));
        assert_eq!(last(""), Some((0, Vec::new())));
        assert_eq!(last("get \"a b"), Some((4, b"a b".to_vec())));
        assert_eq!(last("get a\\"), None);
    }

    proptest! {
        #[test]
        fn words_parse_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let text = word(&bytes);
            prop_assert_eq!(bytes_of(&text), [bytes.clone()]);
            prop_assert_eq!(last_word(text.as_bytes()).map(|(at, word)| (at, word.bytes)), Some((0, bytes)));
        }

        #[test]
        fn quoted_bytes_parse_back(keys in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..5)) {
            let line = keys.iter().map(|key| quote(key)).collect::<Vec<_>>().join(" ");
            prop_assert!(!line.contains('\n') && !line.contains('\t'));
            prop_assert_eq!(bytes_of(&line), keys);
        }

        #[test]
        fn escaped_bytes_parse_back(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(unescape(escape(&bytes).as_bytes()).unwrap(), bytes);
        }

        #[test]
        fn no_line_is_past_the_parser(line in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = words(&line);
            let _ = unescape(&line);
        }
    }
}
