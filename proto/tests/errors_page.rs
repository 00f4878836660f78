//! docs/errors.md shows the table of error codes; `SLOTKV_UPDATE_DOCS=1 cargo test -p slotkv-proto` writes it anew.

use std::{fs, path::Path};

use slotkv_proto::{Applied, Code};

const BEGIN: &str = "<!-- the table of proto/src/code.rs -->\n";
const END: &str = "<!-- end of the table -->";

fn table() -> String {
    let mut text = String::from("\n| number | name | retry | applied | meaning |\n|--:|---|---|---|---|\n");
    for &code in Code::ALL {
        let applied = if code.applied() == Applied::No { "no" } else { "maybe" };
        let (number, name, retry) = (code.number(), code.name(), code.retry().name());
        text.push_str(&format!("| {number} | `{name}` | {retry} | {applied} | {} |\n", code.text()));
    }
    text + "\n"
}

#[test]
fn errors_page_shows_the_table_of_this_build() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    let text = fs::read_to_string(&page).unwrap();
    let begin = text.find(BEGIN).expect("the begin mark") + BEGIN.len();
    let end = text.find(END).expect("the end mark");
    if std::env::var_os("SLOTKV_UPDATE_DOCS").is_some() {
        fs::write(&page, format!("{}{}{}", &text[..begin], table(), &text[end..])).unwrap();
        return;
    }
    assert_eq!(text[begin..end], table(), "SLOTKV_UPDATE_DOCS=1 cargo test -p slotkv-proto writes it");
}
