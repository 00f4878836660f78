//! The reference pages are what the specification and the surfaces say. `UPDATE_REFERENCE=1 cargo test --test reference`
//! writes them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use slotkv_specification::{compare, pages, sources::Sources, specification::Specification};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// Compares a page with the file, or writes it.
fn check(path: &str, made: &str) {
    if std::env::var_os("UPDATE_REFERENCE").is_some_and(|value| value == "1") {
        let path = root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, made).unwrap();
    }
    assert!(read(path) == made, "{path} is not what specification.toml says; UPDATE_REFERENCE=1 writes it");
}

fn specification(sources: &Sources) -> Specification {
    Specification::parse(sources.text("bindings/specification/specification.toml")).unwrap()
}

#[test]
fn reference_pages_are_what_the_specification_and_the_surfaces_say() {
    let sources = Sources::read(&root()).unwrap();
    let specification = specification(&sources);
    let surfaces = compare::surfaces(&sources);
    check("docs/reference/operations.md", &pages::operations(&specification, &surfaces));
    check("docs/reference/options.md", &pages::options(&specification));
    check("docs/reference/results.md", &pages::results(&specification, &surfaces));
}

#[test]
fn the_pages_of_errors_and_limits_have_the_tables_of_this_build() {
    let sources = Sources::read(&root()).unwrap();
    let specification = specification(&sources);
    let errors = read("docs/errors.md");
    let errors =
        pages::with_table(&errors, "codes", &pages::errors(&specification)).expect("the marks of codes");
    let errors =
        pages::with_table(&errors, "classes", &pages::classes(&specification)).expect("those of classes");
    check("docs/errors.md", &errors);
    let files: Vec<String> = specification.constants.files.iter().map(|path| read(path)).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let limits = pages::limits(&specification, &files).unwrap();
    let page =
        pages::with_table(&read("docs/guide/limits.md"), "limits", &limits).expect("the marks of limits");
    check("docs/guide/limits.md", &page);
}
