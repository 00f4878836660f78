//! Where things are: the root of the workspace and its target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;

/// The root of the workspace.
pub fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map_or(manifest.clone(), PathBuf::from)
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// Where xtask keeps environments, logs and data; `cargo clean` removes it.
pub fn scratch() -> PathBuf {
    target().join("xtask")
}

/// Copies a folder without `node_modules`, which only the making of a package needs.
pub fn copy(from: &Path, to: &Path) -> Outcome<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(name))?;
        } else if name != "node_modules" && entry.file_type()?.is_dir() {
            copy(&entry.path(), &to.join(name))?;
        }
    }
    Ok(())
}

/// `cargo` at the root of the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// What every cargo command here is told, so that features are resolved alike and nothing is compiled twice. Benches, the
/// model and the generator of UniFFI's modules are apart: nobody waits for them but who needs them.
pub const SELECTION: [&str; 9] = [
    "--workspace",
    "--exclude",
    "slotkv-benches",
    "--exclude",
    "slotkv-model",
    "--exclude",
    "slotkv-uniffi-bindgen",
    "--features",
    "slotkv-coordination/ensemble",
];

/// Which profile the servers and clients are built with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// With debug assertions; compiles fast.
    Debug,
    /// As users get it.
    Release,
}

impl Profile {
    /// The folder of this profile under the target directory.
    pub fn dir(self) -> PathBuf {
        target().join(match self {
            Profile::Debug => "debug",
            Profile::Release => "release",
        })
    }

    /// What cargo wants to hear.
    pub fn flags(self) -> &'static [&'static str] {
        match self {
            Profile::Debug => &[],
            Profile::Release => &["--release"],
        }
    }

    /// A program of this profile.
    pub fn program(self, name: &str) -> PathBuf {
        self.dir().join(name)
    }
}
