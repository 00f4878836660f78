//! The Node package of `node/`, built as a user builds it, and programs that use it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::project::{self, Profile};
use crate::{Outcome, process};

/// The oldest Node that slotkv supports.
const NODE_MIN: u32 = 20;

/// The addon in its folder, on this machine.
pub const ADDON: &str = "slotkv.linux-x64-gnu.node";

/// The built package.
pub struct Package {
    folder: PathBuf,
}

impl Package {
    /// Installs what building it needs, as the lock file has it, and builds the addon.
    pub fn build(profile: Profile) -> Outcome<Self> {
        check()?;
        let package = Self { folder: project::root().join("node") };
        install(&package.folder)?;
        let mut build = npm(&package.folder);
        build.args(["run", "build", "--"]).args(project::SELECTION).arg("--lib");
        if profile == Profile::Debug {
            build.arg("--debug");
        }
        build.env("CARGO_TARGET_DIR", project::target());
        let log = project::scratch().join("logs/npm-build.log");
        process::logged("npm run build", &log, &mut build)?;
        Ok(package)
    }

    /// `npm` in its folder.
    pub fn npm(&self) -> Command {
        npm(&self.folder)
    }

    /// `node` with a script of the project.
    pub fn script(&self, script: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(project::root().join(script)).current_dir(project::root());
        command
    }

    /// Its folder, for programs that load it by that.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Copies it, without what only its making needs.
    pub fn copy(&self, to: &Path) -> Outcome<()> {
        project::copy(&self.folder, to)
    }

    /// Makes `slotkv` known to the programs of a folder.
    pub fn link(&self, folder: &Path) -> Outcome<()> {
        let modules = folder.join("node_modules");
        std::fs::create_dir_all(&modules)?;
        let link = modules.join("slotkv");
        if link.symlink_metadata().is_ok() {
            std::fs::remove_file(&link)?;
        }
        Ok(std::os::unix::fs::symlink(&self.folder, link)?)
    }
}

/// Installs what a folder's lock file names, and nothing that its scripts would do.
pub fn install(folder: &Path) -> Outcome<()> {
    let name = folder.strip_prefix(project::root())?.display().to_string();
    let log = project::scratch().join(format!("logs/npm-ci-{}.log", name.replace('/', "-")));
    let ci = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
    process::logged(&format!("npm ci in {name}"), &log, npm(folder).args(ci))
}

/// `npm` in a folder.
fn npm(folder: &Path) -> Command {
    let mut command = Command::new("npm");
    command.current_dir(folder).env("npm_config_update_notifier", "false");
    command
}

/// Whether there are Node and npm.
fn check() -> Outcome<()> {
    let version = |program: &str| {
        let out = Command::new(program).arg("--version").stderr(Stdio::null()).output().ok()?;
        Some(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let major = |version: &str| version.trim_start_matches('v').split('.').next()?.parse::<u32>().ok();
    match (version("node"), version("npm")) {
        (Some(node), Some(_)) if major(&node).is_some_and(|major| major >= NODE_MIN) => Ok(()),
        (node, npm) => {
            let shown = |found: Option<String>| found.unwrap_or_else(|| "none".to_owned());
            let (node, npm) = (shown(node), shown(npm));
            Err(format!("the Node client needs Node {NODE_MIN} or newer and npm on the PATH; found node {node}, npm {npm}")
                .into())
        }
    }
}
