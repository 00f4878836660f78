//! `cargo xtask install-c --prefix P`: the C library under a prefix, as C and C++ programs find it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::project::{self, Profile};
use crate::{Outcome, process};

/// The package whose library it is.
const PACKAGE: &str = "slotkv-c";
/// What cargo calls the library; libslotkv is the core's there.
const BUILT: &str = "libslotkv_c";
/// What stands in the library's SONAME; `bindings/c/build.rs` has it.
const ABI: &str = "0";
/// What the static library wants to be linked with.
const NATIVE: [&str; 6] = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"];

/// A prefix that has the library.
pub struct Installed {
    prefix: PathBuf,
}

/// Builds and installs; prints where to.
pub fn run(arguments: &[String]) -> Outcome<bool> {
    let (mut prefix, mut profile) = (None, Profile::Release);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--prefix" => prefix = arguments.next(),
            "--debug" => profile = Profile::Debug,
            other => return Err(format!("unknown argument {other:?}").into()),
        }
    }
    let prefix = prefix.ok_or("usage: cargo xtask install-c --prefix P [--debug]")?;
    let installed = install(Path::new(prefix), profile)?;
    println!("installed; pkg-config finds it with PKG_CONFIG_PATH={}", installed.pkg_config_path().display());
    Ok(true)
}

/// Builds the library and puts it, its headers and what finds it under `prefix`.
pub fn install(prefix: &Path, profile: Profile) -> Outcome<Installed> {
    let mut build = project::cargo();
    match profile {
        // As everything else in the test suites, so that nothing is compiled twice.
        Profile::Debug => build.arg("build").args(project::SELECTION).arg("--lib"),
        Profile::Release => build.args(["build", "--package", PACKAGE, "--lib"]).args(profile.flags()),
    };
    process::logged("cargo build slotkv-c", &project::scratch().join("logs/cargo-slotkv-c.log"), &mut build)?;

    let lib = prefix.join("lib");
    let (include, pkg_config, cmake) =
        (prefix.join("include"), lib.join("pkgconfig"), lib.join("cmake/slotkv"));
    for folder in [&include, &pkg_config, &cmake] {
        fs::create_dir_all(folder)?;
    }
    let version = env!("CARGO_PKG_VERSION");
    let shared = format!("libslotkv.so.{version}");
    replace(&profile.program(&format!("{BUILT}.so")), &lib.join(&shared))?;
    replace(&profile.program(&format!("{BUILT}.a")), &lib.join("libslotkv.a"))?;
    link(&shared, &lib.join(format!("libslotkv.so.{ABI}")))?;
    link(format!("libslotkv.so.{ABI}"), &lib.join("libslotkv.so"))?;
    for header in ["slotkv.h", "slotkv.hpp"] {
        replace(&project::root().join("include").join(header), &include.join(header))?;
    }
    let templates = project::root().join("bindings/c/install");
    for (folder, name) in
        [(&pkg_config, "slotkv.pc"), (&cmake, "slotkvConfig.cmake"), (&cmake, "slotkvConfigVersion.cmake")]
    {
        let template = fs::read_to_string(templates.join(format!("{name}.in")))?;
        let native = NATIVE.join(if name.ends_with(".pc") { " " } else { ";" });
        let text = template.replace("@VERSION@", version).replace("@ABI@", ABI).replace("@NATIVE@", &native);
        fs::write(folder.join(name), text)?;
    }
    Ok(Installed { prefix: fs::canonicalize(prefix)? })
}

impl Installed {
    /// Where it is.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// The shared library itself.
    pub fn library(&self) -> PathBuf {
        self.prefix.join("lib/libslotkv.so")
    }

    /// For PKG_CONFIG_PATH.
    pub fn pkg_config_path(&self) -> PathBuf {
        self.prefix.join("lib/pkgconfig")
    }

    /// What pkg-config says that a compiler needs.
    pub fn flags(&self, arguments: &[&str]) -> Outcome<Vec<String>> {
        let mut command = Command::new("pkg-config");
        command.args(arguments).arg("slotkv").env("PKG_CONFIG_PATH", self.pkg_config_path());
        let flags = String::from_utf8(process::output(&mut command)?)?;
        Ok(flags.split_whitespace().map(str::to_owned).collect())
    }

    /// Lets a program find the shared library.
    pub fn run<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LD_LIBRARY_PATH", self.prefix.join("lib"))
    }
}

/// Copies a file in place of what was there, also while a program uses that.
fn replace(from: &Path, to: &Path) -> Outcome<()> {
    remove(to)?;
    fs::copy(from, to).map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))?;
    Ok(())
}

fn link(target: impl AsRef<OsStr>, place: &Path) -> Outcome<()> {
    remove(place)?;
    Ok(symlink(target.as_ref(), place)?)
}

fn remove(place: &Path) -> Outcome<()> {
    match fs::remove_file(place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
