//! Python environments under the target directory, made once and kept while their requirements stay the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Outcome, machine, process, project};

/// The oldest Python that slotkv supports.
pub const PYTHON_MIN: (u32, u32) = (3, 10);

/// A virtual environment.
pub struct Venv {
    dir: PathBuf,
}

impl Venv {
    /// The environment `name` with these packages from PyPI, pinned.
    pub fn with(name: &str, requirements: &[&str]) -> Outcome<Self> {
        let venv = Self { dir: project::scratch().join("venv").join(name) };
        let interpreter = interpreter()?;
        let stamp = format!("{}\n{}\n", interpreter.display(), requirements.join("\n"));
        let stamp_file = venv.dir.join("slotkv-requirements.txt");
        if fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
            return Ok(venv);
        }
        venv.make(name, &interpreter)?;
        if !requirements.is_empty() {
            let log = project::scratch().join(format!("logs/pip-{name}.log"));
            process::logged(
                &format!("pip install {}", requirements.join(" ")),
                &log,
                venv.pip().arg("install").args(requirements),
            )?;
        }
        fs::write(stamp_file, stamp)?;
        Ok(venv)
    }

    /// A fresh environment of `interpreter` with nothing but pip.
    pub fn empty(name: &str, interpreter: &Path) -> Outcome<Self> {
        let venv = Self { dir: project::scratch().join("venv").join(name) };
        venv.make(name, interpreter)?;
        Ok(venv)
    }

    /// `pip install` with these arguments, and without any index or configuration.
    pub fn install(&self, arguments: &[&str]) -> Outcome<()> {
        let mut pip = self.pip();
        pip.args(["install", "--no-index"]).args(arguments);
        pip.env("PIP_CONFIG_FILE", "/dev/null").env("PIP_FIND_LINKS", "");
        let log = project::scratch().join("logs/pip-install.log");
        process::logged(&format!("pip install {}", arguments.join(" ")), &log, &mut pip)
    }

    fn make(&self, name: &str, interpreter: &Path) -> Outcome<()> {
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir)?;
        }
        let make = || {
            let mut command = Command::new(interpreter);
            command.args(["-m", "venv"]).arg(&self.dir);
            command
        };
        let log = project::scratch().join(format!("logs/venv-{name}.log"));
        // Debian's own Python comes without ensurepip.
        if !process::works(Command::new(interpreter).args(["-c", "import ensurepip"])) {
            machine::install_by_name(&["python3-venv"])?;
        }
        process::logged(&format!("python -m venv {name}"), &log, &mut make())
    }

    /// Installs `./python` of this project as a user would: `pip install ./python`.
    /// `arguments` go to maturin; none means the release build that users get.
    pub fn install_slotkv(&self, arguments: &[&str]) -> Outcome<()> {
        let log = project::scratch().join("logs/pip-slotkv.log");
        let mut pip = self.pip();
        pip.args(["install", "--force-reinstall", "--no-deps", "--verbose", "./python"]);
        pip.current_dir(project::root()).env("CARGO_TARGET_DIR", project::target());
        if !arguments.is_empty() {
            // Checks of memory look for our functions by their names.
            pip.env("MATURIN_PEP517_ARGS", format!("--strip=false {}", arguments.join(" ")));
        }
        process::logged("pip install ./python", &log, &mut pip)
    }

    /// A program of the environment, started at the project's root.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.dir.join("bin").join(name));
        command.current_dir(project::root()).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Its interpreter, started at the project's root.
    pub fn python(&self) -> Command {
        self.program("python")
    }

    /// Where its programs are.
    pub fn bin(&self) -> PathBuf {
        self.dir.join("bin")
    }

    /// Its pip.
    pub fn pip(&self) -> Command {
        let mut command = self.python();
        command.args(["-m", "pip", "--disable-pip-version-check"]);
        command
    }
}

/// The first interpreter that is new enough: `$PYTHON`, `python3`, then `python3.13` downwards.
fn interpreter() -> Outcome<PathBuf> {
    let named = std::env::var("PYTHON").ok();
    let candidates = named.iter().map(String::as_str).chain([
        "python3",
        "python3.13",
        "python3.12",
        "python3.11",
        "python3.10",
    ]);
    for candidate in candidates {
        let (major, minor) = PYTHON_MIN;
        let probe =
            format!("import sys; assert sys.version_info >= ({major}, {minor}); print(sys.executable)");
        let found = Command::new(candidate).args(["-c", &probe]).stderr(std::process::Stdio::null()).output();
        if let Ok(found) = found
            && found.status.success()
        {
            return Ok(PathBuf::from(String::from_utf8_lossy(&found.stdout).trim()));
        }
    }
    Err(format!("no Python {}.{} or newer found; name one in $PYTHON", PYTHON_MIN.0, PYTHON_MIN.1).into())
}
