//! `include/slotkv.h` is what the crate says. `UPDATE_HEADER=1 cargo test -p slotkv-c --test header` writes it.

use std::path::Path;

#[test]
fn header_is_that_of_the_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = header(root);
    let path = root.join("../../include/slotkv.h");
    if std::env::var_os("UPDATE_HEADER").is_some_and(|value| value == "1") {
        std::fs::write(&path, &made).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, made, "UPDATE_HEADER=1 writes it");
}

fn header(root: &Path) -> String {
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new().with_crate(root).with_config(config).generate().unwrap();
    let mut made = Vec::new();
    bindings.write(&mut made);
    let made = String::from_utf8(made).unwrap();
    // Constants are named for their type, whose _t they do without.
    without_safety(&made.replace("_T_", "_"))
}

/// Leaves out what the comments say to Rust alone.
fn without_safety(header: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut is_safety = false;
    for line in header.lines() {
        if line.trim() == "* # Safety" {
            is_safety = true;
            // The empty line before it.
            kept.pop();
        }
        is_safety &= line.trim() != "*/";
        if !is_safety {
            kept.push(line);
        }
    }
    kept.join("\n") + "\n"
}
