//! What a nightly toolchain adds, where rustup has one: Miri over the facade and the C library, and the sanitizer of
//! addresses in what Python and Node load. A stable toolchain has neither.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::Dev;
use crate::node::{self, Package};
use crate::venv::Venv;
use crate::{Outcome, machine, process, project};

/// What Miri runs: tests with a cluster in memory, and without sockets but for a few.
const INTERPRETED: [&str; 11] = [
    "--package",
    "slotkv-facade",
    "--package",
    "slotkv-c",
    "--lib",
    "--test",
    "blocking",
    "--test",
    "port",
    "--test",
    "shutdown",
];
/// Deadlines need the machine's clock. Threads of the library outlive a test's process, and what they hold is no leak.
const MIRIFLAGS: &str = "-Zmiri-disable-isolation -Zmiri-ignore-leaks";

/// What the sanitizer is built for: it has to be named, so that build scripts go without.
const HOST: &str = "x86_64-unknown-linux-gnu";
/// As `.cargo/config.toml` has it, which this is in place of.
const SANITIZED: &str = "--cfg tokio_unstable -Zsanitizer=address";
/// What a library that is sanitized asks of the sanitizer's own.
const ASKED: &str = "__asan_report_load";
/// Hosts lose memory of their own, and other tests look for what we lose.
const ASAN_OPTIONS: &str = "detect_leaks=0:abort_on_error=1";

/// Without those that look at types or at how much is held.
const PYTHON_TESTS: [&str; 8] = [
    "test_aio.py",
    "test_client.py",
    "test_errors.py",
    "test_exit.py",
    "test_hosts.py",
    "test_logging.py",
    "test_slots.py",
    "test_trio.py",
];
/// In a forked child the lock of gcc's sanitizer may be held by a thread that is not there; and a test of importing starts
/// a process with an environment of its own, without the sanitizer.
const PYTHON_SELECTION: &str = "not fork and not child and not importing";
/// Has a value read from memory that was given back.
const WRONG_ACCESS: &str = "\
import ctypes, sys, slotkv
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
place = libc.malloc(64)
value = (ctypes.c_char * 64).from_address(place)
libc.free(place)
slotkv.connect(sys.argv[1]).put('key', value)
";
/// What the sanitizer says of it.
const NOTICED: &str = "AddressSanitizer: heap-use-after-free";
const NODE_TESTS: [&str; 3] = ["calls.test.mjs", "client.test.mjs", "scan.test.mjs"];

/// A nightly toolchain.
pub struct Nightly {
    name: String,
}

impl Nightly {
    /// The first of rustup's that has all of `components`.
    pub fn with(components: &[&str]) -> Option<Self> {
        let known = asked(&["toolchain", "list"])?;
        let names = known.lines().filter_map(|line| line.split_whitespace().next());
        let mut nightly = names.filter(|name| name.starts_with("nightly"));
        let name = nightly.find(|name| {
            let installed = asked(&["component", "list", "--installed", "--toolchain", name]);
            let installed = installed.unwrap_or_default();
            components.iter().all(|component| installed.lines().any(|line| line.starts_with(component)))
        })?;
        Some(Self { name: name.to_owned() })
    }

    /// Its cargo, at the root of the workspace.
    pub fn cargo(&self, target: &Path) -> Command {
        let mut command = Command::new("rustup");
        command.args(["run", &self.name, "cargo"]).current_dir(project::root());
        // What the cargo that runs xtask says of itself is not true of this one.
        command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN").env("CARGO_TARGET_DIR", target);
        command
    }

    /// The tests of the facade and the C library under Miri, in a target folder of its own; their output.
    pub fn miri(&self) -> Outcome<PathBuf> {
        let log = project::scratch().join("logs/test-miri.log");
        let mut command = self.cargo(&project::target());
        command.args(["miri", "test", "--no-fail-fast"]).args(INTERPRETED).env("MIRIFLAGS", MIRIFLAGS);
        process::logged("cargo miri test", &log, &mut command)?;
        Ok(log)
    }

    /// Builds what Python and Node load with the sanitizer of addresses.
    pub fn sanitize(&self) -> Outcome<Sanitized> {
        machine::install(&[machine::GCC])?;
        let target = project::target().join("asan");
        let mut command = self.cargo(&target);
        command.args([
            "build",
            "--lib",
            "--target",
            HOST,
            "--package",
            "slotkv-python",
            "--package",
            "slotkv-node",
        ]);
        command.env("RUSTFLAGS", SANITIZED);
        process::logged(
            "cargo build, sanitized",
            &project::scratch().join("logs/cargo-asan.log"),
            &mut command,
        )?;
        let built = target.join(HOST).join("debug");
        let runtime = process::output(Command::new("gcc").arg("-print-file-name=libasan.so"))?;
        let runtime = PathBuf::from(String::from_utf8(runtime)?.trim());
        if !runtime.is_absolute() {
            return Err("gcc has no libasan.so".into());
        }
        Ok(Sanitized { built, runtime })
    }
}

/// What a rustup says, if there is one.
fn asked(arguments: &[&str]) -> Option<String> {
    let out = Command::new("rustup").args(arguments).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The extension module and the addon, sanitized.
pub struct Sanitized {
    built: PathBuf,
    /// The sanitizer's own library, which a host that is not sanitized is started with.
    runtime: PathBuf,
}

impl Sanitized {
    /// Copies a library to where a host looks for it.
    fn put(&self, name: &str, place: &Path) -> Outcome<()> {
        let library = self.built.join(name);
        let symbols = process::output(Command::new("nm").args(["-D", "--undefined-only"]).arg(&library))?;
        if !String::from_utf8(symbols)?.contains(ASKED) {
            return Err(format!("{} is not sanitized", library.display()).into());
        }
        fs::copy(&library, place)?;
        Ok(())
    }

    fn host<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LD_PRELOAD", &self.runtime).env("ASAN_OPTIONS", ASAN_OPTIONS)
    }

    /// Tests of the Python package; their output.
    pub fn python(&self, slotkv: &Path, venv: &Venv) -> Outcome<PathBuf> {
        let folder = project::scratch().join("asan/python");
        let package = folder.join("slotkv");
        project::copy(&project::root().join("python/slotkv"), &package)?;
        self.put("lib_slotkv.so", &package.join("_slotkv.abi3.so"))?;
        let python = || {
            let mut command = venv.python();
            command.env("PYTHONPATH", &folder).env("PYTHONMALLOC", "malloc").env("SLOTKV_BIN", slotkv);
            self.host(&mut command);
            command
        };
        let cluster = Dev::start(slotkv, "dev-asan", &[])?;
        let said = python().args(["-c", WRONG_ACCESS, &cluster.uri]).output()?;
        if !String::from_utf8_lossy(&said.stderr).contains(NOTICED) {
            return Err("the sanitizer overlooks a wrong access".into());
        }
        let tests = project::root().join("python/tests");
        let mut command = python();
        command.args(["-m", "pytest", "-v", "-p", "no:cacheprovider", "--timeout=600"]);
        command.args(["-k", PYTHON_SELECTION]).args(PYTHON_TESTS.map(|name| tests.join(name)));
        let log = project::scratch().join("logs/test-asan-python.log");
        process::logged("pytest, sanitized", &log, &mut command)?;
        Ok(log)
    }

    /// Tests of the Node package; their output.
    pub fn node(&self, slotkv: &Path, package: &Package) -> Outcome<PathBuf> {
        let folder = project::scratch().join("asan/node");
        package.copy(&folder)?;
        self.put("libslotkv_node.so", &folder.join(node::ADDON))?;
        let mut command = Command::new("node");
        command.args(["--expose-gc", "--test", "--test-reporter=tap"]).current_dir(&folder);
        command.args(NODE_TESTS.map(|name| folder.join("tests").join(name))).env("SLOTKV_BIN", slotkv);
        let log = project::scratch().join("logs/test-asan-node.log");
        process::logged("node --test, sanitized", &log, self.host(&mut command))?;
        Ok(log)
    }
}
