//! The reference pages: what the specification says, with what each surface declares. Pages that people wrote have a table
//! between two marks.

use std::fmt::Write;

use slotkv_proto::{Applied, Code};

use crate::{
    compare::Surfaces,
    declared::Declared,
    read::rust,
    specification::{Choice, Operation, Record, Specification},
};

/// The order of the languages on the pages.
const ORDER: [&str; 7] = ["rust", "c", "cpp", "python", "asyncio", "node", "kotlin"];

/// Where a table of a page begins; the text names it.
const BEGIN: &str = "<!-- made of bindings/specification: ";
const END: &str = "<!-- end of what is made -->";

const MADE: &str =
    "\n<!-- Made of bindings/specification; UPDATE_REFERENCE=1 cargo test --test reference writes it. -->\n";

/// `docs/reference/operations.md`
pub fn operations(specification: &Specification, surfaces: &Surfaces) -> String {
    let mut page = format!(
        "# Operations\n{MADE}\nEvery language has the same operations, with the same options, limits and errors; one test compares \
         what all of them\ndeclare. [Options](options.md) · [results](results.md) · [errors](../errors.md) · [limits](../guide/limits.md)\n\n\
         | | a client is for | keys and values | times | to give a call up |\n|---|---|---|---|---|\n"
    );
    for name in ORDER {
        let surface = &specification.surfaces[name];
        let (title, threads, bytes) = (&surface.title, &surface.threads, &surface.bytes);
        row(&mut page, &[title, threads, bytes, &surface.time, &surface.cancel]);
    }
    page.push_str(
        "\nA call ends within its deadline. Besides the errors of its own that are named below, every operation that asks a \
         member may give\n`INVALID_ARGUMENT` and `TOO_LARGE` for what it is given, `OVERLOADED`, `TIMEOUT`, `CLOSED`, and what \
         the way or the member may: [all of them](../errors.md).\nAn unmet condition is a result, not an error.\n",
    );
    let mut group = "";
    for operation in &specification.operations {
        if operation.group != group {
            group = &operation.group;
            let _ = write!(page, "\n## {group}\n");
        }
        self::operation(&mut page, specification, surfaces, operation);
    }
    page
}

fn operation(page: &mut String, specification: &Specification, surfaces: &Surfaces, operation: &Operation) {
    let Operation { name, doc, answer, .. } = operation;
    let _ = write!(page, "\n### {name}\n\n{doc}. It answers {answer}.\n");
    let options: Vec<String> = operation
        .options
        .iter()
        .map(|group| {
            let title = &specification.groups[group].title;
            format!("[{}](options.md#{})", title.to_lowercase(), anchor(title))
        })
        .collect();
    if !options.is_empty() {
        let _ = writeln!(page, "Options: {}.", options.join(", "));
    }
    if !operation.errors.is_empty() {
        let _ = writeln!(page, "Errors of its own: {}.", code_list(&operation.errors));
    }
    page.push_str("\n| | |\n|---|---|\n");
    for surface in ORDER {
        let title = &specification.surfaces[surface].title;
        let prefix = &specification.surfaces[surface].prefix;
        let spelled = specification.spelled(surface, name).map(|name| format!("{prefix}{name}"));
        let function = spelled.and_then(|name| surfaces[surface].function(&name));
        let because = specification.exception(surface, name).map(|exception| exception.because.as_str());
        match (function, because) {
            (Some(function), because) => {
                let because = because.map_or(String::new(), |because| format!(": {because}"));
                row(page, &[title, &format!("{}{because}", code_of(shown(&function.signature)))]);
            }
            (None, because) => row(page, &[title, &format!("none: {}", because.unwrap_or_default())]),
        }
    }
}

/// A signature without what only its own language's compiler needs.
fn shown(signature: &str) -> String {
    signature
        .replace("const struct ", "const ")
        .replace("struct ", "")
        .replace("_Bytes", "Bytes")
        .replace("(&self, ", "(")
        .replace("(&self)", "()")
}

/// `docs/reference/options.md`
pub fn options(specification: &Specification) -> String {
    let mut page = format!(
        "# Options\n{MADE}\nWhat a client and a call may be told, and what each language calls it; a dash where a language has \
         none. Times are in\nmilliseconds in this table. What a URI says of the same thing as an option of connect wins.\n"
    );
    for group in ["connect", "call", "status", "put", "many", "range", "scan"] {
        let _ = write!(page, "\n## {}\n\n", specification.groups[group].title);
        if let Some(of) = &specification.groups[group].of {
            let names = specification.options_of(group).map(|option| format!("`{}`", option.name));
            let title = &specification.groups[of].title;
            let names = names.collect::<Vec<_>>().join(" and ");
            let _ = writeln!(page, "Those [{}](#{}): {names}.", title.to_lowercase(), anchor(title));
            continue;
        }
        let mut head = vec!["option".to_owned(), "without it".to_owned(), "at most".to_owned()];
        head.extend(ORDER.map(|surface| specification.surfaces[surface].title.clone()));
        let has_uri = specification.options_of(group).any(|option| option.uri.is_some());
        head.extend(has_uri.then(|| "URI".to_owned()));
        row(&mut page, &head.iter().map(String::as_str).collect::<Vec<_>>());
        let _ = writeln!(page, "|{}", "---|".repeat(head.len()));
        let mut notes = Vec::new();
        for option in specification.options_of(group) {
            options_row(&mut page, specification, option, has_uri, &mut notes);
        }
        if !notes.is_empty() {
            let _ = write!(page, "\n{}\n", notes.join("\n"));
        }
    }
    page
}

fn options_row(
    page: &mut String,
    specification: &Specification,
    option: &Choice,
    has_uri: bool,
    notes: &mut Vec<String>,
) {
    let item = format!("{}.{}", option.group, option.name);
    let default = option.default.map(thousands).or(option.otherwise.clone()).unwrap_or_default();
    let max = option.max.map(thousands).unwrap_or_default();
    let mut cells = vec![format!("**{}**: {}", option.name, option.doc), default, max];
    for surface in ORDER {
        cells.push(specification.spelled(surface, &item).map_or("–".into(), |name| format!("`{name}`")));
    }
    if has_uri {
        cells.push(option.uri.as_ref().map_or("–".into(), |name| format!("`{name}`")));
    }
    row(page, &cells.iter().map(String::as_str).collect::<Vec<_>>());
    for exception in specification.exceptions.iter().filter(|exception| exception.item == item) {
        let titles: Vec<&str> =
            exception.surfaces.iter().map(|name| specification.surfaces[name].title.as_str()).collect();
        notes.push(format!("- {} in {}: {}.", option.name, titles.join(", "), exception.because));
    }
}

/// `docs/reference/results.md`
pub fn results(specification: &Specification, surfaces: &Surfaces) -> String {
    let mut page = format!(
        "# Results\n{MADE}\nStructures that operations answer with, and their fields with the type that each language has for \
         them; a dash where a language\nhas another form. C gives all of it as parts of `slotkv_result_t`, which says more; C++ has the \
         structures of C. In Node and Kotlin\nthe names are in camelCase, in Go in PascalCase (`cluster_id` is `ClusterID`).\n"
    );
    for record in &specification.records {
        self::record(&mut page, specification, surfaces, record);
    }
    page
}

fn record(page: &mut String, specification: &Specification, surfaces: &Surfaces, record: &Record) {
    let _ = write!(page, "\n## {}\n\n{}.", record.name, record.doc);
    if !record.words.is_empty() {
        let words: Vec<String> = record.words.iter().map(|word| format!("`{word}`")).collect();
        let _ = write!(page, " Its status is one of {}.", words.join(", "));
    }
    let mut columns = vec!["rust", "c", "python", "node", "kotlin"];
    columns.extend(record.structures.contains_key("go").then_some("go"));
    let titles: Vec<&str> =
        columns.iter().map(|&surface| specification.surfaces[surface].title.as_str()).collect();
    let lines = "---|".repeat(columns.len() + 2);
    let _ = write!(page, "\n\n| field | | {} |\n|{lines}\n", titles.join(" | "));
    let name = |surface: &str| {
        record.structures.get(surface).or(record.structures.get("proto").filter(|_| surface == "rust"))
    };
    let or_dash = |text: Option<String>| text.map_or("–".into(), code_of);
    cells(page, String::new(), "", columns.iter().map(|&surface| or_dash(name(surface).cloned())));
    for field in &record.fields {
        let item = format!("{}.{}", record.name, field.name);
        let kinds = columns.iter().map(|&surface| {
            let spelled = specification.spelled(surface, &item);
            or_dash(spelled.and_then(|spelled| kind_of(&surfaces[surface], name(surface)?, &spelled)))
        });
        cells(page, code_of(&field.name), &field.doc, kinds);
    }
}

fn cells(page: &mut String, field: String, doc: &str, rest: impl Iterator<Item = String>) {
    let cells: Vec<String> = [field, doc.to_owned()].into_iter().chain(rest).collect();
    row(page, &cells.iter().map(String::as_str).collect::<Vec<_>>());
}

fn kind_of(declared: &Declared, structure: &str, field: &str) -> Option<String> {
    let found = declared.fields(structure).into_iter().find(|known| known.name == field)?;
    Some(shown(&found.kind))
}

/// A page with the table of this name written anew between its marks; `None` if it has no such marks.
pub fn with_table(page: &str, name: &str, table: &str) -> Option<String> {
    let mark = format!("{BEGIN}{name} -->\n");
    let begin = page.find(&mark)? + mark.len();
    let end = begin + page[begin..].find(END)?;
    Some(format!("{}\n{table}\n{}", &page[..begin], &page[end..]))
}

/// The table of codes, for `docs/errors.md`.
pub fn errors(specification: &Specification) -> String {
    let mut table = String::from(
        "| number | name | retry | applied | meaning | class in Python and Node, in Kotlin `...Exception` |\n|--:|---|---|---|---|---|\n",
    );
    for &code in Code::ALL {
        let class =
            specification.errors.iter().find(|class| class.codes.iter().any(|name| name == code.name()));
        let applied = if code.applied() == Applied::No { "no" } else { "maybe" };
        let (number, name) = (code.number().to_string(), format!("`{}`", code.name()));
        let class = class.map_or(String::new(), |class| format!("`{}`", class.class));
        row(&mut table, &[&number, &name, code.retry().name(), applied, code.text(), &class]);
    }
    table
}

/// The groups of classes, for `docs/errors.md`.
pub fn classes(specification: &Specification) -> String {
    let mut list = String::new();
    for group in specification.errors.iter().filter(|class| class.codes.is_empty()) {
        let of = |class: &&crate::specification::ErrorClass| class.parent.as_deref() == Some(&group.class);
        let below: Vec<String> =
            specification.errors.iter().filter(of).map(|class| format!("`{}`", class.class)).collect();
        let below = if below.is_empty() { String::new() } else { format!(": {}", below.join(", ")) };
        let doc = group.doc.as_deref().unwrap_or_default();
        let _ = writeln!(list, "- `{}`. {doc}{below}.", group.class);
    }
    list
}

/// The table of limits, for `docs/guide/limits.md`; `constants` are the files that have them. An error names a constant
/// that is in none.
pub fn limits(specification: &Specification, constants: &[&str]) -> Result<String, String> {
    let mut table = String::from("| | limit |\n|---|---|\n");
    for limit in &specification.limits {
        let mut text = String::new();
        let mut parts = limit.is.split('{');
        text.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let (name, rest) =
                part.split_once('}').ok_or_else(|| format!("{}: a {{ is not closed", limit.of))?;
            let default = specification
                .options
                .iter()
                .find(|option| format!("{}.{}", option.group, option.name) == name)
                .and_then(|option| option.default);
            let value = default.or_else(|| rust::constant(constants, name));
            let value = value.ok_or_else(|| format!("there is no constant {name}"))?;
            text.push_str(&with_unit(name, value));
            text.push_str(rest);
        }
        row(&mut table, &[&limit.of, &text]);
    }
    Ok(table)
}

/// The unit is in the constant's name.
fn with_unit(name: &str, value: u64) -> String {
    let whole = |unit: u64| value.is_multiple_of(unit).then_some(value / unit);
    if name.contains("_BYTES_") {
        return match (whole(1 << 20), whole(1 << 10)) {
            (Some(mib), _) => format!("{mib} MiB"),
            (None, Some(kib)) => format!("{kib} KiB"),
            (None, None) => format!("{} bytes", thousands(value)),
        };
    }
    if name.contains("_MS_") {
        if let Some(days) = whole(86_400_000) {
            return format!("{} days", thousands(days));
        }
        return match whole(60_000).filter(|minutes| *minutes >= 10) {
            Some(minutes) => format!("{minutes} minutes"),
            None => whole(1000).map_or_else(|| format!("{value} ms"), |seconds| format!("{seconds} s")),
        };
    }
    thousands(value)
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

fn row(page: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}

fn code_of(text: impl AsRef<str>) -> String {
    format!("`{}`", text.as_ref())
}

fn code_list(names: &[String]) -> String {
    names.iter().map(code_of).collect::<Vec<_>>().join(", ")
}

/// What a heading is linked by.
fn anchor(title: &str) -> String {
    title.to_lowercase().replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_shown_in_the_unit_of_their_name() {
        assert_eq!(with_unit("KEY_BYTES_MAX", 32 << 10), "32 KiB");
        assert_eq!(with_unit("NAME_BYTES_MAX", 128), "128 bytes");
        assert_eq!(with_unit("DEADLINE_MS_MAX", 300_000), "300 s");
        assert_eq!(with_unit("AGE_MS_MAX", 900_000), "15 minutes");
        assert_eq!(with_unit("TTL_MS_MAX", 1000 * 86_400_000), "1,000 days");
        assert_eq!(with_unit("SHARDS_MAX", 1_048_576), "1,048,576");
    }

    #[test]
    fn a_table_replaces_what_is_between_its_marks_only() {
        let page = format!("a\n{BEGIN}t -->\nold\n{END}\nb\n");
        assert_eq!(with_table(&page, "t", "new\n"), Some(format!("a\n{BEGIN}t -->\n\nnew\n\n{END}\nb\n")));
        assert_eq!(with_table(&page, "u", "new\n"), None);
    }
}
