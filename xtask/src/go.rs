//! The Go package of `examples/go`, which is a user of the C library, and programs that use it.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::install_c::Installed;
use crate::project;
use crate::{Outcome, machine, process};

/// Where it is, from the root.
const FOLDER: &str = "examples/go";
/// Its name among modules.
const MODULE: &str = "github.com/slotkv/slotkv/examples/go";
/// The oldest Go that it compiles with; Debian 12 has it.
const GO_MIN: (u32, u32) = (1, 19);

/// Go, and the C library for it.
pub struct Go {
    installed: Installed,
    /// Says when the header has changed, which Go does not look at.
    header: u64,
}

/// Installs Go where it is absent, for the C library that is installed.
pub fn prepare(installed: Installed) -> Outcome<Go> {
    if version().is_none() {
        machine::install(&[machine::GO])?;
    }
    match version() {
        Some(found) if found >= GO_MIN => {}
        found => return Err(format!("examples/go needs Go {GO_MIN:?} or newer; found {found:?}").into()),
    }
    let mut hasher = DefaultHasher::new();
    fs::read(installed.prefix().join("include/slotkv.h"))?.hash(&mut hasher);
    Ok(Go { installed, header: hasher.finish() })
}

impl Go {
    /// Compiles an example.
    pub fn example(&self, name: &str) -> Outcome<PathBuf> {
        self.build(&project::root().join(FOLDER), name, &format!("./{name}"))
    }

    /// Compiles a program of one file that uses the package, in a module of its own.
    pub fn program(&self, folder: &Path, text: &str) -> Outcome<PathBuf> {
        fs::create_dir_all(folder)?;
        let package = project::root().join(FOLDER);
        let module = format!(
            "module first\n\ngo {}.{}\n\nrequire {MODULE} v0.0.0\n\nreplace {MODULE} => {}\n",
            GO_MIN.0,
            GO_MIN.1,
            package.display()
        );
        fs::write(folder.join("go.mod"), module)?;
        fs::write(folder.join("main.go"), text)?;
        self.build(folder, "block", ".")
    }

    /// Its formatting, what the compiler's companion finds, and its tests with the race detector; how many passed.
    pub fn suite(&self, slotkv: &Path) -> Outcome<u64> {
        let folder = project::root().join(FOLDER);
        let logs = project::scratch().join("logs");
        let unformatted = process::output(Command::new("gofmt").arg("-l").arg(&folder))?;
        if !unformatted.is_empty() {
            return Err(format!("gofmt would change\n{}", String::from_utf8_lossy(&unformatted)).into());
        }
        process::logged("go vet", &logs.join("go-vet.log"), self.go(&folder).args(["vet", "./..."]))?;
        let log = logs.join("go-test.log");
        let mut test = self.go(&folder);
        test.args(["test", "-race", "-v", "-count=1", "./..."]).env("SLOTKV_BIN", slotkv);
        process::logged("go test -race", &log, &mut test)?;
        let passed = fs::read_to_string(&log)?.lines().filter(|line| line.starts_with("--- PASS")).count();
        Ok(passed as u64)
    }

    fn build(&self, folder: &Path, name: &str, what: &str) -> Outcome<PathBuf> {
        let program = project::scratch().join("go/programs").join(name);
        let mut build = self.go(folder);
        build.args(["build", "-o"]).arg(&program).arg(what);
        process::logged(
            &format!("go build {name}"),
            &project::scratch().join(format!("logs/go-{name}.log")),
            &mut build,
        )?;
        Ok(program)
    }

    /// `go` in a folder. It fetches nothing: there is nothing but the standard library.
    fn go(&self, folder: &Path) -> Command {
        let mut command = Command::new("go");
        command.current_dir(folder).env("PKG_CONFIG_PATH", self.installed.pkg_config_path());
        command.envs([("CGO_ENABLED", "1"), ("GOPROXY", "off"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "")]);
        command.env("CGO_CFLAGS", format!("-g -O2 -DSLOTKV_HEADER={:#x}", self.header));
        // Programs find the library by themselves.
        command.env("CGO_LDFLAGS", format!("-g -O2 -Wl,-rpath,{}/lib", self.installed.prefix().display()));
        command.env("GOCACHE", project::scratch().join("go/cache"));
        command
    }
}

/// Of the Go on the PATH.
fn version() -> Option<(u32, u32)> {
    let out = Command::new("go")
        .args(["env", "GOVERSION"])
        .env("GOTOOLCHAIN", "local")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    parsed(String::from_utf8(out.stdout).ok()?.trim())
}

/// "go1.19.8"
fn parsed(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix("go")?.split(['.', '-', 'r', 'b']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(parsed("go1.19.8"), Some((1, 19)));
        assert_eq!(parsed("go1.26rc1"), Some((1, 26)));
        assert!(parsed("go1.9") < Some(GO_MIN) && parsed("devel").is_none());
    }
}
