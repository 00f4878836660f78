//! The Kotlin package of `kotlin/`, built as a user builds it, and programs that use it; and the other languages that UniFFI
//! generates modules for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::Dev;
use crate::project::{self, Profile};
use crate::venv::Venv;
use crate::{Outcome, machine, process};

/// What cargo calls the library of `bindings/uniffi`.
const LIBRARY: &str = "libslotkv_uniffi.so";
/// What generates the modules, and the profile that builds it: it runs once and briefly.
const GENERATOR: &str = "slotkv-uniffi-bindgen";
const GENERATOR_PROFILE: &str = "generator";
/// This repository's own programs.
const PROGRAMS: &str = "xtask/kotlin";
/// The examples.
const EXAMPLES: &str = "examples/kotlin";
/// Compilers run briefly, too.
const MAVEN_OPTS: &str = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC";

/// The package, installed in Maven's local repository.
pub struct Package {
    /// Folders of classes and of jars that programs need.
    classes: Vec<PathBuf>,
}

/// `cargo xtask install-kotlin`: builds the package and installs it for Maven's builds of this machine.
pub fn run(arguments: &[String]) -> Outcome<bool> {
    let profile = match arguments {
        [] => Profile::Release,
        [flag] if flag == "--debug" => Profile::Debug,
        _ => return Err("usage: cargo xtask install-kotlin [--debug]".into()),
    };
    prepare(profile, &["--package", "slotkv-uniffi", "--lib"])?;
    install()?;
    println!("installed; Maven finds it as dev.slotkv:slotkv:{}", env!("CARGO_PKG_VERSION"));
    Ok(true)
}

impl Package {
    /// Builds and installs it, and compiles the programs that use it.
    pub fn build(profile: Profile) -> Outcome<Self> {
        prepare(profile, &library())?;
        install()?;
        Self::with_programs()
    }

    /// The same, and runs its tests; how many.
    pub fn build_and_test(slotkv: &Path) -> Outcome<(Self, u64)> {
        prepare(Profile::Debug, &library())?;
        let reports = project::root().join("kotlin/target/surefire-reports");
        if reports.exists() {
            fs::remove_dir_all(&reports)?;
        }
        let log = project::scratch().join("logs/mvn-kotlin-tests.log");
        let mut test = maven(&project::root().join("kotlin"));
        process::logged(
            "mvn install in kotlin, with tests",
            &log,
            test.arg("install").env("SLOTKV_BIN", slotkv),
        )?;
        Ok((Self::with_programs()?, count(&reports)?))
    }

    fn with_programs() -> Outcome<Self> {
        let mut package = Self { classes: Vec::new() };
        for folder in [PROGRAMS, EXAMPLES] {
            let name = folder.replace('/', "-");
            let log = project::scratch().join(format!("logs/mvn-{name}.log"));
            let folder = project::root().join(folder);
            process::logged(&format!("mvn compile {name}"), &log, maven(&folder).arg("compile"))?;
            package.classes.push(folder.join("target/classes"));
        }
        package.classes.push(project::root().join(PROGRAMS).join("target/lib/*"));
        Ok(package)
    }

    /// `java` with the load of the benches, compiled.
    pub fn load(&self) -> Outcome<Command> {
        let folder = project::root().join("benches/kotlin");
        let log = project::scratch().join("logs/mvn-benches-kotlin.log");
        process::logged("mvn compile benches-kotlin", &log, maven(&folder).arg("compile"))?;
        let target = folder.join("target");
        let classes = format!("{}:{}", target.join("classes").display(), target.join("lib/*").display());
        let mut command = Command::new("java");
        command.arg("-cp").arg(classes).arg(main_class("load"));
        Ok(command)
    }

    /// `java` with the program of a source, as `hello` of `hello.kt`.
    pub fn program(&self, source: &str) -> Command {
        let mut command = Command::new("java");
        command.arg("-cp").arg(self.class_path(&[])).arg(main_class(source));
        command
    }

    /// What `java` is told with `-cp`, with more folders of classes.
    pub fn class_path(&self, folders: &[PathBuf]) -> String {
        let all = folders.iter().chain(&self.classes).map(|path| path.display().to_string());
        all.collect::<Vec<_>>().join(":")
    }
}

/// The class that Kotlin makes of a file with `main`.
pub fn main_class(source: &str) -> String {
    let (first, rest) = source.split_at(1);
    format!("{}{rest}Kt", first.to_uppercase())
}

/// Runs Maven in a folder, quietly.
pub fn maven(folder: &Path) -> Command {
    let mut command = Command::new("mvn");
    command.args(["--batch-mode", "--quiet", "--no-transfer-progress", "--file"]).arg(folder);
    command.env("MAVEN_OPTS", MAVEN_OPTS).current_dir(project::root());
    command
}

fn library() -> Vec<&'static str> {
    project::SELECTION.into_iter().chain(["--lib"]).collect()
}

/// Puts what Maven does not make into `kotlin/target`: the module that UniFFI generates, and the library.
fn prepare(profile: Profile, selection: &[&str]) -> Outcome<()> {
    machine::install(&[machine::JAVA, machine::MAVEN])?;
    let log = project::scratch().join("logs/cargo-slotkv-uniffi.log");
    let mut build = project::cargo();
    build.arg("build").args(selection).args(profile.flags());
    process::logged("cargo build slotkv-uniffi", &log, &mut build)?;
    let target = project::root().join("kotlin/target");
    let generated = target.join("generated/kotlin");
    generate(profile, "kotlin", &generated)?;
    let folder = target.join("native").join(platform()?);
    fs::create_dir_all(&folder)?;
    // Not over the old one: a process that has loaded it would crash.
    let new = folder.join(format!("{LIBRARY}.new"));
    fs::copy(profile.program(LIBRARY), &new)?;
    if profile == Profile::Release {
        process::output(Command::new("strip").arg("--strip-debug").arg(&new))?;
    }
    Ok(fs::rename(new, folder.join(LIBRARY))?)
}

/// Where JNA looks for the library of this machine.
fn platform() -> Outcome<&'static str> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok("linux-x86-64"),
        ("linux", "aarch64") => Ok("linux-aarch64"),
        (os, arch) => Err(format!("the Kotlin package is not built on {os} {arch}").into()),
    }
}

/// Generates the module of a language into a folder that has nothing else.
fn generate(profile: Profile, language: &str, folder: &Path) -> Outcome<()> {
    let log = project::scratch().join("logs/cargo-uniffi-bindgen.log");
    let mut build = project::cargo();
    build.args(["build", "--profile", GENERATOR_PROFILE, "--package", GENERATOR]);
    process::logged("cargo build the generator of UniFFI's modules", &log, &mut build)?;
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let mut generate = Command::new(project::target().join(GENERATOR_PROFILE).join(GENERATOR));
    generate.arg(profile.program(LIBRARY)).arg(language).arg(folder).current_dir(project::root());
    process::output(&mut generate).map(drop)
}

fn install() -> Outcome<()> {
    let log = project::scratch().join("logs/mvn-kotlin.log");
    let mut install = maven(&project::root().join("kotlin"));
    process::logged("mvn install in kotlin", &log, install.args(["install", "-Dmaven.test.skip=true"]))
}

/// Sum over "Tests run: 12, Failures: 0, ..." of the reports; a test that was skipped does not count.
fn count(reports: &Path) -> Outcome<u64> {
    let mut passed = 0;
    for entry in fs::read_dir(reports)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            passed += fs::read_to_string(path)?.lines().filter_map(passed_of).sum::<u64>();
        }
    }
    Ok(passed)
}

fn passed_of(line: &str) -> Option<u64> {
    let number = |name: &str| {
        let rest = &line[line.find(name)? + name.len()..];
        rest.split(',').next()?.trim().parse::<u64>().ok()
    };
    line.starts_with("Tests run:").then(|| number("run:"))??.checked_sub(number("Skipped:")?)
}

/// The other modules. Python's is run against a cluster; Swift's is compiled where there is a compiler. How many checks
/// passed, and how many had to be left out.
pub fn other_languages(slotkv: &Path, venv: &Venv) -> Outcome<(u64, u64)> {
    let folder = project::scratch().join("uniffi");
    let python = folder.join("python");
    generate(Profile::Debug, "python", &python)?;
    fs::copy(Profile::Debug.program(LIBRARY), python.join(LIBRARY))?;
    let cluster = Dev::start(slotkv, "dev-uniffi", &[])?;
    let script = project::root().join("bindings/uniffi/tests/check.py");
    let mut check = venv.python();
    // Before what is installed: the module has the same name.
    check.arg(script).arg(&cluster.uri).env("PYTHONPATH", &python);
    process::logged("the Python module", &project::scratch().join("logs/uniffi-python.log"), &mut check)?;

    let swift = folder.join("swift");
    generate(Profile::Debug, "swift", &swift)?;
    let files = ["Slotkv.swift", "SlotkvFFI.h", "SlotkvFFI.modulemap"];
    for file in files {
        if !swift.join(file).exists() {
            return Err(format!("no {file} was generated for Swift").into());
        }
    }
    if !process::works(Command::new("swiftc").arg("--version")) {
        println!("SKIPPED, because there is no swiftc: compiling the Swift module");
        return Ok((2, 1));
    }
    let mut compile = Command::new("swiftc");
    compile.args(["-emit-module", "-module-name", "Slotkv", "-Xcc"]);
    compile.arg(format!("-fmodule-map-file={}", swift.join(files[2]).display()));
    compile.arg("-I").arg(&swift).arg("-o").arg(swift.join("Slotkv.swiftmodule")).arg(swift.join(files[0]));
    process::logged("swiftc", &project::scratch().join("logs/uniffi-swift.log"), &mut compile)?;
    Ok((3, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_named_as_kotlin_names_them() {
        assert_eq!(main_class("hello"), "HelloKt");
        assert_eq!(main_class("compare_and_set"), "Compare_and_setKt");
    }

    #[test]
    fn tests_are_counted_without_those_that_were_skipped() {
        let line =
            "Tests run: 12, Failures: 0, Errors: 0, Skipped: 2, Time elapsed: 3.4 s - in slotkv.ClientTest";
        assert_eq!(passed_of(line), Some(10));
        assert_eq!(passed_of("Test set: slotkv.ClientTest"), None);
    }
}
