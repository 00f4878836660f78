//! The programs of the benches crate.

use std::path::PathBuf;

use crate::project::{self, Profile};
use crate::{Outcome, process};

const CRATE: &str = "slotkv-benches";

/// Builds one for release, with the features that everything else has, so that little is compiled for it alone.
pub fn build(name: &str) -> Outcome<PathBuf> {
    let selection = project::SELECTION;
    // With the word before, which excludes it.
    let at = selection.iter().position(|&word| word == CRATE).ok_or("the benches are not excluded")?;
    let mut build = project::cargo();
    build.arg("build").args(&selection[..at - 1]).args(&selection[at + 1..]);
    build.args(Profile::Release.flags()).args(["--bin", name]);
    let log = project::scratch().join(format!("logs/cargo-{name}.log"));
    process::logged(&format!("cargo build {name}"), &log, &mut build)?;
    Ok(Profile::Release.program(name))
}
