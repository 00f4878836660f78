//! `cargo xtask wheel`: the Python package as it is published, and the suite that installs and uses it.
//!
//! zig links against an old glibc, so that a wheel built on any machine fits every Linux since 2018; auditwheel looks
//! whether it does. One wheel is for every CPython from 3.10 on: it keeps to the stable ABI.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cluster::Dev;
use crate::project;
use crate::venv::{PYTHON_MIN, Venv};
use crate::{Outcome, process};

/// What builds and checks it, from PyPI.
const TOOLS: [&str; 3] = ["maturin==1.16.0", "ziglang==0.17.1", "auditwheel==6.8.2"];
/// The oldest glibc that it runs with: that of Debian 10, Ubuntu 18.10 and RHEL 8.
const PLATFORM: &str = "manylinux_2_28";
/// The newest minor version of Python 3 that is looked for.
const MINOR_MAX: u32 = 19;
/// What pip says where no wheel fits.
const REFUSAL: &str = "No matching distribution found for slotkv";

/// A wheel that was built and checked.
pub struct Wheel {
    path: PathBuf,
    tools: Venv,
}

/// Builds it, and the source distribution, into `target/wheels`.
pub fn run(arguments: &[String]) -> Outcome<bool> {
    if let Some(other) = arguments.first() {
        return Err(format!("unknown argument {other:?}").into());
    }
    let out = project::target().join("wheels");
    let wheel = Wheel::build(&out)?;
    let source = wheel.source(&out)?;
    for path in [&wheel.path, &source] {
        println!("{}: {:.1} MB", path.display(), fs::metadata(path)?.len() as f64 / 1e6);
    }
    Ok(true)
}

/// Installs the wheel into an empty environment of every CPython that there is, uses it there, and sees the older ones
/// refuse it. How many checks passed.
pub fn suite(slotkv: &Path, is_long: bool) -> Outcome<u64> {
    let folder = project::scratch().join("wheel");
    let wheel = Wheel::build(&folder.join("dist"))?;
    let source = wheel.source(&folder.join("source"))?;
    let cluster = Dev::start(slotkv, "dev-wheel", &[])?;
    let mut passed = 2;
    for ((major, minor), interpreter) in interpreters() {
        let label = format!("python {major}.{minor}");
        if (major, minor) < PYTHON_MIN {
            passed += u64::from(refuses(&label, &interpreter, &wheel)?);
            continue;
        }
        let name = format!("wheel-{major}.{minor}");
        let venv = Venv::empty(&name, &interpreter)?;
        venv.install(&["--no-deps", "--find-links", text(wheel.folder()?)?, "slotkv"])?;
        println!("  {label}: {}", used(&venv, &format!("{}/{name}", cluster.uri))?);
        passed += 1;
    }
    if is_long {
        let venv = Venv::with("wheel-source", &TOOLS)?;
        wheel.install_source(&venv, &source)?;
        println!("  from source: {}", used(&venv, &format!("{}/source", cluster.uri))?);
        passed += 1;
    }
    Ok(passed)
}

/// Uses the installed package; what the program says of it.
fn used(venv: &Venv, uri: &str) -> Outcome<String> {
    let mut program = venv.python();
    // Not at the project's root, and with no way to find anything but the environment.
    program.current_dir(project::scratch()).arg("-I");
    program.arg(project::root().join("python/tests/installed.py")).arg(uri);
    Ok(String::from_utf8(process::output(&mut program)?)?.trim().to_owned())
}

impl Wheel {
    /// Builds it in the release profile into `out`, alone there, and has auditwheel look at it.
    pub fn build(out: &Path) -> Outcome<Self> {
        let tools = Venv::with("wheel-tools", &TOOLS)?;
        empty(out)?;
        let mut build = maturin(&tools)?;
        build
            .args(["build", "--release", "--locked", "--zig", "--compatibility", PLATFORM, "--out"])
            .arg(out);
        let log = project::scratch().join("logs/maturin-build.log");
        process::logged("maturin build --release", &log, &mut build)?;
        let path = only_file(out, ".whl")?;
        let shown = process::output(tools.program("auditwheel").arg("show").arg(&path))?;
        let shown = String::from_utf8(shown)?.split_whitespace().collect::<Vec<_>>().join(" ");
        let wanted = format!("is consistent with the following platform tag: \"{PLATFORM}_");
        let is_abi3 = path.to_string_lossy().contains("-cp310-abi3-");
        if !shown.contains(&wanted) || !is_abi3 {
            return Err(format!("{} is not what it should be; auditwheel: {shown}", path.display()).into());
        }
        Ok(Self { path, tools })
    }

    /// The source distribution: the package with every crate that it is built of.
    pub fn source(&self, out: &Path) -> Outcome<PathBuf> {
        if self.folder()? != out {
            empty(out)?;
        }
        let log = project::scratch().join("logs/maturin-sdist.log");
        process::logged("maturin sdist", &log, maturin(&self.tools)?.args(["sdist", "--out"]).arg(out))?;
        only_file(out, ".tar.gz")
    }

    /// Builds and installs the source distribution as pip does where no wheel fits.
    fn install_source(&self, venv: &Venv, source: &Path) -> Outcome<()> {
        let log = project::scratch().join("logs/pip-source.log");
        let mut pip = venv.pip();
        pip.args(["install", "--force-reinstall", "--no-deps", "--no-build-isolation", "--no-index"]);
        // What its crates have in common with the workspace's need not be compiled again.
        pip.arg(source).env("CARGO_TARGET_DIR", project::target()).env("MATURIN_PEP517_ARGS", "--zig");
        pip.env("RUSTFLAGS", "--cfg tokio_unstable").env("PATH", first_on_path(venv)?);
        process::logged("pip install slotkv-*.tar.gz", &log, &mut pip)
    }

    fn folder(&self) -> Outcome<&Path> {
        Ok(self.path.parent().ok_or("a wheel without a folder")?)
    }
}

/// Whether an older Python says that the wheel is not for it; false if it has no pip.
fn refuses(label: &str, interpreter: &Path, wheel: &Wheel) -> Outcome<bool> {
    if !process::works(Command::new(interpreter).args(["-m", "pip", "--version"])) {
        println!("  {label} has no pip");
        return Ok(false);
    }
    let target = project::scratch().join("wheel/refused");
    let mut pip = Command::new(interpreter);
    pip.args(["-m", "pip", "install", "--no-index", "--find-links"]).arg(wheel.folder()?);
    pip.arg("--target")
        .arg(&target)
        .arg("slotkv")
        .env("PIP_CONFIG_FILE", "/dev/null")
        .env("PIP_FIND_LINKS", "");
    let out = process::tied(&mut pip).stdin(Stdio::null()).output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if out.status.success() || !said.contains(REFUSAL) {
        return Err(format!("{label} does not refuse the wheel as it should: {said}").into());
    }
    println!("  {label}: refused, {REFUSAL:?}");
    Ok(true)
}

/// Every CPython 3 of this machine, one of each minor version: those on the PATH, then those of pyenv.
fn interpreters() -> BTreeMap<(u32, u32), PathBuf> {
    let mut candidates: Vec<PathBuf> = vec!["python3".into()];
    candidates.extend((0..=MINOR_MAX).map(|minor| format!("python3.{minor}").into()));
    let pyenv = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv/versions"));
    let versions = pyenv.and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    candidates.extend(versions.map(|version| version.path().join("bin/python3")));
    let mut found = BTreeMap::new();
    for candidate in candidates {
        if let Some((version, executable)) = asked(&candidate) {
            found.entry(version).or_insert(executable);
        }
    }
    found
}

/// Version and path of an interpreter, if it is a CPython 3.
fn asked(interpreter: &Path) -> Option<((u32, u32), PathBuf)> {
    let question = "import platform, sys; print(platform.python_implementation(), *sys.version_info[:2], sys.executable)";
    let out = Command::new(interpreter).args(["-c", question]).stderr(Stdio::null()).output().ok()?;
    let line = String::from_utf8(out.stdout).ok()?;
    let mut words = line.trim().splitn(4, ' ');
    let ("CPython", "3", minor, executable) = (words.next()?, words.next()?, words.next()?, words.next()?)
    else {
        return None;
    };
    Some(((3, minor.parse().ok()?), executable.into()))
}

/// maturin for the package.
fn maturin(tools: &Venv) -> Outcome<Command> {
    let mut command = tools.program("maturin");
    command.env("PATH", first_on_path(tools)?);
    command.current_dir(project::root().join("python")).env("CARGO_TARGET_DIR", project::target());
    Ok(command)
}

/// The PATH with the environment's own programs before others: zig and maturin are looked for there.
fn first_on_path(venv: &Venv) -> Outcome<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(std::iter::once(venv.bin()).chain(std::env::split_paths(&path)))?)
}

/// A folder with nothing in it.
fn empty(folder: &Path) -> Outcome<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Ok(fs::create_dir_all(folder)?)
}

fn only_file(folder: &Path, suffix: &str) -> Outcome<PathBuf> {
    let files = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files = files.collect::<Result<Vec<_>, _>>()?;
    files.retain(|path| path.to_string_lossy().ends_with(suffix));
    match &files[..] {
        [file] => Ok(file.clone()),
        _ => Err(format!("{} should hold one {suffix}, not {files:?}", folder.display()).into()),
    }
}

fn text(path: &Path) -> Outcome<&str> {
    Ok(path.to_str().ok_or("a path that is not UTF-8")?)
}
