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
/// Random sequences of calls that are tried, and the seconds for which `--long` tries more of them.
const SEEDS: u64 = 3;
const SEQUENCE_SECONDS_LONG: u64 = 600;
/// Calls of each.
const SEQUENCE_STEPS: u64 = 5000;
/// Clusters that die under a program; where it meets the death is chance.
const CRASHES: u64 = 5;
/// Exit status by which valgrind says that it found something.
const VALGRIND_STATUS: &str = "--error-exitcode=99";

/// C or C++.
#[derive(Clone, Copy)]
pub enum Language {
    /// C11.
    C,
    /// C11, with the sanitizers of addresses and undefined behaviour, and that of leaks.
    CSanitized,
    /// C++17.
    Cpp,
    /// C++17 without exceptions.
    CppWithoutExceptions,
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
    prepare_as(Profile::Debug)
}

/// The same in a build of either profile.
pub fn prepare_as(profile: Profile) -> Outcome<Installed> {
    machine::install(&[machine::GCC, machine::GXX, machine::PKG_CONFIG])?;
    let name = if profile == Profile::Debug { "prefix" } else { "prefix-release" };
    install_c::install(&project::scratch().join("c").join(name), profile)
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
    let how = match (linkage, language) {
        (Linkage::Static, _) => "-static",
        (_, Language::CSanitized) => "-sanitized",
        (_, Language::CppWithoutExceptions) => "-noexcept",
        _ => "",
    };
    let program = project::scratch().join(format!("c/programs/{name}-{compiler}{how}"));
    fs::create_dir_all(program.parent().ok_or("no folder")?)?;
    let mut command = Command::new(compiler);
    command.args(match language {
        Language::C => &["-std=c11"][..],
        Language::CSanitized => &["-std=c11", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
        Language::Cpp => &["-std=c++17"],
        Language::CppWithoutExceptions => &["-std=c++17", "-fno-exceptions"],
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
pub fn suite(slotkv: &Path, is_long: bool) -> Outcome<u64> {
    let installed = prepare()?;
    machine::install(&[machine::CLANG, machine::CLANG_RUNTIME])?;
    exports_only_its_own(&installed)?;
    let cluster = Dev::start(slotkv, "dev-c", &[])?;
    let tests = project::root().join("bindings/c/tests/c");
    let (client, wrapper) = (tests.join("client.c"), tests.join("wrapper.cpp"));
    let hostile = tests.join("hostile.c");
    let mut passed = 1;
    let mut programs = Vec::new();
    for (c, cpp) in [("gcc", "g++"), ("clang", "clang++")] {
        programs.push(compile(&installed, c, Language::C, Linkage::Shared, &client)?);
        for language in [Language::Cpp, Language::CppWithoutExceptions] {
            programs.push(compile(&installed, cpp, language, Linkage::Shared, &wrapper)?);
        }
    }
    programs.push(compile(&installed, "gcc", Language::C, Linkage::Static, &client)?);
    for (compiler, source) in [("gcc", &client), ("gcc", &hostile), ("clang", &client)] {
        programs.push(compile(&installed, compiler, Language::CSanitized, Linkage::Shared, source)?);
    }
    for program in &programs {
        passed += count(&installed, Command::new(program).arg(&cluster.uri))?;
    }
    machine::install(&[machine::VALGRIND])?;
    passed += count(&installed, valgrind().arg(&programs[0]).args([&cluster.uri, "quick"]))?;
    let sequences = tests.join("sequences.c");
    let sequences = compile(&installed, "gcc", Language::CSanitized, Linkage::Shared, &sequences)?;
    let run = |seed: u64, seconds: u64| {
        let numbers = [seed, SEQUENCE_STEPS, seconds].map(|number| number.to_string());
        count(&installed, Command::new(&sequences).arg(&cluster.uri).args(numbers))
    };
    for seed in 1..=SEEDS {
        passed += run(seed, 0)?;
    }
    if is_long {
        passed += run(SEEDS + 1, SEQUENCE_SECONDS_LONG)?;
    }
    let crash = compile(&installed, "gcc", Language::C, Linkage::Shared, &tests.join("crash.c"))?;
    for _ in 0..CRASHES {
        let cluster = Dev::start(slotkv, "dev-c-crash", &[])?;
        passed += count(&installed, Command::new(&crash).args([&cluster.uri, &cluster.pid().to_string()]))?;
    }
    outside_of_the_tree(&installed, &cluster.uri)?;
    passed += 1;
    if is_long {
        // As users have it.
        let installed = prepare_as(Profile::Release)?;
        exports_only_its_own(&installed)?;
        outside_of_the_tree(&installed, &cluster.uri)?;
        passed += 2;
    }
    Ok(passed)
}

/// A project of CMake's that knows nothing but the prefix.
fn outside_of_the_tree(installed: &Installed, uri: &str) -> Outcome<()> {
    machine::install(&[machine::CMAKE])?;
    let source = std::env::temp_dir().join(format!("slotkv-cmake-{}", std::process::id()));
    let folder = Folder(source.clone());
    fs::create_dir_all(&source)?;
    let tests = project::root().join("bindings/c/tests/cmake");
    for file in ["CMakeLists.txt", "shared.c", "static.cpp"] {
        fs::copy(tests.join(file), source.join(file))?;
    }
    let build = source.join("build");
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(&source).arg("-B").arg(&build);
    configure.arg(format!("-DCMAKE_PREFIX_PATH={}", installed.prefix().display()));
    let logs = project::scratch().join("logs");
    process::logged("cmake", &logs.join("c-cmake.log"), &mut configure)?;
    let mut make = Command::new("cmake");
    process::logged("cmake --build", &logs.join("c-cmake-build.log"), make.arg("--build").arg(&build))?;
    for program in ["shared", "static"] {
        // Without a word about where the library is: CMake has told the program.
        let out = process::output(Command::new(build.join(program)).arg(uri))?;
        if out != b"ok\n" {
            return Err(format!("{program} printed {}", String::from_utf8_lossy(&out)).into());
        }
    }
    drop(folder);
    Ok(())
}

/// Removed when it is not needed any more.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
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
