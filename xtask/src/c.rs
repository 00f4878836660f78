//! The C library's suite: the test programs of bindings/c, against the library as it is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cluster::Dev;
use crate::install_c::{self, Installed};
use crate::project::{self, Profile};
use crate::{Outcome, machine, process};

/// Everything that a compiler may say is an error.
const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];
/// A line of the test programs that counts.
const PASSED: &str = " passed";
/// Exit status by which valgrind says that it found something.
const VALGRIND_STATUS: &str = "--error-exitcode=99";

/// C or C++.
#[derive(Clone, Copy)]
pub enum Language {
    /// C11.
    C,
    /// C++17.
    #[expect(dead_code)]
    Cpp,
}

/// Which library a program is linked with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Linkage {
    /// libslotkv.so
    Shared,
    /// libslotkv.a
    Static,
}

/// Installs the library in a debug build for tests, and what the tests need.
pub fn prepare() -> Outcome<Installed> {
    machine::install(&[machine::GCC, machine::GXX, machine::PKG_CONFIG])?;
    install_c::install(&project::scratch().join("c/prefix"), Profile::Debug)
}

/// Compiles a program of one source with `compiler`.
pub fn compile(
    installed: &Installed,
    compiler: &str,
    language: Language,
    linkage: Linkage,
    source: &Path,
) -> Outcome<PathBuf> {
    let name = source.file_stem().ok_or("no name")?.to_string_lossy();
    let how = if linkage == Linkage::Static { "-static" } else { "" };
    let program = project::scratch().join(format!("c/programs/{name}-{compiler}{how}"));
    fs::create_dir_all(program.parent().ok_or("no folder")?)?;
    let mut command = Command::new(compiler);
    command.arg(match language {
        Language::C => "-std=c11",
        Language::Cpp => "-std=c++17",
    });
    command.args(WARNINGS).args(["-g", "-O1", "-pthread", "-o"]).arg(&program).arg(source);
    command.args(installed.flags(&["--cflags"])?);
    match linkage {
        Linkage::Shared => command.args(installed.flags(&["--libs"])?),
        Linkage::Static => {
            let own = ["-lslotkv".to_owned()];
            let others = installed.flags(&["--libs", "--static"])?;
            command.arg(installed.prefix().join("lib/libslotkv.a"));
            command.args(others.into_iter().filter(|flag| !own.contains(flag)))
        }
    };
    let log = project::scratch().join(format!("logs/{name}-{compiler}{how}.log"));
    process::logged(&format!("{compiler} {name}{how}"), &log, &mut command)?;
    Ok(program)
}

/// Every test of the library; how many.
pub fn suite(slotkv: &Path) -> Outcome<u64> {
    let installed = prepare()?;
    exports_only_its_own(&installed)?;
    let cluster = Dev::start(slotkv, "dev-c", &[])?;
    let source = project::root().join("bindings/c/tests/c/client.c");
    let mut passed = 1;
    let mut shared = None;
    for compiler in ["gcc", "clang"] {
        if !process::works(Command::new(compiler).arg("--version")) {
            println!("  {compiler} is not there");
            continue;
        }
        let program = compile(&installed, compiler, Language::C, Linkage::Shared, &source)?;
        passed += count(&installed, Command::new(&program).arg(&cluster.uri))?;
        shared.get_or_insert(program);
    }
    let program = compile(&installed, "gcc", Language::C, Linkage::Static, &source)?;
    passed += count(&installed, Command::new(&program).arg(&cluster.uri))?;
    if let Some(program) = shared
        && process::works(Command::new("valgrind").arg("--version"))
    {
        passed += count(&installed, valgrind().arg(&program).args([&cluster.uri, "quick"]))?;
    }
    Ok(passed)
}

fn valgrind() -> Command {
    let mut command = Command::new("valgrind");
    let known = project::root().join("bindings/c/tests/c/valgrind.supp");
    command.args(["--quiet", "--leak-check=full", "--show-leak-kinds=definite"]);
    command.args(["--errors-for-leak-kinds=definite", VALGRIND_STATUS]);
    command.arg(format!("--suppressions={}", known.display()));
    command
}

/// Runs a test program; how many tests it says passed.
fn count(installed: &Installed, command: &mut Command) -> Outcome<u64> {
    let shown = process::shown(command);
    let out = process::tied(installed.run(command)).stdin(Stdio::null()).output()?;
    let printed = String::from_utf8_lossy(&out.stdout);
    let number = printed.lines().find_map(|line| line.strip_suffix(PASSED)?.parse().ok());
    match number {
        Some(number) if out.status.success() => Ok(number),
        _ => {
            Err(format!("{shown}: {}\n{printed}{}", out.status, String::from_utf8_lossy(&out.stderr)).into())
        }
    }
}

/// Nothing of Rust's or of other libraries' is seen from outside.
fn exports_only_its_own(installed: &Installed) -> Outcome<()> {
    let names = process::output(
        Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(installed.library()),
    )?;
    let names = String::from_utf8(names)?;
    let names: Vec<&str> = names.lines().filter_map(|line| line.split(' ').next()).collect();
    let header = fs::read_to_string(installed.prefix().join("include/slotkv.h"))?;
    for name in &names {
        if !name.starts_with("slotkv_") || !header.contains(&format!("{name}(")) {
            return Err(format!("the library exports {name}, which is not in its header").into());
        }
    }
    if names.is_empty() {
        return Err("the library exports nothing".into());
    }
    Ok(())
}
